/** Prefect Cloud as the rooms see it: users, workspaces, keys, and whose a key is. */

import { BrokerError } from '../base/errors.js'
import { defined } from '../std/defined.js'
import type { Secret } from '../std/secret.js'

/** Defaults from the daemon's environment, not from a profile. */
export interface CloudDefaults {
  /** `PREFECT_CLOUD_API_URL`, else `https://api.prefect.cloud/api`; no trailing slash. */
  readonly cloudApiUrl: string
  /** `PREFECT_CLOUD_UI_URL`, if it is set. */
  readonly cloudUiUrl?: string
}

/** The Cloud API base (`https://api.prefect.cloud/api`, no trailing slash), and the key that is sent there and nowhere else. */
export interface CloudTarget {
  readonly cloudApiUrl: string
  readonly key: Secret
  /** Whose certificates and headers count, as far as it is a profile of this API. */
  readonly profile?: string
}

/** `GET /me/`: users only; a service account gets 403. */
export interface CloudUser {
  readonly id: string
  readonly handle: string
  readonly email?: string
  readonly name?: string
}

export interface Workspace {
  readonly accountId: string
  readonly accountHandle: string
  readonly accountName?: string
  readonly workspaceId: string
  readonly workspaceHandle: string
  readonly workspaceName?: string
}

/** Who a key belongs to. A service account has no `/me/`; its account identifies it. */
export type Owner =
  | { readonly kind: 'user'; readonly id: string; readonly handle: string; readonly email?: string }
  | { readonly kind: 'service_account'; readonly id: string; readonly handle: string }

/** A user's API key as Prefect describes it. Times in epoch ms. */
export interface CloudKey {
  readonly id: string
  readonly name: string
  readonly createdAt?: number
  /** Absent: never expires. */
  readonly expiresAt?: number
}

export interface MintedKey extends CloudKey {
  readonly key: Secret
}

/**
 * Every method may reject with `key_rejected` (401), `prefect_forbidden` (403), `prefect_not_found` (404), `prefect_rate_limited`
 * (429), `prefect_failed` (5xx), `prefect_refused` (other 4xx), `prefect_unexpected` (an unreadable answer) or
 * `prefect_unreachable` (no answer); before anything is sent with `api_url_invalid`, `key_malformed` or `setting_invalid` (a
 * proxy or certificate file); and with `shutting_down`.
 */
export interface CloudApi {
  me(target: CloudTarget): Promise<CloudUser>
  workspaces(target: CloudTarget): Promise<readonly Workspace[]>
  /** `POST /users/{id}/api_keys`. Never retried: a lost answer may have minted a key. */
  createKey(
    target: CloudTarget,
    userId: string,
    wanted: { readonly name: string; readonly expiresAt?: number },
  ): Promise<MintedKey>
  /** `undefined`: Prefect knows no such key. */
  readKey(target: CloudTarget, userId: string, keyId: string): Promise<CloudKey | undefined>
  /** `undefined`: this Prefect has no list endpoint that we know (its path is not documented). */
  listKeys(target: CloudTarget, userId: string): Promise<readonly CloudKey[] | undefined>
  /** `already_gone` for 404. A deleted key may still work for 5 minutes (PrefectHQ/prefect#17383). */
  deleteKey(target: CloudTarget, userId: string, keyId: string): Promise<'deleted' | 'already_gone'>
  close(): Promise<void>
}

/** `prefect/terry` */
export function workspaceHandle(workspace: Workspace): string {
  return `${workspace.accountHandle}/${workspace.workspaceHandle}`
}

/** The `PREFECT_API_URL` of a workspace, byte for byte as Prefect's clients write it (they compare by string). */
export function workspaceApiUrl(
  cloudApiUrl: string,
  { accountId, workspaceId }: Pick<Workspace, 'accountId' | 'workspaceId'>,
): string {
  return `${cloudApiUrl}/accounts/${accountId}/workspaces/${workspaceId}`
}

/** `pnb_` keys are service accounts' keys, `pnu_` users' keys; other prefixes are unknown to us, not wrong. */
export function keyClass(key: Secret): 'user' | 'service_account' | 'unknown' {
  if (key.startsWith('pnb_')) return 'service_account'
  return key.startsWith('pnu_') ? 'user' : 'unknown'
}

interface KeyFindings {
  readonly owner: Owner
  readonly workspaces: readonly Workspace[]
}

/**
 * Who owns the key, and its workspaces. Rejects as `CloudApi` does (`key_rejected`, …), and with `workspace_none` for a
 * service account without workspaces: only a workspace names its account.
 */
export async function verifyKey(cloud: CloudApi, target: CloudTarget): Promise<KeyFindings> {
  // For a service account, /me/ is 403.
  if (keyClass(target.key) === 'service_account') {
    const workspaces = await cloud.workspaces(target)
    return { owner: serviceAccount(workspaces), workspaces }
  }
  // One after the other, so that junk costs one request.
  const { id, handle, email } = await cloud.me(target)
  const workspaces = await cloud.workspaces(target)
  return { owner: { kind: 'user', id, handle, ...defined({ email }) }, workspaces }
}

function serviceAccount([first]: readonly Workspace[]): Owner {
  if (first) return { kind: 'service_account', id: first.accountId, handle: first.accountHandle }
  throw new BrokerError('workspace_none', 'the key of the service account works, but reaches no workspace', {
    hint: 'give the service account a role in a workspace, in the Prefect UI',
  })
}
