/** One login while it lives: holds its state, feeds events to the pure machine, and does what a step asks for. */

import { BrokerError } from '../base/errors.js'
import type { Events, EventType } from '../base/events.js'
import { type CloudApi, verifyKey, type Workspace } from '../prefect/cloud.js'
import { parseApiKey } from '../prefect/key.js'
import { type Clock, SECOND_MS, type Timer } from '../std/clock.js'
import { defined } from '../std/defined.js'
import type { Log } from '../std/log.js'
import type { Secret } from '../std/secret.js'
import { readAddress } from './address.js'
import { hashState } from './delivery.js'
import type { KeepDelivery, LoginView } from './login.js'
import type { LoginPort, LoginPorts } from './ports.js'
import {
  isOpen,
  isOver,
  type LoginEffect,
  type LoginEvent,
  type LoginRules,
  type LoginState,
  type Moment,
  momentOf,
  msUntil,
  notNow,
  type VerifiedClaim,
} from './state.js'
import { startLogin, stepLogin } from './step.js'
import { type LoginTarget, loginUrl, uiOrigin } from './target.js'
import { viewLogin } from './view.js'

/** What every login of this daemon works with. */
export interface LoginParts {
  readonly clock: Clock
  readonly cloud: CloudApi
  readonly events: Events
  readonly log: Log
  readonly ports: Pick<LoginPorts, 'open' | 'lateKeys' | 'forget' | 'loginAt'>
  readonly keep: KeepDelivery
}

export interface LoginSession {
  readonly id: string
  readonly profile: string
  view(): LoginView
  isOver(): boolean
  endedAt(): Moment | undefined
  /** Takes the event, or returns why it is refused. */
  apply(event: LoginEvent): BrokerError | undefined
  /** Cleans and checks what a person typed. Rejects as `LoginSessions.submitKey` does. */
  submitKey(text: Secret, exchange: boolean): Promise<void>
  /** Takes the key in the address that the browser ended on. Rejects as `LoginSessions.submitAddress` does. */
  submitAddress(text: Secret): Promise<void>
  /** Examines late keys while it waits for one. Never rejects. */
  takeLate(): Promise<void>
  /** Resolves with the view once its version differs from `version`, after `ms`, or on abort. Never rejects. */
  waitForChange(version: number, ms: number, signal: AbortSignal): Promise<LoginView>
  /** Cancels the login if it is open. Resolves once no key is being stored. */
  close(): Promise<void>
}

/** Timers stop while a laptop sleeps, so the clocks are also checked this often, and at every event. */
const LOOK_MS = 5 * SECOND_MS
/** Until late keys are examined again after Prefect was not reached. */
const LATE_AGAIN_MS = 30 * SECOND_MS

/** Opens the port and starts to wait for a key. Rejects with `login_port_unavailable` or `api_url_invalid`. */
export async function openLoginSession(
  { clock, cloud, events, ports, keep, ...parts }: LoginParts,
  {
    id,
    target,
    rules,
    wantedPort,
    pathState,
  }: {
    readonly id: string
    readonly target: LoginTarget
    readonly rules: LoginRules
    /** This port and no other. */
    readonly wantedPort?: number
    /** For the callback's path, if it has one. */
    readonly pathState?: string
  },
): Promise<LoginSession> {
  const { profile, cloudApiUrl, isToBeActive } = target
  const log = parts.log.child({ part: 'login', login: id, profile })
  const watchers = new Set<() => void>()
  let state: LoginState = startLogin(rules, momentOf(clock))
  let version = 1
  let expiresAt = clock.now() + rules.timeoutMs
  let endedAt: Moment | undefined
  let port: LoginPort | undefined
  let isTakingLate = false
  let storing: Promise<void> = Promise.resolve()
  let timer: Timer | undefined

  function apply(event: LoginEvent): BrokerError | undefined {
    // Nobody can know the port before the URL exists: what comes earlier is not a delivery.
    if (port === undefined) return new BrokerError('login_state', 'this login has not started yet')
    const { state: next, effects, refusal } = stepLogin(state, event, momentOf(clock))
    if (next !== state) enter(next, port)
    for (const effect of effects) perform(effect)
    return refusal
  }

  function enter(next: LoginState, own: LoginPort): void {
    const before = state
    state = next
    version += 1
    if (isOpen(next)) expiresAt = next.deadline.wall
    if (isOver(next)) {
      endedAt ??= momentOf(clock)
      own.release()
    }
    setTimer()
    if (next.kind !== before.kind) {
      for (const type of eventsOf(before, next)) events.emit(type, { profile, facts: { login: id } })
      log.info({ state: next.kind }, 'login state changed')
    }
    for (const wake of [...watchers]) wake()
    if (next.kind === 'waiting' && before.kind !== 'waiting') void takeLate()
  }

  function setTimer(): void {
    timer?.cancel()
    if (!isOpen(state)) return
    const ms = Math.min(msUntil(state.deadline, momentOf(clock)), LOOK_MS)
    timer = clock.after(ms, () => {
      apply({ kind: 'time' })
      setTimer()
    })
  }

  function perform(effect: LoginEffect): void {
    if (effect.kind === 'keep') storing = store(effect.claim, effect.workspace)
    else if (effect.afterMs === 0) void check(effect.check, effect.key)
    else clock.after(effect.afterMs, () => void check(effect.check, effect.key))
  }

  async function check(number: number, key: Secret): Promise<void> {
    if (!isOpen(state)) return
    try {
      apply({ kind: 'checked', check: number, ...(await verifyKey(cloud, { cloudApiUrl, key, profile })) })
    } catch (error) {
      apply({ kind: 'check_failed', check: number, error: asBrokerError(error, 'checking the key', log) })
    }
  }

  /** They do not count as checks: whoever delivered junk to the last login must not keep the browser's key out of this one. */
  async function takeLate(): Promise<void> {
    if (isTakingLate) return
    isTakingLate = true
    try {
      for (const key of ports.lateKeys(profile, cloudApiUrl)) await examineLate(key)
    } finally {
      isTakingLate = false
    }
  }

  async function examineLate(key: Secret): Promise<void> {
    if (state.kind !== 'waiting') return
    try {
      const found = await verifyKey(cloud, { cloudApiUrl, key, profile })
      // Another key came first: this one waits for the next login.
      if (!isWaiting(state)) return
      ports.forget(key)
      apply({ kind: 'late', key, ...found })
    } catch (error) {
      if (asBrokerError(error, 'checking a late key', log).kind === 'upstream') {
        return void clock.after(LATE_AGAIN_MS, () => void takeLate())
      }
      ports.forget(key)
      apply({ kind: 'refused', why: 'late key' })
    }
  }

  function requireOpen(): void {
    const refusal = apply({ kind: 'time' }) ?? (isOpen(state) ? undefined : notNow(state))
    if (refusal) throw refusal
  }

  async function take(
    key: Secret,
    how: { readonly exchange: boolean; readonly isFromBrowser?: boolean },
  ): Promise<void> {
    requireOpen()
    const found = await verifyKey(cloud, { cloudApiUrl, key, profile })
    const rejection = apply({ kind: 'typed', key, ...how, ...found })
    if (rejection) throw rejection
  }

  async function store(claim: VerifiedClaim, workspace: Workspace): Promise<void> {
    const { key, via, exchange, owner, workspaces } = claim
    const delivered = { key, via, exchange, owner, workspaces, workspace, ...defined({ isToBeActive }) }
    try {
      apply({ kind: 'kept', outcome: await keep({ profile, cloudApiUrl, ...delivered }) })
    } catch (error) {
      apply({ kind: 'not_kept', error: asBrokerError(error, 'storing the key', log) })
    }
  }

  port = await ports.open(
    {
      profile,
      cloudApiUrl,
      uiOrigin: uiOrigin(target.cloudUiUrl),
      ...defined({ state: pathState, wanted: wantedPort }),
    },
    {
      onDelivery: (key) => apply({ kind: 'delivered', key }) === undefined,
      onFailure: (reason) => apply({ kind: 'page_failed', reason }) === undefined,
      onRefused(why) {
        log.debug({ why }, 'request to the login callback refused')
        apply({ kind: 'refused', why })
      },
    },
  )
  const url = loginUrl(target.cloudUiUrl, port.callbackUrl)
  const stateHash = pathState === undefined ? undefined : hashState(pathState)
  const expected = {
    profile,
    port: port.port,
    uiOrigin: uiOrigin(target.cloudUiUrl),
    loginAt: ports.loginAt,
    ...defined({ stateHash }),
  }
  setTimer()
  events.emit('login.started', { profile, facts: { login: id } })

  function view(): LoginView {
    apply({ kind: 'time' })
    return viewLogin({ id, profile, version, url, expiresAt }, state)
  }

  return {
    id,
    profile,
    view,
    apply,
    isOver: () => isOver(state),
    endedAt: () => endedAt,
    async submitKey(text, exchange) {
      const key = parseApiKey(text.reveal()) // what a person pasted is cleaned
      await take(key, { exchange })
    },
    async submitAddress(text) {
      requireOpen()
      const key = readAddress(text.reveal(), expected) // the key is in the address that was pasted
      // It is in the browser's history now.
      await take(key, { exchange: true, isFromBrowser: true })
    },
    takeLate,
    waitForChange(since, ms, signal) {
      const now = view()
      // Nothing changes after the end: waiting would only cost time.
      if (now.version !== since || isOver(state) || signal.aborted || ms <= 0) return Promise.resolve(now)
      return new Promise((resolve) => {
        const finish = () => {
          limit.cancel()
          watchers.delete(finish)
          signal.removeEventListener('abort', finish)
          resolve(view())
        }
        const limit = clock.after(ms, finish)
        watchers.add(finish)
        signal.addEventListener('abort', finish, { once: true })
      })
    },
    async close() {
      apply({ kind: 'cancelled' })
      await storing
    },
  }
}

/** The events of one step: the claim of a known owner passes through `verified` without stopping there. */
function eventsOf(before: LoginState, next: LoginState): readonly EventType[] {
  if (next.kind === 'waiting') return []
  if (next.kind === 'confirmed' && before.kind !== 'verified') return ['login.verified', 'login.confirmed']
  return [`login.${next.kind}`]
}

/** A function, so that the compiler does not take the state to be unchanged by what was awaited. */
function isWaiting({ kind }: LoginState): boolean {
  return kind === 'waiting'
}

/** Anything but a `BrokerError` is a bug of ours: logged in full, reported as `internal`. */
function asBrokerError(error: unknown, what: string, log: Log): BrokerError {
  if (error instanceof BrokerError) return error
  log.error({ error }, 'unexpected error during a login')
  return new BrokerError('internal', `${what} failed unexpectedly`, { cause: error })
}
