/** Short names for texts that must not be told. */
import { createHash } from 'node:crypto'

/** SHA-256 in lower-case hex. */
export function sha256Hex(text: string): string {
  return createHash('sha256').update(text).digest('hex')
}
