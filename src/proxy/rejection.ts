/** Rejected keys: what happens when Prefect answers 401 to a key in use. */
import { isBrokerError } from '../base/errors.js'
import type { Events } from '../base/events.js'
import { rejectKey } from '../keys/disposal.js'
import type { KeyKeeper } from '../keys/keeper.js'
import type { CloudApi } from '../prefect/cloud.js'
import type { Credentials } from '../serve/credentials.js'
import type { ServingCredentials } from '../serve/serve.js'
import { createSingleFlight } from '../std/async.js'
import { type Clock, SECOND_MS } from '../std/clock.js'
import type { Log } from '../std/log.js'
import type { Visit } from './admission.js'
import { fingerprintOf } from './headers.js'
import { keyRejected } from './parking.js'

/** Resolves with the visit and a newer key. Rejects with `key_rejected` if there is none, or as `serve` throws. */
export type Renew = (visit: Visit) => Promise<Visit>

export function createRenew({
  credentials,
  onRejected,
  log,
}: {
  readonly credentials: Pick<Credentials, 'refresh' | 'serve'>
  /** Looks for a newer key, and renews it if that is due; never rejects. */
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
    const served = credentials.serve(profile)
    if (fingerprintOf(served) === rejected) throw keyRejected(profile)
    return { ...visit, served }
  }
}

/** A key that Prefect was asked about is not asked about again before this. */
const ASK_AGAIN_MS = 5 * SECOND_MS
/** Prefect must have rejected it every time for this long: a bad minute at Prefect takes no key out of service. */
const REJECTED_AFTER_MS = 15 * SECOND_MS

interface Doubt {
  readonly fingerprint: string
  readonly since: number
  readonly askedAt: number
}

interface RejectionParts {
  readonly credentials: Pick<ServingCredentials, 'refresh' | 'state' | 'settle'>
  readonly keeper: Pick<KeyKeeper, 'markRejected'>
  readonly cloud: Pick<CloudApi, 'workspaces'>
  readonly events: Events
  readonly clock: Clock
  readonly log: Log
  /** Renews the key if that is due; resolves when it is over, whatever the outcome. */
  readonly renew?: (profile: string) => Promise<void>
}

/**
 * Returns what to call after a 401. One 401 proves nothing: the file and the vault are read again, then Prefect is asked
 * about the key itself. Only if it keeps answering 401 is the key rejected. Concurrent calls for a profile share one check.
 * Never rejects.
 */
export function createProxyRejection(parts: RejectionParts) {
  const { log, clock } = parts
  const flights = createSingleFlight<void>()
  const doubts = new Map<string, Doubt>()
  return (profile: string, fingerprint: string): Promise<void> =>
    flights.run(profile, async () => {
      const now = clock.monotonic()
      const known = doubts.get(profile)
      const before = known?.fingerprint === fingerprint ? known : undefined
      if (before !== undefined && now - before.askedAt < ASK_AGAIN_MS) return
      const since = before?.since ?? now
      try {
        const isRefused = await check(parts, profile, fingerprint, now - since >= REJECTED_AFTER_MS)
        if (isRefused) doubts.set(profile, { fingerprint, since, askedAt: clock.monotonic() })
        else doubts.delete(profile)
      } catch (error) {
        log.warn({ profile, error }, 'rejected key could not be checked')
      }
    })
}

/** Returns true if Prefect rejects this very key. `isLong`: it has done so for long enough to be believed. */
async function check(
  { credentials, keeper, cloud, events, log, renew }: RejectionParts,
  profile: string,
  fingerprint: string,
  isLong: boolean,
): Promise<boolean> {
  await credentials.refresh()
  await renew?.(profile)
  const { outcome, resolved } = credentials.state(profile)
  if (outcome.kind === 'refused') return false
  const { apiKey, item } = outcome.served
  if (apiKey === undefined || apiKey.fingerprint() !== fingerprint) return false
  try {
    await cloud.workspaces({ cloudApiUrl: resolved.cloudApiUrl, key: apiKey })
    return false
  } catch (error) {
    if (!isBrokerError(error, 'key_rejected')) throw error
  }
  // A key in the file is the user's own: it is served until the user changes it.
  if (!isLong || item === undefined) return true
  const settle = () => credentials.settle()
  await rejectKey({ keeper, settle, events, log }, { profile, item, fingerprint })
  return true
}
