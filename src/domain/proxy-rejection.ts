/**
 * Prefect answered 401 to a key in use. One such answer proves nothing: the file and the vault are looked at again, then
 * Prefect is asked about the key itself. Only its second 401 makes the key a rejected one.
 */
import type { Clock } from '../std/clock.js'
import type { Log } from '../std/log.js'
import { createSingleFlight } from '../std/single-flight.js'
import type { CloudApi } from './cloud.js'
import { isBrokerError } from './errors.js'
import type { Events } from './events.js'
import type { KeyKeeper } from './keep-keys.js'
import type { ServingCredentials } from './serve-credentials.js'

export interface ProxyRejectionDeps {
  readonly credentials: ServingCredentials
  readonly keeper: KeyKeeper
  readonly cloud: Pick<CloudApi, 'workspaces'>
  readonly events: Events
  readonly clock: Clock
  readonly log: Log
  /** Renews the key where that is due; resolves when it is over, whatever came of it. */
  readonly renew?: (profile: string) => Promise<void>
}

/** A key that Prefect was asked about is not asked about again before this. */
const ASK_AGAIN_MS = 5_000

/** Never rejects. N requests that fail at once cause one look. */
export function createProxyRejection(deps: ProxyRejectionDeps) {
  const { log, clock } = deps
  const flights = createSingleFlight<void>()
  const asked = new Map<string, number>()
  return (profile: string, fingerprint: string): Promise<void> =>
    flights.run(profile, async () => {
      const name = `${profile} ${fingerprint}`
      const last = asked.get(name)
      if (last !== undefined && clock.monotonic() - last < ASK_AGAIN_MS) return
      try {
        await look(deps, profile, fingerprint)
      } catch (error) {
        log.warn({ profile, error }, 'a refused key could not be looked into')
      }
      // Only now: what was asked for long ago says nothing about this moment.
      asked.clear()
      asked.set(name, clock.monotonic())
    })
}

async function look(deps: ProxyRejectionDeps, profile: string, fingerprint: string): Promise<void> {
  const { credentials, keeper, cloud, events, log, renew } = deps
  await credentials.refresh()
  await renew?.(profile)
  const { outcome, resolved } = credentials.state(profile)
  if (outcome.kind === 'refused') return
  const { apiKey, item } = outcome.served
  if (apiKey === undefined || apiKey.fingerprint() !== fingerprint) return
  try {
    await cloud.workspaces({ cloudApiUrl: resolved.cloudApiUrl, key: apiKey })
  } catch (error) {
    if (!isBrokerError(error, 'key_rejected')) throw error
    events.emit('key.rejected', { profile, facts: { fingerprint } })
    log.warn({ profile, fingerprint }, 'Prefect does not accept this key any more')
    // A key out of the file is the user's own: it is served until the user changes it.
    if (item === undefined) return
    await keeper.markRejected(item)
    await credentials.settle()
  }
}
