/** When each key last left the daemon, by the audit log: Prefect tells nobody when a key was used. */
import type { Session } from './session.js'

/** RFC 3339, by fingerprint. As far back as the log goes. */
export async function lastGiven({ client }: Pick<Session, 'client'>): Promise<ReadonlyMap<string, string>> {
  const last = new Map<string, string>()
  for (const { outcome, fingerprint, at } of (await client.audit()).entries)
    if (outcome === 'given' && fingerprint !== undefined) last.set(fingerprint, at)
  return last
}
