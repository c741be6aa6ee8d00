/** Which owner and which workspace a login accepts. Pure. */

import { BrokerError } from '../base/errors.js'
import { type Owner, type Workspace, workspaceHandle } from '../prefect/cloud.js'
import { findWorkspace } from '../prefect/workspaces.js'
import { cleanText, loginCommand, quoteWord } from '../std/text.js'
import type { LoginRequest } from './login.js'

export interface WorkspaceWish {
  /** `handle/handle`, ids, or a page URL. */
  readonly wanted?: string
  /** The workspace in the profile's current URL. */
  readonly currentId?: string
}

export interface OwnerRule {
  readonly profile: string
  /** The owner stored for the profile. */
  readonly stored?: Owner
  /** Email or handle that the key must belong to. */
  readonly wanted?: string
  /** Allows an owner other than the stored one. */
  readonly maySwitch: boolean
}

/** A workspace, or why there is none yet. */
type WorkspaceChoice =
  | { readonly workspace: Workspace; readonly problem?: never }
  | { readonly workspace?: never; readonly problem: BrokerError }

type OwnerVerdict =
  | { readonly kind: 'known' }
  | { readonly kind: 'unknown' }
  | { readonly kind: 'refused'; readonly error: BrokerError }

/**
 * The choice before anyone is asked: the wanted workspace, else the only one, else the profile's current one.
 * The problem is `workspace_none`, `workspace_not_found` or `workspace_required`.
 */
export function planWorkspace(workspaces: readonly Workspace[], wish: WorkspaceWish): WorkspaceChoice {
  if (workspaces.length === 0) {
    const hint = 'create a workspace in the Prefect UI, then run: prefect-auth login'
    return {
      problem: new BrokerError('workspace_none', 'the key works, but its owner has no workspace', { hint }),
    }
  }
  if (wish.wanted !== undefined) return lookUp(workspaces, wish.wanted)
  const [first, ...others] = workspaces
  const workspace = others.length === 0 ? first : workspaces.find((one) => one.workspaceId === wish.currentId)
  return workspace ? { workspace } : { problem: required(workspaces) }
}

/** The workspace that the answer to a verified claim names; the planned one if it names none. */
export function resolveAnswer(
  claim: { readonly workspaces: readonly Workspace[]; readonly workspace?: Workspace },
  wanted: string | undefined,
): WorkspaceChoice {
  if (wanted !== undefined) return lookUp(claim.workspaces, wanted)
  return claim.workspace ? { workspace: claim.workspace } : { problem: required(claim.workspaces) }
}

function lookUp(workspaces: readonly Workspace[], wanted: string): WorkspaceChoice {
  try {
    return { workspace: findWorkspace(workspaces, wanted) }
  } catch (error) {
    if (error instanceof BrokerError) return { problem: error }
    throw error
  }
}

function required(workspaces: readonly Workspace[]): BrokerError {
  const some = workspaces.slice(0, 10).map((one) => cleanText(workspaceHandle(one), 80))
  const more = workspaces.length > some.length ? ` and ${workspaces.length - some.length} more` : ''
  return new BrokerError('workspace_required', 'the key reaches several workspaces; choose one', {
    hint: `--workspace ACCOUNT/WORKSPACE; there are: ${some.join(', ')}${more}`,
  })
}

/** Whether a key of `owner` is accepted without a question, with one, or not at all (`owner_mismatch`). */
export function judgeOwner(owner: Owner, rule: OwnerRule): OwnerVerdict {
  const { profile, stored, wanted, maySwitch } = rule
  const isStored = stored !== undefined && stored.kind === owner.kind && stored.id === owner.id
  const isWanted = wanted !== undefined && isCalled(owner, wanted)
  if (wanted !== undefined && !isWanted) {
    return refuse(
      `the key belongs to ${nameOwner(owner)}, but this login is for ${cleanText(wanted)}`,
      `sign in to Prefect as ${cleanText(wanted)}, then run: ${loginCommand(profile)}`,
    )
  }
  if (stored !== undefined && !isStored && !maySwitch) {
    return refuse(
      `the key belongs to ${nameOwner(owner)}, but profile '${profile}' belongs to ${nameOwner(stored)}`,
      `${loginCommand(profile)} --switch-owner`,
    )
  }
  // Handles of users and of accounts may come from two namespaces. By name alone only a user is known; otherwise an
  // account that a stranger named after the user would be accepted.
  return { kind: isStored || (isWanted && owner.kind === 'user') ? 'known' : 'unknown' }
}

function refuse(message: string, hint: string): OwnerVerdict {
  return { kind: 'refused', error: new BrokerError('owner_mismatch', message, { hint }) }
}

/** An email is compared with emails only, so that nobody passes by choosing an email as their handle. */
function isCalled(owner: Owner, name: string): boolean {
  const text = name.includes('@') ? (owner.kind === 'user' ? owner.email : undefined) : owner.handle
  return text !== undefined && text.toLowerCase() === name.trim().toLowerCase()
}

/** `terry <terry@example.com>`, for people. */
export function nameOwner(owner: Owner): string {
  const handle = cleanText(owner.handle)
  if (owner.kind === 'service_account') return `a service account of ${handle}`
  return owner.email === undefined ? handle : `${handle} <${cleanText(owner.email)}>`
}

/** A notice naming what a joining caller asked for and does not get; `undefined` if it asked for nothing else. */
export function joinNotice(
  request: LoginRequest,
  { owner, workspace }: { readonly owner: OwnerRule; readonly workspace: WorkspaceWish },
): string | undefined {
  const ignored = [
    ...(differs(request.workspace, workspace.wanted) ? [`workspace ${quoted(request.workspace)}`] : []),
    ...(differs(request.owner, owner.wanted) ? [`owner ${quoted(request.owner)}`] : []),
    ...(request.switchOwner && !owner.maySwitch ? ['a change of owner'] : []),
  ]
  if (ignored.length === 0) return undefined
  return `another caller joined this login and asked for ${ignored.join(' and ')}; the login keeps its original settings`
}

function differs(wish: string | undefined, first: string | undefined): boolean {
  return wish !== undefined && wish.toLowerCase() !== first?.toLowerCase()
}

function quoted(wish: string | undefined): string {
  return quoteWord(cleanText(wish ?? ''))
}
