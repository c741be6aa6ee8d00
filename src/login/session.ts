/** One login that lives: its rules, its port and its acts, plugged together. */

import { BrokerError } from '../base/errors.js'
import type { Events, EventType } from '../base/events.js'
import { type CloudApi, verifyKey } from '../prefect/cloud.js'
import type { Clock, Timer } from '../std/clock.js'
import { defined } from '../std/defined.js'
import type { Log } from '../std/log.js'
import type { Secret } from '../std/secret.js'
import type {
  CallbackRequest,
  KeepDelivery,
  LoginCallback,
  LoginTarget,
  LoginView,
  OpenCallback,
} from './login.js'
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
} from './state.js'
import { startLogin, stepLogin } from './step.js'
import { loginUrl, uiOrigin } from './target.js'
import { notNow, viewLogin } from './view.js'

interface LoginRunnerDeps {
  readonly clock: Clock
  readonly rules: LoginRules
  /** Does what a step asks for; later events tell how it went. */
  readonly perform: (effect: LoginEffect) => void
  /** Called after every change, before those who wait. */
  readonly onEnter: (before: LoginState, next: LoginState) => void
}

interface LoginRunner {
  state(): LoginState
  /** Grows with every change. */
  version(): number
  /** Epoch ms: the last deadline there was. */
  expiresAt(): number
  endedAt(): Moment | undefined
  /** Takes the event, or answers why not. */
  apply(event: LoginEvent): BrokerError | undefined
  /** Calls back at every change; returns how to stop that. */
  onChange(listener: () => void): () => void
}

/** Timers stand still while a laptop sleeps: look at the clocks often, and at every event. */
const LOOK_MS = 5_000

function createLoginRunner({ clock, rules, perform, onEnter }: LoginRunnerDeps): LoginRunner {
  const listeners = new Set<() => void>()
  let state: LoginState = startLogin(rules, momentOf(clock))
  let version = 1
  let expiresAt = clock.now() + rules.timeoutMs
  let endedAt: Moment | undefined
  let timer: Timer | undefined

  function apply(event: LoginEvent): BrokerError | undefined {
    const before = state
    const { state: next, effects, refusal } = stepLogin(before, event, momentOf(clock))
    if (next !== before) enter(before, next)
    for (const effect of effects) perform(effect)
    return refusal
  }

  function enter(before: LoginState, next: LoginState): void {
    state = next
    version += 1
    if (isOpen(next)) expiresAt = next.deadline.wall
    if (isOver(next)) endedAt ??= momentOf(clock)
    look()
    onEnter(before, next)
    for (const listener of [...listeners]) listener()
  }

  function look(): void {
    timer?.cancel()
    if (!isOpen(state)) return
    const ms = Math.min(msUntil(state.deadline, momentOf(clock)), LOOK_MS)
    timer = clock.after(ms, () => {
      apply({ kind: 'time' })
      look()
    })
  }

  look()
  return {
    state: () => state,
    version: () => version,
    expiresAt: () => expiresAt,
    endedAt: () => endedAt,
    apply,
    onChange(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
  }
}

export interface LiveLoginDeps {
  readonly clock: Clock
  readonly cloud: CloudApi
  readonly events: Events
  readonly log: Log
  readonly openCallback: OpenCallback
  readonly keep: KeepDelivery
}

interface LoginStart {
  readonly id: string
  readonly target: LoginTarget
  readonly rules: LoginRules
  /** For the callback's path, where there is one. */
  readonly state?: string
}

export interface LiveLogin extends Pick<LoginRunner, 'apply' | 'onChange' | 'endedAt'> {
  readonly id: string
  readonly target: LoginTarget
  view(): LoginView
  isOver(): boolean
  /** Why no key can be given any more, where that is so. */
  refusal(): BrokerError | undefined
  /** Cancels what is open; resolves when the port is closed and no key is being stored any more. */
  close(): Promise<void>
}

/** Starts listening and waiting. Rejects with `login_port_unavailable`, `api_url_invalid`. */
export async function openLiveLogin(deps: LiveLoginDeps, start: LoginStart): Promise<LiveLogin> {
  const { clock, events } = deps
  const { id, target, rules } = start
  const { profile } = target
  const log = deps.log.child({ part: 'login', login: id, profile })
  const origin = uiOrigin(target.cloudUiUrl)
  let closing: Promise<void> | undefined
  let isPublished = false

  // Nobody can know the port before the URL exists: what comes earlier is no delivery.
  const apply: LoginRunner['apply'] = (event) => (isPublished ? runner.apply(event) : notPublished())
  const callback = await deps.openCallback(callbackRequest(apply, log, origin, start.state))
  const runner = createLoginRunner({
    clock,
    rules,
    perform: (effect) => acts.perform(effect),
    onEnter(before, next) {
      if (!isOpen(next)) closing ??= closeCallback(callback, log)
      if (next.kind === before.kind) return
      for (const type of announced(before, next)) events.emit(type, { profile, facts: { login: id } })
      log.info({ state: next.kind }, 'login changed')
    },
  })
  isPublished = true
  const isWanted = () => isOpen(runner.state())
  const acts = createLoginActs({ ...deps, target, log, report: apply, isWanted })
  events.emit('login.started', { profile, facts: { login: id } })
  const url = loginUrl(target.cloudUiUrl, callback.callbackUrl)
  return {
    id,
    target,
    apply,
    onChange: runner.onChange,
    endedAt: runner.endedAt,
    view() {
      apply({ kind: 'time' })
      const label = { id, profile, url, version: runner.version(), expiresAt: runner.expiresAt() }
      return viewLogin(label, runner.state())
    },
    isOver: () => isOver(runner.state()),
    refusal: () => apply({ kind: 'time' }) ?? (isWanted() ? undefined : notNow(runner.state())),
    async close() {
      apply({ kind: 'cancelled' })
      await acts.settled()
      await closing
    },
  }
}

function notPublished(): BrokerError {
  return new BrokerError('login_state', 'this login has not started yet')
}

function callbackRequest(
  apply: LoginRunner['apply'],
  log: Log,
  origin: string,
  state: string | undefined,
): CallbackRequest {
  return {
    uiOrigin: origin,
    ...defined({ state }),
    onDelivery: (key) => apply({ kind: 'delivered', key }) === undefined,
    onFailure: (reason) => apply({ kind: 'page_failed', reason }) === undefined,
    onRefused(why) {
      log.debug({ why }, 'request to the login callback refused')
      apply({ kind: 'refused' })
    },
  }
}

/** The events of one step: a claim of a known owner passes through `verified` without stopping there. */
function announced(before: LoginState, next: LoginState): readonly EventType[] {
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

interface LoginActsDeps {
  readonly clock: Clock
  readonly cloud: CloudApi
  readonly keep: KeepDelivery
  readonly target: LoginTarget
  readonly log: Log
  readonly report: (event: LoginEvent) => void
  /** Whether an answer about a key is still wanted. */
  readonly isWanted: () => boolean
}

interface LoginActs {
  perform(effect: LoginEffect): void
  /** Resolves when no key is being stored. */
  settled(): Promise<void>
}

function createLoginActs({ clock, cloud, keep, target, log, report, isWanted }: LoginActsDeps): LoginActs {
  const { profile, cloudApiUrl, isToBeActive } = target
  let keeping: Promise<void> = Promise.resolve()

  async function check(number: number, key: Secret): Promise<void> {
    if (!isWanted()) return
    try {
      report({ kind: 'checked', check: number, ...(await verifyKey(cloud, { cloudApiUrl, key })) })
    } catch (error) {
      report({ kind: 'check_failed', check: number, error: asBrokerError(error, 'checking the key', log) })
    }
  }

  async function store(effect: Extract<LoginEffect, { readonly kind: 'keep' }>): Promise<void> {
    const { key, via, exchange, owner, workspaces } = effect.claim
    const { workspace } = effect
    try {
      const outcome = await keep({
        profile,
        cloudApiUrl,
        key,
        via,
        owner,
        workspaces,
        workspace,
        exchange,
        ...defined({ isToBeActive }),
      })
      report({ kind: 'kept', outcome })
    } catch (error) {
      report({ kind: 'not_kept', error: asBrokerError(error, 'storing the key', log) })
    }
  }

  return {
    perform(effect) {
      if (effect.kind === 'keep') keeping = store(effect)
      else if (effect.afterMs === 0) void check(effect.check, effect.key)
      else clock.after(effect.afterMs, () => void check(effect.check, effect.key))
    },
    settled: () => keeping,
  }
}

/** Anything but our own errors is a bug of ours: logged whole, told as what it is. */
function asBrokerError(error: unknown, what: string, log: Log): BrokerError {
  if (error instanceof BrokerError) return error
  log.error({ error }, 'a login met an unexpected error')
  return new BrokerError('internal', `${what} failed unexpectedly`, { cause: error })
}
