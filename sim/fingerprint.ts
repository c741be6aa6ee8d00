/** Identifies a key in logs and assertions without revealing it. */
import { createHash } from 'node:crypto'

/** `sha256:` and the first 12 hex digits of the SHA-256 of the text: the form the broker prints too. */
export function fingerprint(text: string): string {
  return `sha256:${createHash('sha256').update(text).digest('hex').slice(0, 12)}`
}
