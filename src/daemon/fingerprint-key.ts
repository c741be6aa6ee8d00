/** The random key of this installation under which passwords are fingerprinted. */
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { writeFileAtomic } from '../os/atomic-file.js'
import { readPrivateFile } from '../os/private-files.js'
import type { Log } from '../std/log.js'

const BYTES = 32

/** Reads the key, or makes it. A disk that cannot be read or written costs only that fingerprints change with each start. */
export async function openFingerprintKey(stateDir: string, log: Log): Promise<Uint8Array> {
  const path = join(stateDir, 'fingerprint.key')
  const fresh = randomBytes(BYTES)
  try {
    const kept = await readPrivateFile(path)
    if (kept?.length === BYTES) return kept
    await writeFileAtomic(path, fresh)
  } catch (error) {
    log.warn({ error }, 'key of the fingerprints not kept')
  }
  return fresh
}
