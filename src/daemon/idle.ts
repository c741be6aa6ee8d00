/** Idle exit: decides when an unused daemon exits (`idle_exit`), and says why it stays. */
import type { Front } from '../api/front.js'
import { isHalfDone, type Journal } from '../keys/journal.js'
import type { KeyKeeper } from '../keys/keeper.js'
import type { LoginSessions } from '../login/login.js'
import type { Document } from '../os/document.js'
import type { ServerTimes } from '../prefect/server-time.js'
import { nextDutyInMs } from '../renewal/due.js'
import type { Renewal } from '../renewal/renewal.js'
import type { Credentials } from '../serve/credentials.js'
import type { Examination } from '../status/doctor.js'
import { type Clock, HOUR_MS, MINUTE_MS, SECOND_MS, type Timer } from '../std/clock.js'
import { defined } from '../std/defined.js'
import type { Log } from '../std/log.js'
import { formatDuration } from '../std/time.js'
import type { ListenerFacts } from '../tokens/access.js'
import type { Vault, VaultDescription } from '../vault/vault.js'

export interface IdleFacts {
  /** `idle_exit`, ms. */
  readonly afterMs: number
  readonly listeners: readonly ListenerFacts[]
  readonly vault: Pick<VaultDescription, 'backend' | 'state' | 'opensAlone'>
  /** Idle keep-alive ones count, too: their next request would fail. */
  readonly connections: number
  /** Requests under way, even if their callers have gone. */
  readonly acts: number
  /** Since a connection was last opened or closed, or since the start. */
  readonly quietMs: number
  /** Open ones, and those that ended a moment ago: both can still be asked for. */
  readonly logins: number
  /** Ports of ended logins that are kept, so that nobody else gets a late key. */
  readonly keptPorts: number
  /** Half done. A key whose answer was lost does not count: every start looks for it. */
  readonly journalEntries: number
  /** A key is being renewed, or Prefect is being asked about one. */
  readonly isWorking: boolean
  /** Set by hand; an exit would undo it. */
  readonly hasOwnLogLevel: boolean
  /** The disk does not have what memory has; an exit would lose it. */
  readonly isStateBehind?: boolean
  /** Until something must be done without a request; absent: never. */
  readonly dutyInMs?: number
  /** Until systemd's timer starts the daemon again; absent: it does not run. */
  readonly wakeInMs?: number
  /** A command started it, and the next one does again. Its listeners are closed when it is away. */
  readonly isOnDemand?: boolean
  /** Active tokens, whose holders could not reach anything, and files, which would not be renewed. */
  readonly holders?: number
}

type IdleDecision =
  | { readonly kind: 'leave' }
  /** `isLasting`: it cannot change while this daemon runs, so the setting has no effect. */
  | {
      readonly kind: 'stay'
      readonly because: string
      readonly isLasting: boolean
      /** When to look again. */
      readonly againInMs: number
    }

/** An on-demand daemon has no timer: what is due so soon is done first. Later, the next command comes in time, or a login is needed. */
const SOON_MS = HOUR_MS
/** How late the timer may be (`AccuracySec`), with the time that a start takes. */
const WAKE_MARGIN_MS = 2 * MINUTE_MS
const LOOK_AGAIN_MS = 30 * SECOND_MS

export function decideIdleExit(facts: IdleFacts): IdleDecision {
  const lasting = lastingObstacle(facts)
  if (lasting !== undefined) return stay(lasting.because, { isLasting: true })
  const { afterMs, quietMs, connections } = facts
  if (connections > 0) return stay(`${connections} connection(s) are open`, { againInMs: afterMs })
  if (quietMs < afterMs) return stay('there was a request a moment ago', { againInMs: afterMs - quietMs })
  const passing = passingObstacle(facts)
  return passing === undefined ? { kind: 'leave' } : stay(passing)
}

/** Why the setting can have no effect on this daemon, with a command for it. */
export function lastingObstacle({
  listeners,
  vault,
  isOnDemand = false,
}: Pick<IdleFacts, 'listeners' | 'vault' | 'isOnDemand'>):
  | { readonly because: string; readonly hint: string }
  | undefined {
  const open = listeners.filter(({ state }) => state === 'listening')
  const own = isOnDemand ? undefined : open.find(({ inherited }) => inherited !== true)
  if (own?.door === 'socket') {
    const because = 'no systemd socket started this daemon, so nothing would start it again'
    return { because, hint: 'prefect-auth service install      (or unset idle_exit)' }
  }
  if (own !== undefined) {
    const because = `without the daemon nothing would listen on ${own.address}`
    return { because, hint: 'unset idle_exit, or remove this listener: docs/service.md' }
  }
  if (vault.backend === 'keychain') {
    const because = 'the keychain may be locked at the next start and wait for a person'
    return { because, hint: 'unset idle_exit, or keep keys in the file vault: docs/service.md' }
  }
  if (vault.state !== 'ready' || vault.opensAlone === true) return undefined
  const because = 'a person unlocked the vault and would have to unlock it again'
  return { because, hint: 'set vault.passphrase_file, or unset idle_exit' }
}

function passingObstacle(facts: IdleFacts): string | undefined {
  const { vault, acts, logins, keptPorts, journalEntries, isWorking, hasOwnLogLevel, dutyInMs, wakeInMs } =
    facts
  if (vault.state !== 'ready') return 'the vault is not open'
  if (logins > 0) return 'a login is open, or ended a moment ago'
  if (keptPorts > 0)
    return 'the port of a login is kept for half an hour, so that nobody else gets a late key'
  if (acts > 0) return 'a request of a caller that has gone is under way'
  if (isWorking) return 'Prefect is being asked'
  if (journalEntries > 0) return 'a key change is not finished'
  if (hasOwnLogLevel) return 'the log level was changed by hand'
  if (facts.isStateBehind === true) return 'the state could not be written yet'
  if (facts.isOnDemand === true) {
    if ((facts.holders ?? 0) > 0) return 'there are tokens or files, which need the daemon'
    return dutyInMs !== undefined && dutyInMs < SOON_MS ? 'a key must be renewed soon' : undefined
  }
  if (dutyInMs === undefined) return undefined
  if (wakeInMs === undefined) return 'prefect-authd.timer does not run and a key must be renewed later'
  if (dutyInMs > wakeInMs + WAKE_MARGIN_MS) return undefined
  return dutyInMs <= 0
    ? 'a key must be renewed'
    : `a key is due in ${formatDuration(Math.ceil(dutyInMs / SECOND_MS) * SECOND_MS)}, before the timer fires`
}

function stay(because: string, { isLasting = false, againInMs = LOOK_AGAIN_MS } = {}): IdleDecision {
  return { kind: 'stay', because, isLasting, againInMs }
}

interface IdleParts {
  /** `idle_exit`, ms. */
  readonly afterMs: number | 'off'
  readonly clock: Clock
  readonly log: Log
  /** When systemd starts the daemon again, epoch ms; `undefined`: never. */
  readonly wakeTimer: () => Promise<number | undefined>
  readonly isOnDemand: boolean
  readonly holders: () => number
  readonly hasOwnLogLevel: () => boolean
  readonly isStateBehind: () => boolean
  /** Ends the daemon; its listeners are closed by then. */
  readonly leave: () => void
  readonly listeners: readonly ListenerFacts[]
  readonly vault: Vault
  readonly keeper: KeyKeeper
  readonly credentials: Credentials
  readonly logins: LoginSessions
  readonly journal: Document<Journal>
  readonly renewal: Renewal
  readonly times: ServerTimes
  /** `renewal.retire_after`, ms; absent: never. */
  readonly retireAfterMs?: number
}

interface IdleExit {
  /** Starts looking, once all listeners are open. */
  watch(app: Front): void
  /** Says so when the setting has no effect. */
  notices(): readonly string[]
  readonly examinations: readonly Examination[]
  close(): void
}

export function createIdleExit(parts: IdleParts): IdleExit {
  const { afterMs } = parts
  if (afterMs === 'off') {
    return { watch: () => undefined, notices: () => [], examinations: [], close: () => undefined }
  }
  return createActive({ ...parts, afterMs })
}

type ActiveParts = IdleParts & { readonly afterMs: number }

function createActive(parts: ActiveParts): IdleExit {
  const { afterMs, clock, log, wakeTimer } = parts
  let timer: Timer | undefined
  let isClosed = false
  let said: string | undefined
  let app: Front | undefined

  /** Why it would stay even if everybody had left. */
  const reasonToStay = (of: Front, wakeInMs: number): string | undefined => {
    const alone = { ...gather(parts, of), connections: 0, quietMs: afterMs, wakeInMs }
    const decision = decideIdleExit(alone)
    return decision.kind === 'stay' ? decision.because : undefined
  }
  const lookLater = (app: Front, ms: number) => {
    timer = clock.after(ms, () => {
      look(app).catch((error: unknown) => {
        log.error({ error }, 'idle check failed; will retry')
        if (!isClosed) lookLater(app, afterMs)
      })
    })
  }
  const look = async (app: Front): Promise<void> => {
    // As if the timer fired at once: systemd is asked last, and rarely.
    let decision = decideIdleExit({ ...gather(parts, app), wakeInMs: 0 })
    if (decision.kind === 'leave' && !parts.isOnDemand) {
      const wakeAt = await wakeTimer()
      const wakeInMs = wakeAt === undefined ? undefined : wakeAt - clock.now()
      decision = decideIdleExit({ ...gather(parts, app), ...defined({ wakeInMs }) })
    }
    if (isClosed) return
    if (decision.kind === 'leave') return leave(app)
    if (decision.because !== said) {
      said = decision.because
      const { because } = decision
      if (decision.isLasting) log.warn({ because }, 'idle_exit has no effect')
      else log.debug({ because }, 'not idle')
    }
    lookLater(app, decision.againInMs)
  }
  /** In the same turn as the decision: a request that arrives now waits in the kernel for the daemon it starts. */
  const leave = (app: Front) => {
    app.shutDoors()
    isClosed = true
    log.info({ after: formatDuration(afterMs) }, 'idle; exiting until the next request')
    parts.leave()
  }
  return {
    watch(opened) {
      app = opened
      lookLater(opened, 0)
    },
    notices() {
      const obstacle = obstacleTo(parts)
      return obstacle === undefined ? [] : [`idle_exit has no effect: ${obstacle.because}`]
    },
    examinations: [
      {
        name: 'idle exit',
        async examine() {
          const obstacle = obstacleTo(parts)
          if (obstacle !== undefined) {
            const finding = `idle_exit has no effect: ${obstacle.because}`
            return { verdict: 'warning', finding, remedy: obstacle.hint }
          }
          const wakeAt = parts.isOnDemand ? clock.now() : await wakeTimer()
          if (wakeAt !== undefined) {
            const held = app === undefined ? undefined : reasonToStay(app, wakeAt - clock.now())
            const finding = `after ${formatDuration(afterMs)} without a request`
            return { verdict: 'ok', finding: held === undefined ? finding : `${finding}; not now: ${held}` }
          }
          const finding = 'prefect-authd.timer does not run: while a key must be renewed, the daemon stays'
          return { verdict: 'warning', finding, remedy: 'prefect-auth service install' }
        },
      },
    ],
    close() {
      isClosed = true
      timer?.cancel()
    },
  }
}

function obstacleTo({ listeners, vault, isOnDemand }: IdleParts): ReturnType<typeof lastingObstacle> {
  return lastingObstacle({ listeners, vault: vault.describe(), isOnDemand })
}

function gather(parts: ActiveParts, app: Front): IdleFacts {
  const { afterMs, listeners, vault, logins, journal, renewal } = parts
  const dutyInMs = nextDutyInMs(parts)
  return {
    afterMs,
    listeners,
    vault: vault.describe(),
    ...app.presence(),
    logins: logins.list().length,
    keptPorts: logins.ports().length,
    journalEntries: Object.values(journal.read().entries).filter(isHalfDone).length,
    isWorking: renewal.isBusy(),
    hasOwnLogLevel: parts.hasOwnLogLevel(),
    isStateBehind: parts.isStateBehind(),
    isOnDemand: parts.isOnDemand,
    holders: parts.holders(),
    ...defined({ dutyInMs }),
  }
}
