/**
 * What happens to a login, as a pure function of (state, event, now). A key that comes through the browser is a claim:
 * anyone who finds the port can send one, so it may cost a check and never the login itself.
 */

import type { BrokerError } from '../base/errors.js'
import { cleanText, quoteWord } from '../std/text.js'
import type { LoginRequest } from './login.js'
import { acceptClaim, acceptTyped, dropClaim, MAX_CHECKS } from './login-claim.js'
import { later, type Moment, msUntil } from './login-moment.js'
import { nameOwner } from './login-owner.js'
import { resolveAnswer } from './rules.js'
import {
  isOpen,
  isOver,
  type LoginEvent,
  type LoginRules,
  type LoginState,
  type LoginStep,
  type ReceivedLogin,
} from './state.js'
import { expiredError, failedByPage, notNow } from './view.js'

/** Pauses between attempts to reach Prefect about one key: the browser will not deliver it twice. */
export const CHECK_PAUSES_MS = [1_000, 2_000, 4_000, 8_000, 15_000, 30_000] as const

/** A flood of requests must not become a flood of changes: counting stops here. */
const MAX_REFUSED = 1_000

/** A login that waits for a key, from `now` on. */
export function startLogin(rules: LoginRules, now: Moment): LoginState {
  return { kind: 'waiting', rules, checks: 0, refused: 0, deadline: later(now, rules.timeoutMs) }
}

/** The next state. Answers the same object where nothing changed. */
export function stepLogin(state: LoginState, event: LoginEvent, now: Moment): LoginStep {
  if (isOpen(state) && msUntil(state.deadline, now) === 0) {
    const error = expiredError(state)
    return { state: { ...carried(state), kind: 'expired', error }, effects: [], refusal: error }
  }
  switch (event.kind) {
    case 'time':
      return stay(state)
    case 'refused':
      return stay(isOver(state) ? state : countRefused(state))
    case 'joined':
      return stay(isOver(state) ? state : noteJoin(state, event.request))
    case 'delivered':
      return receive(state, event.key, now)
    case 'page_failed':
      return failByPage(state, event.reason)
    case 'checked':
      return isChecking(state, event.check) ? acceptClaim(state, event, now) : stay(state)
    case 'check_failed':
      return isChecking(state, event.check) ? failCheck(state, event.error, now) : stay(state)
    case 'typed':
      return isOpen(state) ? acceptTyped(state, event, now) : refuse(state, notNow(state))
    case 'answered':
      return answer(state, event, now)
    case 'kept':
    case 'not_kept':
      return settle(state, event)
    case 'cancelled':
      return cancel(state)
  }
}

function receive(state: LoginState, key: ReceivedLogin['key'], now: Moment): LoginStep {
  // Browsers repeat requests whose connection broke: the same key again is the same delivery.
  const pending =
    state.kind === 'received' ? state.key : state.kind === 'verified' ? state.claim.key : undefined
  if (pending?.equals(key)) return stay(state)
  if (state.kind !== 'waiting' || state.checks >= MAX_CHECKS) {
    return refuse(state, notNow(state))
  }
  const { rules, refused } = state
  const checks = state.checks + 1
  return {
    state: {
      kind: 'received',
      rules,
      checks,
      refused,
      key,
      attempt: 1,
      leftMs: msUntil(state.deadline, now),
      deadline: later(now, rules.confirmMs),
    },
    effects: [{ kind: 'check', check: checks, key, afterMs: 0 }],
  }
}

function failByPage(state: LoginState, reason: string): LoginStep {
  // With a key in hand, another tab's failure is not this login's.
  if (state.kind !== 'waiting') return refuse(state, notNow(state))
  const error = failedByPage(state.rules.profile, cleanText(reason))
  return { state: { ...carried(state), kind: 'failed', error }, effects: [] }
}

function failCheck(state: ReceivedLogin, error: BrokerError, now: Moment): LoginStep {
  const pause = CHECK_PAUSES_MS[state.attempt - 1]
  if (isNotNow(error) && pause !== undefined) {
    const asked = error.retryAt === undefined ? 0 : Math.min(error.retryAt - now.wall, 60_000)
    const notice = 'a key came, and Prefect can not be asked about it right now: trying again'
    const { key, checks } = state
    return {
      state: { ...state, attempt: state.attempt + 1, notice },
      effects: [{ kind: 'check', check: checks, key, afterMs: Math.max(pause, asked) }],
    }
  }
  return dropClaim(state, error, now)
}

function answer(
  state: LoginState,
  event: { readonly accept: boolean; readonly workspace?: string },
  now: Moment,
): LoginStep {
  if (state.kind !== 'verified') return refuse(state, notNow(state))
  const { rules, checks, refused, claim } = state
  if (!event.accept) {
    const notice = `the key of ${nameOwner(claim.owner)} was not taken; still waiting for another one`
    const deadline = later(now, rules.timeoutMs)
    return stay({ kind: 'waiting', rules, checks, refused, notice, deadline })
  }
  const { workspace, problem } = resolveAnswer(claim, event.workspace)
  if (workspace === undefined) return refuse(state, problem)
  return {
    state: { kind: 'confirmed', rules, checks, refused, claim, workspace },
    effects: [{ kind: 'keep', claim, workspace }],
  }
}

function settle(
  state: LoginState,
  event: Extract<LoginEvent, { readonly kind: 'kept' | 'not_kept' }>,
): LoginStep {
  if (state.kind !== 'confirmed') return stay(state)
  if (event.kind === 'not_kept') {
    return { state: { ...carried(state), kind: 'failed', error: event.error }, effects: [] }
  }
  const { claim, workspace } = state
  const { outcome } = event
  return { state: { ...carried(state), kind: 'stored', owner: claim.owner, workspace, outcome }, effects: [] }
}

function cancel(state: LoginState): LoginStep {
  if (state.kind === 'confirmed') return refuse(state, notNow(state))
  return stay(isOver(state) ? state : { ...carried(state), kind: 'cancelled' })
}

function noteJoin(state: LoginState, request: LoginRequest): LoginState {
  const { owner, workspace } = state.rules
  const ignored = [
    ...(differs(request.workspace, workspace.wanted) ? [`workspace ${quoted(request.workspace)}`] : []),
    ...(differs(request.owner, owner.wanted) ? [`owner ${quoted(request.owner)}`] : []),
    ...(request.switchOwner && !owner.maySwitch ? ['another owner than before'] : []),
  ]
  if (ignored.length === 0) return state
  const notice = `someone joined this login and asked for ${ignored.join(' and ')}; what it was started with stays`
  return { ...state, notice }
}

function differs(wish: string | undefined, first: string | undefined): boolean {
  return wish !== undefined && wish.toLowerCase() !== first?.toLowerCase()
}

function quoted(wish: string | undefined): string {
  return quoteWord(cleanText(wish ?? ''))
}

function isChecking(state: LoginState, check: number): state is ReceivedLogin {
  return state.kind === 'received' && state.checks === check
}

/** Prefect did not say no: it said nothing, or nothing we can read. */
function isNotNow({ code }: BrokerError): boolean {
  return (
    code === 'prefect_unreachable' ||
    code === 'prefect_failed' ||
    code === 'prefect_rate_limited' ||
    code === 'prefect_unexpected'
  )
}

function countRefused(state: LoginState): LoginState {
  return state.refused >= MAX_REFUSED ? state : { ...state, refused: state.refused + 1 }
}

/** What an ended login keeps of its life: no key. */
function carried({ rules, checks, refused, notice }: LoginState) {
  return { rules, checks, refused, ...(notice === undefined ? {} : { notice }) }
}

function stay(state: LoginState): LoginStep {
  return { state, effects: [] }
}

function refuse(state: LoginState, refusal: BrokerError): LoginStep {
  return { state, effects: [], refusal }
}
