/** Pure: which workspace a login ends in. */
import { BrokerError } from '../base/errors.js'
import { type Owner, type Workspace, workspaceHandle } from '../prefect/cloud.js'
import { findWorkspace } from '../prefect/workspaces.js'
import { cleanText, loginCommand } from '../std/text.js'

export interface WorkspaceWish {
  /** `handle/handle`, ids, or a page URL. */
  readonly wanted?: string
  /** The workspace that the profile's URL names now. */
  readonly currentId?: string
}

/** A workspace, or why there is none yet. */
type WorkspaceChoice =
  | { readonly workspace: Workspace; readonly problem?: never }
  | { readonly workspace?: never; readonly problem: BrokerError }

/**
 * Before anyone is asked: the workspace that was wished for, else the only one, else the one the profile is in now.
 * The problem is `workspace_none`, `workspace_not_found` or `workspace_required`.
 */
export function planWorkspace(workspaces: readonly Workspace[], wish: WorkspaceWish): WorkspaceChoice {
  if (workspaces.length === 0) {
    const hint = 'create a workspace in the Prefect UI, then: prefect-auth login'
    return {
      problem: new BrokerError('workspace_none', 'the key works, but its owner has no workspace', { hint }),
    }
  }
  if (wish.wanted !== undefined) return lookUp(workspaces, wish.wanted)
  const [first, ...others] = workspaces
  const workspace = others.length === 0 ? first : workspaces.find((one) => one.workspaceId === wish.currentId)
  return workspace ? { workspace } : { problem: required(workspaces) }
}

/** The workspace that an answer to a verified claim names, or the planned one where it names none. */
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
  return new BrokerError('workspace_required', 'the key reaches several workspaces: choose one', {
    hint: `--workspace ACCOUNT/WORKSPACE; there are: ${some.join(', ')}${more}`,
  })
}

export interface OwnerRule {
  readonly profile: string
  /** The owner stored for the profile. */
  readonly stored?: Owner
  /** Email or handle that the key must belong to. */
  readonly wanted?: string
  /** Allows another owner than the stored one. */
  readonly maySwitch: boolean
}

type OwnerVerdict =
  | { readonly kind: 'known' }
  | { readonly kind: 'unknown' }
  | { readonly kind: 'refused'; readonly error: BrokerError }

/** What the rule says about a key of `owner`: nobody need be asked, somebody must be, or it is refused. */
export function judgeOwner(owner: Owner, rule: OwnerRule): OwnerVerdict {
  const { profile, stored, wanted, maySwitch } = rule
  const isStored = stored !== undefined && stored.kind === owner.kind && stored.id === owner.id
  const isWanted = wanted !== undefined && isCalled(owner, wanted)
  if (wanted !== undefined && !isWanted) {
    return refuse(
      `the key belongs to ${nameOwner(owner)}, and this login is for ${cleanText(wanted)}`,
      `sign in to Prefect as ${cleanText(wanted)}, then: ${loginCommand(profile)}`,
    )
  }
  if (stored !== undefined && !isStored && !maySwitch) {
    return refuse(
      `the key belongs to ${nameOwner(owner)}, and profile '${profile}' to ${nameOwner(stored)}`,
      `${loginCommand(profile)} --switch-owner`,
    )
  }
  // Handles of users and of accounts may come from two name spaces: by name alone only a user is known, or an
  // account that a stranger named like the user would pass for them.
  return { kind: isStored || (isWanted && owner.kind === 'user') ? 'known' : 'unknown' }
}

/** `terry <terry@example.com>`, for people. */
export function nameOwner(owner: Owner): string {
  const handle = cleanText(owner.handle)
  if (owner.kind === 'service_account') return `a service account of ${handle}`
  return owner.email === undefined ? handle : `${handle} <${cleanText(owner.email)}>`
}

/** An email is compared with emails only, so that nobody passes by taking an email as handle. */
function isCalled(owner: Owner, name: string): boolean {
  const text = name.includes('@') ? (owner.kind === 'user' ? owner.email : undefined) : owner.handle
  return text !== undefined && text.toLowerCase() === name.trim().toLowerCase()
}

function refuse(message: string, hint: string): OwnerVerdict {
  return { kind: 'refused', error: new BrokerError('owner_mismatch', message, { hint }) }
}
