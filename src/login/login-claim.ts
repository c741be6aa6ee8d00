/** Pure: what becomes of a key that Prefect accepted, or of a claim that was none. Owner first, then the workspace. */

import type { BrokerError } from '../base/errors.js'
import type { Owner, Workspace } from '../prefect/cloud.js'
import { later, type Moment } from './login-moment.js'
import { judgeOwner } from './login-owner.js'
import { planWorkspace } from './rules.js'
import type { LoginEvent, LoginStep, OpenLogin, ReceivedLogin, VerifiedClaim } from './state.js'

/** Keys from the browser that are looked at in one login: past this only a person can give one. */
export const MAX_CHECKS = 5

interface Found {
  readonly owner: Owner
  readonly workspaces: readonly Workspace[]
}

/** A claim from the browser: stored at once for an owner who is known, else someone is asked. */
export function acceptClaim(state: ReceivedLogin, found: Found, now: Moment): LoginStep {
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
export function acceptTyped(
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
export function dropClaim(state: ReceivedLogin, error: BrokerError, now: Moment): LoginStep {
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
