/** Asks Prefect again about keys in profiles.toml that it has refused: they are not ours to renew. */

import { askAgainMs } from '../keys/verdict.js'
import type { Verdicts } from '../keys/verdicts.js'
import type { CloudApi } from '../prefect/cloud.js'
import type { Credentials } from '../serve/credentials.js'
import type { Clock } from '../std/clock.js'
import { defined } from '../std/defined.js'
import type { Log } from '../std/log.js'

/** Call the result at every tick. Never rejects. */
export function createFileKeyWatch({
  credentials,
  cloud,
  verdicts,
  clock,
  log,
}: {
  readonly credentials: Pick<Credentials, 'states'>
  readonly cloud: Pick<CloudApi, 'workspaces'>
  readonly verdicts: Pick<Verdicts, 'of'>
  readonly clock: Clock
  readonly log: Log
}): () => Promise<void> {
  /** When a key was refused for good, and when Prefect was asked last; monotonic ms, by fingerprint. */
  const known = new Map<string, { readonly rejectedAt?: number; readonly askedAt: number }>()
  return async () => {
    for (const { resolved, outcome, keySource } of credentials.states()) {
      if (keySource !== 'file' || outcome.kind !== 'served') continue
      const { apiKey, state, profile } = outcome.served
      if (apiKey === undefined || state !== 'doubted') continue
      const { cloudApiUrl } = resolved
      const fingerprint = apiKey.fingerprint()
      const now = clock.monotonic()
      const before = known.get(fingerprint)
      const isRejected = verdicts.of(cloudApiUrl, fingerprint) === 'rejected'
      const rejectedAt = isRejected ? (before?.rejectedAt ?? now) : undefined
      const wait = askAgainMs({ doubt: state, ...defined({ rejectedAt }) }, now)
      if (before !== undefined && now - before.askedAt < wait) continue
      known.set(fingerprint, { askedAt: now, ...defined({ rejectedAt }) })
      await cloud
        .workspaces({ cloudApiUrl, key: apiKey, profile })
        .catch((error: unknown) => log.debug({ profile, error }, 'key in the file not accepted by Prefect'))
    }
  }
}
