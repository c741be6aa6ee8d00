/** One login while it lives: holds its state, feeds events to the pure machine, and does what a step asks for. */

import { BrokerError } from '../base/errors.js'
import type { Events, EventType } from '../base/events.js'
import { type CloudApi, type Owner, verifyKey, type Workspace } from '../prefect/cloud.js'
import { parseApiKey } from '../prefect/key.js'
import { type Clock, SECOND_MS, type Timer } from '../std/clock.js'
import { defined } from '../std/defined.js'
import type { Log } from '../std/log.js'
import type { Secret } from '../std/secret.js'
import { cleanText } from '../std/text.js'
import type { LoginCallback, OpenCallback } from './callback.js'
import type { KeepDelivery, LoginView } from './login.js'
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

/** What every login of this daemon works with. */
export interface LoginParts {
  readonly clock: Clock
  readonly cloud: CloudApi
  readonly events: Events
  readonly log: Log
  readonly openCallback: OpenCallback
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
  /** Resolves with the view once its version differs from `version`, after `ms`, or on abort. Never rejects. */
  waitForChange(version: number, ms: number, signal: AbortSignal): Promise<LoginView>
  /** Cancels the login if it is open. Resolves once the port is closed and no key is being stored. */
  close(): Promise<void>
}

/** Timers stop while a laptop sleeps, so the clocks are also checked this often, and at every event. */
const LOOK_MS = 5 * SECOND_MS

/** Opens the port and starts to wait for a key. Rejects with `login_port_unavailable` or `api_url_invalid`. */
export async function openLoginSession(
  { clock, cloud, events, openCallback, keep, ...parts }: LoginParts,
  {
    id,
    target,
    rules,
    pathState,
  }: {
    readonly id: string
    readonly target: LoginTarget
    readonly rules: LoginRules
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
  let callback: LoginCallback | undefined
  let closing: Promise<void> | undefined
  let storing: Promise<void> = Promise.resolve()
  let timer: Timer | undefined

  function apply(event: LoginEvent): BrokerError | undefined {
    // Nobody can know the port before the URL exists: what comes earlier is not a delivery.
    if (callback === undefined) return new BrokerError('login_state', 'this login has not started yet')
    const { state: next, effects, refusal } = stepLogin(state, event, momentOf(clock))
    if (next !== state) enter(next, callback)
    for (const effect of effects) perform(effect)
    return refusal
  }

  function enter(next: LoginState, listener: LoginCallback): void {
    const before = state
    state = next
    version += 1
    if (isOpen(next)) expiresAt = next.deadline.wall
    else closing ??= closeCallback(listener, log)
    if (isOver(next)) endedAt ??= momentOf(clock)
    setTimer()
    if (next.kind !== before.kind) {
      for (const type of eventsOf(before, next)) events.emit(type, { profile, facts: { login: id } })
      log.info({ state: next.kind }, 'login state changed')
    }
    for (const wake of [...watchers]) wake()
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
      apply({ kind: 'checked', check: number, ...(await verifyKey(cloud, { cloudApiUrl, key })) })
    } catch (error) {
      apply({ kind: 'check_failed', check: number, error: asBrokerError(error, 'checking the key', log) })
    }
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

  callback = await openCallback({
    uiOrigin: uiOrigin(target.cloudUiUrl),
    ...defined({ state: pathState }),
    onDelivery: (key) => apply({ kind: 'delivered', key }) === undefined,
    onFailure: (reason) => apply({ kind: 'page_failed', reason }) === undefined,
    onRefused(why) {
      log.debug({ why }, 'request to the login callback refused')
      apply({ kind: 'refused' })
    },
  })
  const url = loginUrl(target.cloudUiUrl, callback.callbackUrl)
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
      const refusal = apply({ kind: 'time' }) ?? (isOpen(state) ? undefined : notNow(state))
      if (refusal) throw refusal
      const found = await verifyKey(cloud, { cloudApiUrl, key })
      const rejection = apply({ kind: 'typed', key, exchange, ...found })
      if (rejection) throw rejection
    },
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
      await closing
    },
  }
}

/** The events of one step: the claim of a known owner passes through `verified` without stopping there. */
function eventsOf(before: LoginState, next: LoginState): readonly EventType[] {
  if (next.kind === 'waiting') return []
  if (next.kind === 'confirmed' && before.kind !== 'verified') return ['login.verified', 'login.confirmed']
  return [`login.${next.kind}`]
}

async function closeCallback(callback: LoginCallback, log: Log): Promise<void> {
  try {
    await callback.close()
  } catch (error) {
    log.error({ error }, 'closing the login callback failed')
  }
}

/** Anything but a `BrokerError` is a bug of ours: logged in full, reported as `internal`. */
function asBrokerError(error: unknown, what: string, log: Log): BrokerError {
  if (error instanceof BrokerError) return error
  log.error({ error }, 'unexpected error during a login')
  return new BrokerError('internal', `${what} failed unexpectedly`, { cause: error })
}

interface LoginLabel {
  readonly id: string
  readonly profile: string
  readonly version: number
  readonly url: string
  /** Epoch ms: the most recent deadline. */
  readonly expiresAt: number
}

/** Pure: the login as callers see it, without its key. */
export function viewLogin({ url, ...label }: LoginLabel, state: LoginState): LoginView {
  const { kind, refused, notice } = state
  const shownUrl = isOpen(state) ? url : undefined
  return { ...label, state: kind, refused, ...defined({ url: shownUrl, notice }), ...details(state) }
}

function details(state: LoginState): Partial<LoginView> {
  switch (state.kind) {
    case 'waiting':
    case 'received':
    case 'cancelled':
      return {}
    case 'verified': {
      const { owner, isOwnerKnown, workspaces, workspace } = state.claim
      return { owner: shown(owner), isOwnerKnown, workspaces, ...defined({ workspace }) }
    }
    case 'confirmed': {
      const { owner, isOwnerKnown } = state.claim
      return { owner: shown(owner), isOwnerKnown, workspace: state.workspace }
    }
    case 'stored': {
      const { owner, workspace, outcome } = state
      return { owner: shown(owner), workspace, ...outcome }
    }
    case 'failed':
    case 'expired':
      return { error: state.error }
  }
}

/** An account can have any name: what a user reads before confirming must not hide or reorder anything. */
function shown(owner: Owner): Owner {
  const handle = cleanText(owner.handle)
  if (owner.kind === 'service_account' || owner.email === undefined) return { ...owner, handle }
  return { ...owner, handle, email: cleanText(owner.email) }
}
