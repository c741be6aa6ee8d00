/** Keys, owners, workspaces and times: from the inside to the wire. No key, only facts about it. */

import type { KeyEntry } from '../admin/keys.js'
import type { KeyFacts } from '../keys/ledger.js'
import { type Owner, type Workspace, workspaceHandle } from '../prefect/cloud.js'
import type { Served } from '../serve/credentials.js'
import { defined } from '../std/defined.js'
import type { KeyView, Owner as OwnerView, WorkspaceRef } from '../wire/common.js'
import type { KeyEntry as KeyEntryView } from '../wire/keys.js'
import type { WorkspaceView } from '../wire/profile.js'

/** Epoch ms to RFC 3339, UTC. */
export function renderTime(at: number): string {
  return new Date(at).toISOString()
}

export function renderKey(key: KeyFacts): KeyView {
  return { fingerprint: key.fingerprint, origin: key.origin, ...renderLife(key) }
}

/** A key that Prefect lists and we do not hold has no fingerprint and no origin. */
export function renderKeyEntry(entry: KeyEntry): KeyEntryView {
  return {
    profile: entry.profile,
    state: entry.state,
    ...defined({ fingerprint: entry.fingerprint, origin: entry.origin }),
    ...renderLife(entry),
    ...defined({ handed_out: entry.isHandedOut }),
    ...(entry.retiredAt === undefined ? {} : { retired_at: renderTime(entry.retiredAt) }),
  }
}

function renderLife(key: Omit<KeyFacts, 'fingerprint' | 'origin'>): Omit<KeyView, 'fingerprint' | 'origin'> {
  return {
    ...defined({ id: key.id, name: key.name }),
    ...(key.issuedAt === undefined ? {} : { issued_at: renderTime(key.issuedAt) }),
    ...(key.expiresAt === undefined ? {} : { expires_at: renderTime(key.expiresAt) }),
    ...defined({ expiry_assumed: key.isExpiryAssumed }),
    ...(key.renewsAt === undefined ? {} : { renews_at: renderTime(key.renewsAt) }),
  }
}

export function renderOwner(owner: Owner): OwnerView {
  const { kind, id, handle } = owner
  if (owner.kind === 'service_account' || owner.email === undefined) return { kind, id, handle }
  return { kind, id, handle, email: owner.email }
}

export function renderWorkspaceRef({
  accountId,
  workspaceId,
  handle,
}: NonNullable<Served['workspace']>): WorkspaceRef {
  return {
    ...defined({ handle }),
    account_id: accountId,
    workspace_id: workspaceId,
  }
}

/** `currentId`: the id of the workspace that the profile names now. */
export function renderWorkspace(workspace: Workspace, currentId: string | undefined): WorkspaceView {
  return {
    handle: workspaceHandle(workspace),
    account_id: workspace.accountId,
    ...defined({ account_name: workspace.accountName }),
    workspace_id: workspace.workspaceId,
    ...defined({ name: workspace.workspaceName }),
    current: workspace.workspaceId === currentId,
  }
}
