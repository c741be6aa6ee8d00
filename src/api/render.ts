/** What several answers show: times, keys, owners and workspaces. Facts about keys, never a key. */

import type { KeyFacts } from '../keys/ledger.js'
import type { Owner } from '../prefect/cloud.js'
import type { Served } from '../serve/credentials.js'
import { defined } from '../std/defined.js'
import type { KeyView, Owner as OwnerView, WorkspaceRef } from '../wire/common.js'

/** Epoch ms to RFC 3339, UTC. */
export function renderTime(at: number): string
export function renderTime(at: number | undefined): string | undefined
export function renderTime(at: number | undefined): string | undefined {
  return at === undefined ? undefined : new Date(at).toISOString()
}

export function renderKey(key: KeyFacts): KeyView {
  return { fingerprint: key.fingerprint, origin: key.origin, ...renderLife(key) }
}

/** Everything about a key that is known of keys we do not hold, too. */
export function renderLife(
  key: Omit<KeyFacts, 'fingerprint' | 'origin'>,
): Omit<KeyView, 'fingerprint' | 'origin'> {
  return defined({
    id: key.id,
    name: key.name,
    issued_at: renderTime(key.issuedAt),
    expires_at: renderTime(key.expiresAt),
    expiry_assumed: key.isExpiryAssumed,
    renews_at: renderTime(key.renewsAt),
  })
}

export function renderOwner(owner: Owner): OwnerView {
  const { kind, id, handle } = owner
  return { kind, id, handle, ...defined({ email: owner.kind === 'user' ? owner.email : undefined }) }
}

export function renderWorkspaceRef({
  accountId,
  workspaceId,
  handle,
}: NonNullable<Served['workspace']>): WorkspaceRef {
  return { ...defined({ handle }), account_id: accountId, workspace_id: workspaceId }
}

/** A URL may carry a user name and a password (`http://user:password@host/api`): neither is shown. */
export function withoutUserinfo(url: string): string {
  return url.replace(/^([a-z][a-z0-9+.-]*:\/\/)[^/?#]*@/i, '$1[secret]@')
}
