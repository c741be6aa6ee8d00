/**
 * Prefect answered 401 to a key in use. One such answer proves nothing: the file and the vault are looked at again, then
 * Prefect is asked about the key itself. Only its second 401 makes the key a rejected one.
 */

import { isBrokerError } from '../base/errors.js'
import type { Events } from '../base/events.js'
import { rejectKey } from '../keys/disposal.js'
import type { KeyKeeper } from '../keys/keeper.js'
import type { CloudApi } from '../prefect/cloud.js'
import type { ServingCredentials } from '../serve/serve.js'
import { createSingleFlight } from '../std/async.js'
import type { Clock } from '../std/clock.js'
import type { Log } from '../std/log.js'

interface ProxyRejectionDeps {
  readonly credentials: Pick<ServingCredentials, 'refresh' | 'state' | 'settle'>
  readonly keeper: Pick<KeyKeeper, 'markRejected'>
  readonly cloud: Pick<CloudApi, 'workspaces'>
  readonly events: Events
  readonly clock: Clock
  readonly log: Log
  /** Renews the key where that is due; resolves when it is over, whatever came of it. */
  readonly renew?: (profile: string) => Promise<void>
}

/** A key that Prefect was asked about is not asked about again before this. */
const ASK_AGAIN_MS = 5_000
/** For so long it must have been refused whenever it was asked about: a bad minute at Prefect takes no key out of service. */
const REJECTED_AFTER_MS = 15_000

interface Doubt {
  readonly fingerprint: string
  readonly since: number
  readonly askedAt: number
}

/** Never rejects. N requests that fail at once cause one look. */
export function createProxyRejection(deps: ProxyRejectionDeps) {
  const { log, clock } = deps
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
        const isRefused = await look(deps, profile, fingerprint, now - since >= REJECTED_AFTER_MS)
        if (isRefused) doubts.set(profile, { fingerprint, since, askedAt: clock.monotonic() })
        else doubts.delete(profile)
      } catch (error) {
        log.warn({ profile, error }, 'a refused key could not be looked into')
      }
    })
}

/** Whether Prefect, asked about this very key, refuses it. `isLong`: and has done so for long enough to be believed. */
async function look(
  deps: ProxyRejectionDeps,
  profile: string,
  fingerprint: string,
  isLong: boolean,
): Promise<boolean> {
  const { credentials, keeper, cloud, events, log, renew } = deps
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
  // A key out of the file is the user's own: it is served until the user changes it.
  if (!isLong || item === undefined) return true
  const settle = () => credentials.settle()
  await rejectKey({ keeper, settle, events, log }, { profile, item, fingerprint })
  return true
}
