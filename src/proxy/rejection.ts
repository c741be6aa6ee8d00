/** What happens when Prefect answers 401 to a job's request: the key is looked at, and the request sent once more. */
import { isBrokerError } from '../base/errors.js'
import type { CloudApi } from '../prefect/cloud.js'
import type { Credentials } from '../serve/credentials.js'
import { createSingleFlight } from '../std/async.js'
import { type Clock, SECOND_MS } from '../std/clock.js'
import type { Log } from '../std/log.js'
import type { Visit } from './admission.js'
import { fingerprintOf } from './headers.js'

/** Resolves with the visit and the best key there is, which may be the same. Rejects as `serve` throws. */
export type Renew = (visit: Visit) => Promise<Visit>

export function createRenew({
  credentials,
  onRejected,
  log,
}: {
  readonly credentials: Pick<Credentials, 'refresh' | 'serve'>
  /** Asks Prefect about the key, and renews it if that is due; never rejects. */
  readonly onRejected: (profile: string, fingerprint: string) => Promise<void>
  readonly log: Log
}): Renew {
  return async (visit) => {
    const { profile } = visit.served
    const rejected = fingerprintOf(visit.served)
    await credentials.refresh()
    if (fingerprintOf(credentials.serve(profile)) === rejected) {
      log.warn({ profile, fingerprint: rejected }, 'Prefect rejected the key of a proxied request')
      await onRejected(profile, rejected)
    }
    return { ...visit, served: credentials.serve(profile) }
  }
}

/** A key that Prefect was asked about is not asked about again before this. */
const ASK_AGAIN_MS = 5 * SECOND_MS

/**
 * Returns what to call after a 401. It proves nothing, and may be anybody's: the file and the vault are read again, then
 * Prefect is asked about the key itself, and its answer decides what the key is worth. Concurrent calls for a profile share
 * one question. Never rejects.
 */
export function createProxyRejection({
  credentials,
  cloud,
  clock,
  log,
  renew,
}: {
  readonly credentials: Pick<Credentials, 'refresh' | 'state'>
  readonly cloud: Pick<CloudApi, 'workspaces'>
  readonly clock: Clock
  readonly log: Log
  /** Asks about a key of the vault, and renews it if that is due; resolves when it is over, whatever the outcome. */
  readonly renew: (profile: string) => Promise<void>
}) {
  const flights = createSingleFlight<void>()
  const asked = new Map<string, { readonly fingerprint: string; readonly at: number }>()

  async function ask(profile: string, fingerprint: string): Promise<void> {
    await credentials.refresh()
    const { outcome, resolved, keySource } = credentials.state(profile)
    if (outcome.kind === 'refused' || outcome.served.apiKey?.fingerprint() !== fingerprint) return
    if (keySource === 'vault') return renew(resolved.aliasOf ?? profile)
    // A key in the file is the user's own: it is served until the user changes it.
    await cloud.workspaces({ cloudApiUrl: resolved.cloudApiUrl, key: outcome.served.apiKey, profile })
  }

  return (profile: string, fingerprint: string): Promise<void> =>
    flights.run(profile, async () => {
      const before = asked.get(profile)
      const now = clock.monotonic()
      if (before?.fingerprint === fingerprint && now - before.at < ASK_AGAIN_MS) return
      asked.set(profile, { fingerprint, at: now })
      try {
        await ask(profile, fingerprint)
      } catch (error) {
        if (isBrokerError(error, 'key_rejected')) return
        log.warn({ profile, error }, 'refused key could not be asked about')
      }
    })
}
