/** Pure: which workspace a login ends in. */

import { BrokerError } from '../base/errors.js'
import { type Workspace, workspaceHandle } from '../prefect/cloud.js'
import { findWorkspace } from '../prefect/workspaces.js'
import { cleanText } from '../std/text.js'

export interface WorkspaceWish {
  /** `handle/handle`, ids, or a page URL. */
  readonly wanted?: string
  /** The workspace that the profile's URL names now. */
  readonly currentId?: string
}

/** A workspace, or why there is none yet. */
export type WorkspaceChoice =
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
