/** The login state machine: the next state and its effects, as a pure function of state, event and time. */

// A key that comes through the browser is a claim: anyone who finds the port can send one, so it may cost a check, but
// never the login itself.

import type { BrokerError } from '../base/errors.js'
import type { Workspace } from '../prefect/cloud.js'
import { MINUTE_MS } from '../std/clock.js'
import { defined } from '../std/defined.js'
import { cleanText, quoteWord } from '../std/text.js'
import { joinNotice, judgeOwner, nameOwner, planWorkspace, resolveAnswer } from './rules.js'
import {
  expiredError,
  isOpen,
  isOver,
  type LoginEvent,
  type LoginRules,
  type LoginState,
  type LoginStep,
  later,
  type Moment,
  msUntil,
  notNow,
  type OpenLogin,
  type ReceivedLogin,
  type VerifiedClaim,
  type WaitingLogin,
} from './state.js'

/** How many keys from the browser one login checks; after that only a person can provide one. */
export const MAX_CHECKS = 5

/** How long to wait before checking a key again: it is kept, because the browser will not deliver it twice. */
export const CHECK_PAUSES_MS = [1_000, 2_000, 4_000, 8_000, 15_000, 30_000] as const

/** Stops the count of each reason, so that a flood of requests does not become a flood of changes. */
const MAX_REFUSED = 1_000
/** After this many, what the page reports is only counted: every program on this machine can speak as the page. */
const MAX_PAGE_FAILURES = 5

type EventOf<Kind extends LoginEvent['kind']> = Extract<LoginEvent, { readonly kind: Kind }>

/** A login that waits for a key, starting at `now`. */
export function startLogin(rules: LoginRules, now: Moment): LoginState {
  return { kind: 'waiting', rules, checks: 0, refused: {}, deadline: later(now, rules.timeoutMs) }
}

/** Returns the next state: the same object if nothing changed. */
export function stepLogin(state: LoginState, event: LoginEvent, now: Moment): LoginStep {
  if (isOpen(state) && msUntil(state.deadline, now) === 0) {
    const error = expiredError(state)
    return { state: { ...carried(state), kind: 'expired', error }, effects: [], refusal: error }
  }
  switch (event.kind) {
    case 'time':
      return stepTo(state)
    case 'refused':
      return stepTo(isOver(state) ? state : countRefused(state, event.why))
    case 'late':
      return state.kind === 'waiting'
        ? acceptClaim(receivedLate(state, event.key, now), event, now)
        : stepTo(state)
    case 'joined':
      return stepTo(isOver(state) ? state : noteJoin(state, event))
    case 'delivered':
      return receive(state, event.key, now)
    case 'page_failed':
      return notePageFailure(state, event.reason)
    case 'checked':
      return isChecking(state, event.check) ? acceptClaim(state, event, now) : stepTo(state)
    case 'check_failed':
      return isChecking(state, event.check) ? failCheck(state, event.error, now) : stepTo(state)
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

function countRefused<State extends LoginState>(state: State, why: string): State {
  const count = state.refused[why] ?? 0
  return count >= MAX_REFUSED ? state : { ...state, refused: { ...state.refused, [why]: count + 1 } }
}

/** The waiting time goes on if the late key is refused. */
function receivedLate(
  { rules, checks, refused, deadline }: WaitingLogin,
  key: ReceivedLogin['key'],
  now: Moment,
) {
  const leftMs = msUntil(deadline, now)
  return { kind: 'received', rules, checks, refused, key, attempt: 1, leftMs, deadline } as const
}

function noteJoin(state: LoginState, { request }: EventOf<'joined'>): LoginState {
  const notice = joinNotice(request, state.rules)
  return notice === undefined ? state : { ...state, notice }
}

function receive(state: LoginState, key: ReceivedLogin['key'], now: Moment): LoginStep {
  // Browsers repeat a request whose connection broke: the same key again is the same delivery.
  const pending =
    state.kind === 'received' ? state.key : state.kind === 'verified' ? state.claim.key : undefined
  if (pending?.equals(key)) return stepTo(state)
  if (state.kind !== 'waiting' || state.checks >= MAX_CHECKS) return refuse(state, notNow(state))
  const { rules, refused } = state
  const checks = state.checks + 1
  const leftMs = msUntil(state.deadline, now)
  const deadline = later(now, rules.confirmMs)
  return {
    state: { kind: 'received', rules, checks, refused, key, attempt: 1, leftMs, deadline },
    effects: [{ kind: 'check', check: checks, key, afterMs: 0 }],
  }
}

/** Shown, and no more: any program on this machine can send it, so it does not end the login. */
function notePageFailure(state: LoginState, reason: string): LoginStep {
  // Once there is a key, a failure comes from another tab and is not about this login.
  if (state.kind !== 'waiting') return refuse(state, notNow(state))
  const counted = countRefused(state, 'failure')
  if ((counted.refused.failure ?? 0) > MAX_PAGE_FAILURES) return stepTo(counted)
  const text = cleanText(reason)
  const why = text === '' ? 'without a reason' : quoteWord(text)
  const notice = `Prefect's page, or another program on this machine, reports a failed login (${why}); still waiting`
  return stepTo({ ...counted, notice })
}

function isChecking(state: LoginState, check: number): state is ReceivedLogin {
  return state.kind === 'received' && state.checks === check
}

/** A claim from the browser: stored at once if the owner is known, else someone is asked. */
function acceptClaim(
  state: ReceivedLogin,
  found: Omit<EventOf<'late'>, 'kind' | 'key'>,
  now: Moment,
): LoginStep {
  const { rules, key } = state
  const { owner, workspaces } = found
  const verdict = judgeOwner(owner, rules.owner)
  if (verdict.kind === 'refused') return dropClaim(state, verdict.error, now)
  const { workspace, problem } = planWorkspace(workspaces, rules.workspace)
  const isOwnerKnown = verdict.kind === 'known'
  if (problem?.code === 'workspace_none') {
    // Only a known owner's key ends the login: a stranger could send one without workspaces on purpose.
    if (!isOwnerKnown) return dropClaim(state, problem, now)
    return stepTo({ ...counts(state), kind: 'failed', error: problem })
  }
  const claim: VerifiedClaim = {
    key,
    via: 'browser',
    exchange: true,
    owner,
    isOwnerKnown,
    workspaces,
    ...defined({ workspace }),
  }
  return workspace && isOwnerKnown ? confirm(state, claim, workspace) : ask(state, claim, now, problem)
}

/** A key from a person: same owner rule, no question about the owner of a typed one, and refusals go to that person. */
function acceptTyped(state: OpenLogin, typed: EventOf<'typed'>, now: Moment): LoginStep {
  const { key, exchange, isFromBrowser = false, owner, workspaces } = typed
  const verdict = judgeOwner(owner, state.rules.owner)
  if (verdict.kind === 'refused') return refuse(state, verdict.error)
  const { workspace, problem } = planWorkspace(workspaces, state.rules.workspace)
  if (problem && problem.code !== 'workspace_required') return refuse(state, problem)
  const via = isFromBrowser ? 'browser' : 'pasted'
  const isOwnerKnown = !isFromBrowser || verdict.kind === 'known'
  const found = { key, via, exchange, owner, isOwnerKnown, workspaces } as const
  const claim: VerifiedClaim = { ...found, ...defined({ workspace }) }
  return workspace && isOwnerKnown ? confirm(state, claim, workspace) : ask(state, claim, now, problem)
}

function failCheck(state: ReceivedLogin, error: BrokerError, now: Moment): LoginStep {
  const pause = CHECK_PAUSES_MS[state.attempt - 1]
  if (!isTemporary(error) || pause === undefined) return dropClaim(state, error, now)
  const asked = error.retryAt === undefined ? 0 : Math.min(error.retryAt - now.wall, MINUTE_MS)
  const notice = 'a key was received, but Prefect cannot verify it right now; trying again'
  const { key, checks, attempt } = state
  return {
    state: { ...state, attempt: attempt + 1, notice },
    effects: [{ kind: 'check', check: checks, key, afterMs: Math.max(pause, asked) }],
  }
}

/** Prefect did not refuse the key: it sent nothing, or nothing that we can read. */
function isTemporary({ kind }: BrokerError): boolean {
  return kind === 'upstream'
}

/** Junk costs the claim, not the login: the remaining waiting time continues. */
function dropClaim(state: ReceivedLogin, error: BrokerError, now: Moment): LoginStep {
  const { rules, checks, leftMs } = state
  const { refused } = countRefused(state, 'key')
  const last = checks >= MAX_CHECKS ? ', but no more keys are accepted from the browser: paste one' : ''
  const notice = `a key was rejected: ${error.message}; still waiting${last}`
  const deadline = later(now, leftMs)
  return stepTo({ kind: 'waiting', rules, checks, refused, notice, deadline })
}

function ask(
  state: OpenLogin,
  claim: VerifiedClaim,
  now: Moment,
  problem: BrokerError | undefined,
): LoginStep {
  const deadline = later(now, state.rules.confirmMs)
  return stepTo({
    ...counts(state),
    kind: 'verified',
    claim,
    deadline,
    ...defined({ notice: problem?.message }),
  })
}

function confirm(state: OpenLogin, claim: VerifiedClaim, workspace: Workspace): LoginStep {
  return {
    state: { ...counts(state), kind: 'confirmed', claim, workspace },
    effects: [{ kind: 'keep', claim, workspace }],
  }
}

function answer(state: LoginState, event: EventOf<'answered'>, now: Moment): LoginStep {
  if (state.kind !== 'verified') return refuse(state, notNow(state))
  const { rules, claim } = state
  if (!event.accept) {
    const notice = `the key of ${nameOwner(claim.owner)} was declined; waiting for another one`
    return stepTo({ ...counts(state), kind: 'waiting', notice, deadline: later(now, rules.timeoutMs) })
  }
  const { workspace, problem } = resolveAnswer(claim, event.workspace)
  return workspace === undefined ? refuse(state, problem) : confirm(state, claim, workspace)
}

function settle(state: LoginState, event: EventOf<'kept' | 'not_kept'>): LoginStep {
  if (state.kind !== 'confirmed') return stepTo(state)
  if (event.kind === 'not_kept') return stepTo({ ...carried(state), kind: 'failed', error: event.error })
  const { claim, workspace } = state
  const { outcome } = event
  return stepTo({ ...carried(state), kind: 'stored', owner: claim.owner, workspace, outcome })
}

function cancel(state: LoginState): LoginStep {
  if (state.kind === 'confirmed') return refuse(state, notNow(state))
  return stepTo(isOver(state) ? state : { ...carried(state), kind: 'cancelled' })
}

/** What outlives a change of state; never a key. */
function counts({ rules, checks, refused }: LoginState): Pick<LoginState, 'rules' | 'checks' | 'refused'> {
  return { rules, checks, refused }
}

/** What an ended login keeps. */
function carried(state: LoginState) {
  const { notice } = state
  return { ...counts(state), ...defined({ notice }) }
}

function stepTo(state: LoginState): LoginStep {
  return { state, effects: [] }
}

function refuse(state: LoginState, refusal: BrokerError): LoginStep {
  return { state, effects: [], refusal }
}
