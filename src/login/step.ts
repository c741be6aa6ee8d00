/**
 * What happens to a login, as a pure function of (state, event, now). A key that comes through the browser is a claim:
 * anyone who finds the port can send one, so it may cost a check and never the login itself.
 */

import type { BrokerError } from '../base/errors.js'
import type { Owner, Workspace } from '../prefect/cloud.js'
import { defined } from '../std/defined.js'
import { cleanText, quoteWord } from '../std/text.js'
import type { LoginRequest } from './login.js'
import { judgeOwner, nameOwner, planWorkspace, resolveAnswer } from './rules.js'
import {
  isOpen,
  isOver,
  type LoginEvent,
  type LoginRules,
  type LoginState,
  type LoginStep,
  later,
  type Moment,
  msUntil,
  type OpenLogin,
  type ReceivedLogin,
  type VerifiedClaim,
} from './state.js'
import { expiredError, failedByPage, notNow } from './view.js'

/** Keys from the browser that are looked at in one login: past this only a person can give one. */
export const MAX_CHECKS = 5

interface Found {
  readonly owner: Owner
  readonly workspaces: readonly Workspace[]
}

/** A claim from the browser: stored at once for an owner who is known, else someone is asked. */
function acceptClaim(state: ReceivedLogin, found: Found, now: Moment): LoginStep {
  const { rules } = state
  const verdict = judgeOwner(found.owner, rules.owner)
  if (verdict.kind === 'refused') return dropClaim(state, verdict.error, now)
  const { workspace, problem } = planWorkspace(found.workspaces, rules.workspace)
  const isOwnerKnown = verdict.kind === 'known'
  if (problem?.code === 'workspace_none') {
    // Only a known owner's key ends the login: a stranger could send one without workspaces on purpose.
    return isOwnerKnown ? fail(state, problem) : dropClaim(state, problem, now)
  }
  const claim: VerifiedClaim = {
    key: state.key,
    via: 'browser',
    exchange: true,
    owner: found.owner,
    isOwnerKnown,
    workspaces: found.workspaces,
    ...(workspace ? { workspace } : {}),
  }
  if (workspace && isOwnerKnown) return confirm(state, claim, workspace)
  return ask(state, claim, now, problem)
}

/** A key that a person gave: the same owner rule, no question about the owner; what is wrong is told to that person. */
function acceptTyped(
  state: OpenLogin,
  typed: Extract<LoginEvent, { readonly kind: 'typed' }>,
  now: Moment,
): LoginStep {
  const { key, exchange, owner, workspaces } = typed
  const verdict = judgeOwner(owner, state.rules.owner)
  if (verdict.kind === 'refused') return { state, effects: [], refusal: verdict.error }
  const { workspace, problem } = planWorkspace(workspaces, state.rules.workspace)
  if (problem && problem.code !== 'workspace_required') return { state, effects: [], refusal: problem }
  const claim: VerifiedClaim = { key, via: 'pasted', exchange, owner, isOwnerKnown: true, workspaces }
  return workspace ? confirm(state, { ...claim, workspace }, workspace) : ask(state, claim, now, problem)
}

/** Junk costs the claim, not the login: what was left of the waiting time goes on. */
function dropClaim(state: ReceivedLogin, error: BrokerError, now: Moment): LoginStep {
  const { rules, checks, refused, leftMs } = state
  const last = checks >= MAX_CHECKS ? ', but no more keys are taken from the browser: paste one' : ''
  const notice = `a key came that was not taken: ${error.message}; still waiting${last}`
  const deadline = later(now, leftMs)
  return {
    state: { kind: 'waiting', rules, checks, refused: refused + 1, notice, deadline },
    effects: [],
  }
}

function confirm(state: OpenLogin, claim: VerifiedClaim, workspace: Workspace): LoginStep {
  const { rules, checks, refused } = state
  return {
    state: { kind: 'confirmed', rules, checks, refused, claim, workspace },
    effects: [{ kind: 'keep', claim, workspace }],
  }
}

function ask(
  state: OpenLogin,
  claim: VerifiedClaim,
  now: Moment,
  problem: BrokerError | undefined,
): LoginStep {
  const { rules, checks, refused } = state
  const notice = problem ? { notice: problem.message } : {}
  const deadline = later(now, rules.confirmMs)
  return { state: { kind: 'verified', rules, checks, refused, claim, deadline, ...notice }, effects: [] }
}

function fail({ rules, checks, refused }: OpenLogin, error: BrokerError): LoginStep {
  return { state: { kind: 'failed', rules, checks, refused, error }, effects: [] }
}

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
function isNotNow({ kind }: BrokerError): boolean {
  return kind === 'upstream'
}

function countRefused(state: LoginState): LoginState {
  return state.refused >= MAX_REFUSED ? state : { ...state, refused: state.refused + 1 }
}

/** What an ended login keeps of its life: no key. */
function carried({ rules, checks, refused, notice }: LoginState) {
  return { rules, checks, refused, ...defined({ notice }) }
}

function stay(state: LoginState): LoginStep {
  return { state, effects: [] }
}

function refuse(state: LoginState, refusal: BrokerError): LoginStep {
  return { state, effects: [], refusal }
}
