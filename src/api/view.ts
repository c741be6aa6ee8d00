/** What answers share: which profiles a caller sees; how times, keys and owners are rendered. */

import type { KeyFacts } from '../keys/ledger.js'
import type { Owner } from '../prefect/cloud.js'
import type { Credentials, ProfileState, Served } from '../serve/credentials.js'
import { defined } from '../std/defined.js'
import { type Caller, reachesProfile } from '../tokens/access.js'
import type { KeyView, Owner as OwnerView, WorkspaceRef } from '../wire/common.js'

/** Whether the caller may see every profile: the owner, and tokens for `*`. */
export function seesAll({ token }: Caller): boolean {
  return token === undefined || token.profiles.includes('*')
}

/** The states of those profiles that the caller may see. */
export function visibleStates(caller: Caller, credentials: Credentials): readonly ProfileState[] {
  const states = credentials.states()
  return seesAll(caller) ? states : states.filter(({ resolved }) => reachesProfile(caller, resolved.name))
}

/** Epoch ms to RFC 3339, UTC. */
export function renderTime(at: number): string
export function renderTime(at: number | undefined): string | undefined
export function renderTime(at: number | undefined): string | undefined {
  return at === undefined ? undefined : new Date(at).toISOString()
}

/** Facts about the key, never the key. */
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
