/** Pure: whether a daemon that nobody asks may end, because the system brings it back before anybody misses it. */

import type { ListenerFacts } from '../status/status.js'
import { formatDuration } from '../std/time.js'
import type { VaultDescription } from '../vault/vault.js'

export interface IdleFacts {
  /** `idle_exit`, ms. */
  readonly afterMs: number
  readonly listeners: readonly ListenerFacts[]
  readonly vault: Pick<VaultDescription, 'backend' | 'state' | 'opensAlone'>
  /** Those that are kept-alive and silent, too: their next request would fail. */
  readonly connections: number
  /** What is being done for callers, be they gone. */
  readonly acts: number
  /** Since the last connection came or went, or since the start. */
  readonly quietMs: number
  /** That can still be asked about: open ones, and those that ended a moment ago. */
  readonly logins: number
  /** Half done; a key whose answer was lost is looked for at every start, and holds nobody. */
  readonly journalEntries: number
  /** A key is being renewed, or Prefect asked about one. */
  readonly isWorking: boolean
  /** Set by hand until the next start, which would forget it. */
  readonly hasOwnLogLevel: boolean
  /** Until something must be done unasked; absent: never. */
  readonly dutyInMs?: number
  /** Until the timer starts us again; absent: it does not run. */
  readonly wakeInMs?: number
}

export type IdleDecision =
  | { readonly kind: 'leave' }
  /** `isLasting`: it will not change while this daemon runs, and a person should know. */
  | {
      readonly kind: 'stay'
      readonly because: string
      readonly isLasting: boolean
      /** When to look again. */
      readonly againInMs: number
    }

/** The timer is so late at most (`AccuracySec`), and the start takes its time. */
const WAKE_MARGIN_MS = 2 * 60_000
const LOOK_AGAIN_MS = 30_000

export function decideIdleExit(facts: IdleFacts): IdleDecision {
  const lasting = lastingObstacle(facts)
  if (lasting !== undefined) return stay(lasting.because, { isLasting: true })
  const { afterMs, quietMs, connections } = facts
  if (connections > 0) return stay(`${connections} connection(s) are open`, { againInMs: afterMs })
  if (quietMs < afterMs) return stay('somebody asked a moment ago', { againInMs: afterMs - quietMs })
  const passing = passingObstacle(facts)
  return passing === undefined ? { kind: 'leave' } : stay(passing)
}

/** Why the setting can have no effect with this daemon, and what helps. */
export function lastingObstacle({
  listeners,
  vault,
}: Pick<IdleFacts, 'listeners' | 'vault'>): { readonly because: string; readonly hint: string } | undefined {
  const open = listeners.filter(({ state }) => state === 'listening')
  const own = open.find(({ inherited }) => inherited !== true)
  if (own?.door === 'socket') {
    const because = 'no systemd socket started this daemon, and nothing would bring it back'
    return { because, hint: 'prefect-auth service install      (or unset idle_exit)' }
  }
  if (own !== undefined) {
    const because = `while it is away nobody would listen on ${own.address}`
    return { because, hint: 'unset idle_exit, or do without this listener: docs/service.md' }
  }
  if (vault.backend === 'keychain') {
    const because = 'the keychain may be locked when the daemon comes back, and wait for a person'
    return { because, hint: 'unset idle_exit, or keep keys in the file vault: docs/service.md' }
  }
  if (vault.state !== 'ready' || vault.opensAlone === true) return undefined
  const because = 'a person unlocked the vault, and would have to do it again'
  return { because, hint: 'set vault.passphrase_file, or unset idle_exit' }
}

function passingObstacle(facts: IdleFacts): string | undefined {
  const { vault, acts, logins, journalEntries, isWorking, hasOwnLogLevel, dutyInMs, wakeInMs } = facts
  if (vault.state !== 'ready') return 'the vault is shut'
  if (logins > 0) return 'a login is open, or ended a moment ago'
  if (acts > 0) return 'something is being done for a caller who has gone'
  if (isWorking) return 'Prefect is being asked'
  if (journalEntries > 0) return 'a change of a key is not finished'
  if (hasOwnLogLevel) return 'the log level was set until the next start'
  if (dutyInMs === undefined) return undefined
  if (wakeInMs === undefined) return 'prefect-authd.timer does not run, and there is a key to renew'
  if (dutyInMs > wakeInMs + WAKE_MARGIN_MS) return undefined
  return dutyInMs <= 0
    ? 'a key has to be renewed'
    : `a key has to be seen to in ${formatDuration(Math.ceil(dutyInMs / 1000) * 1000)}, before the timer comes`
}

function stay(because: string, { isLasting = false, againInMs = LOOK_AGAIN_MS } = {}): IdleDecision {
  return { kind: 'stay', because, isLasting, againInMs }
}
