/** One login that lives: its rules, its port and its acts, plugged together. */

import { BrokerError } from '../base/errors.js'
import type { Events, EventType } from '../base/events.js'
import type { CloudApi } from '../prefect/cloud.js'
import type { Clock } from '../std/clock.js'
import type { Log } from '../std/log.js'
import type { LoginView } from './login.js'
import { createLoginActs } from './login-acts.js'
import type { CallbackRequest, LoginCallback, OpenCallback } from './login-callback.js'
import type { KeepDelivery, LoginTarget } from './login-delivery.js'
import { createLoginRunner, type LoginRunner } from './login-runner.js'
import { loginUrl, uiOrigin } from './login-url.js'
import { viewLogin } from './login-view.js'
import { isOpen, isOver, type LoginRules, type LoginState } from './state.js'
import { notNow } from './view.js'

export interface LiveLoginDeps {
  readonly clock: Clock
  readonly cloud: CloudApi
  readonly events: Events
  readonly log: Log
  readonly openCallback: OpenCallback
  readonly keep: KeepDelivery
}

export interface LoginStart {
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
    ...(state === undefined ? {} : { state }),
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
