/** Pure: owners, keys and workspaces in the words of every command. */
import type { KeyView, Owner, WorkspaceRef } from '../wire/common.js'
import { printable } from './printable.js'
import { formatDate, formatRelative } from './when.js'

/** `terry (terry@example.com)` */
export function describeOwner({ kind, handle, email }: Owner): string {
  const name = printable(handle)
  if (kind === 'service_account') return `service account ${name}`
  return email === undefined ? name : `${name} (${printable(email)})`
}

/** `prefect/terry`, or the ids until Prefect has told the names. */
export function describeWorkspace({ handle, account_id, workspace_id }: WorkspaceRef): string {
  return printable(handle ?? `${account_id}/${workspace_id}`)
}

/** Prefect tells the expiry of a key to who made it, and to nobody else. */
const UNKNOWN_EXPIRY = 'when the key expires is not known'

/** `key expires 2026-12-20` */
export function describeExpiry({ origin, expires_at, expiry_assumed }: KeyView): string {
  if (expires_at === undefined) return origin === 'minted' ? 'key does not expire' : UNKNOWN_EXPIRY
  return `key expires ${expiry_assumed === true ? 'about ' : ''}${formatDate(expires_at)}`
}

const ORIGINS: Readonly<Record<KeyView['origin'], string>> = {
  browser: 'from the browser',
  pasted: 'pasted',
  minted: 'our own',
  service_account: 'of a service account',
  profile: 'from profiles.toml',
}

/** `our own, expires in 29 days (2026-12-20), sha256:1f2e3d4c5b6a` */
export function describeKey(key: KeyView, now: number): string {
  return `${ORIGINS[key.origin]}, ${describeLife(key, now)}, ${printable(key.fingerprint)}`
}

function describeLife({ origin, expires_at, expiry_assumed }: KeyView, now: number): string {
  if (expires_at === undefined) return origin === 'minted' ? 'does not expire' : 'expiry not known'
  const date = `(${expiry_assumed === true ? 'about ' : ''}${formatDate(expires_at)})`
  const isOver = Date.parse(expires_at) <= now
  return `${isOver ? 'expired' : 'expires'} ${formatRelative(expires_at, now)} ${date}`
}
