/** Workspaces as people name them: handles, ids and URLs, and the one of the key's workspaces that is meant. */

import { BrokerError } from '../base/errors.js'
import { workspaceIdsOf } from './api-url.js'
import { type Workspace, workspaceHandle } from './cloud.js'

type WorkspaceReference =
  | { readonly kind: 'handles'; readonly accountHandle: string; readonly workspaceHandle: string }
  | { readonly kind: 'ids'; readonly accountId: string; readonly workspaceId: string }
  | { readonly kind: 'workspace_id'; readonly workspaceId: string }
  /** A workspace's handle alone. */
  | { readonly kind: 'handle'; readonly workspaceHandle: string }
  /** A page of an account, or of no workspace at all. */
  | { readonly kind: 'other_page' }
  | { readonly kind: 'unreadable' }

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i
const HANDLE = /^[^\s/\p{C}]{1,255}$/u
const MAX_NAMED = 10

/** Reads `handle/handle`, `uuid/uuid`, a workspace's id or handle, an API URL, or the URL of a page of a workspace. */
export function parseWorkspaceReference(text: string): WorkspaceReference {
  const trimmed = text.trim()
  const ids = workspaceIdsOf(trimmed)
  if (ids !== undefined) return { kind: 'ids', ...ids }
  if (/^https?:/i.test(trimmed)) return { kind: 'other_page' }
  const [first = '', second, ...more] = trimmed.split('/')
  if (more.length > 0 || !HANDLE.test(first)) return { kind: 'unreadable' }
  if (second === undefined) {
    return UUID.test(first)
      ? { kind: 'workspace_id', workspaceId: first.toLowerCase() }
      : { kind: 'handle', workspaceHandle: first }
  }
  if (!HANDLE.test(second)) return { kind: 'unreadable' }
  return UUID.test(first) && UUID.test(second)
    ? { kind: 'ids', accountId: first.toLowerCase(), workspaceId: second.toLowerCase() }
    : { kind: 'handles', accountHandle: first, workspaceHandle: second }
}

/** The one of `workspaces` that `text` names. Throws `workspace_not_found`, which lists up to ten of them. */
export function findWorkspace(workspaces: readonly Workspace[], text: string): Workspace {
  const reference = parseWorkspaceReference(text)
  const found = workspaces.filter((workspace) => isMeant(workspace, reference))
  const [only] = found
  if (only !== undefined && found.length === 1) return only
  throw new BrokerError(
    'workspace_not_found',
    `cannot choose the workspace: ${reasonFor(reference, found)}`,
    {
      hint:
        workspaces.length === 0
          ? 'this key reaches no workspace; create one in the Prefect UI'
          : available(workspaces),
    },
  )
}

function isMeant(workspace: Workspace, reference: WorkspaceReference): boolean {
  switch (reference.kind) {
    case 'handles':
      return (
        workspace.accountHandle === reference.accountHandle &&
        workspace.workspaceHandle === reference.workspaceHandle
      )
    case 'ids':
      return (
        workspace.workspaceId.toLowerCase() === reference.workspaceId &&
        workspace.accountId.toLowerCase() === reference.accountId
      )
    case 'workspace_id':
      return workspace.workspaceId.toLowerCase() === reference.workspaceId
    case 'handle':
      return workspace.workspaceHandle === reference.workspaceHandle
    case 'other_page':
    case 'unreadable':
      return false
  }
}

function reasonFor(reference: WorkspaceReference, found: readonly Workspace[]): string {
  if (found.length > 1) return 'several accounts have one of this name'
  if (reference.kind === 'other_page') return 'this URL names no workspace'
  if (reference.kind === 'unreadable') return 'this is not a handle, an id or the URL of a page'
  return 'this key reaches no such workspace'
}

function available(workspaces: readonly Workspace[]): string {
  const handles = workspaces.map(workspaceHandle).sort()
  const named = handles.slice(0, MAX_NAMED).join(', ')
  const more = handles.length - MAX_NAMED
  return `prefect-auth workspace set ACCOUNT/WORKSPACE; available: ${named}${more > 0 ? ` and ${more} more` : ''}`
}
