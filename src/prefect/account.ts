/** What the key of an account's member may do in the account at Prefect Cloud: service accounts, workspaces, roles. */

import { BrokerError, isBrokerError } from '../base/errors.js'
import type { CloudKey, CloudTarget, MintedKey } from './cloud.js'

/** A service account of an account. */
export interface ServiceAccount {
  readonly id: string
  readonly name: string
  /** Of the account: "Member". */
  readonly role?: string
  /** Its newest key. */
  readonly key?: CloudKey
  /** Lifetime of its current key from creation, ms. Absent: unlimited, or unknown. */
  readonly keyLifeMs?: number
}

/** An account that the key's owner is a member of. */
export interface Account {
  readonly accountId: string
  readonly accountHandle: string
}

export interface WorkspaceIn {
  readonly accountId: string
  readonly workspaceId: string
}

/**
 * Rejects as `CloudApi` does. Members may look; to create, rotate and delete takes the account role Admin or Owner, else
 * `prefect_forbidden` (PrefectHQ/prefect docs/v3/how-to-guides/cloud/manage-users/manage-roles.mdx). Paths and bodies: the
 * Terraform provider's internal/client/{service_accounts,account_memberships,workspaces,workspace_access,workspace_roles}.go.
 */
export interface AccountApi {
  /** `POST …/bots/filter`: those with this name, or all. */
  serviceAccounts(target: CloudTarget, accountId: string, name?: string): Promise<readonly ServiceAccount[]>
  /** `POST …/bots/`. Never retried: a lost answer may have created it, with a key that nobody has. */
  createServiceAccount(
    target: CloudTarget,
    accountId: string,
    wanted: { readonly name: string; readonly expiresAt?: number },
  ): Promise<{ readonly account: ServiceAccount; readonly minted: MintedKey }>
  /** `DELETE …/bots/{id}`: its keys end with it. `already_gone` for 404. */
  deleteServiceAccount(
    target: CloudTarget,
    accountId: string,
    id: string,
  ): Promise<'deleted' | 'already_gone'>
  /** `POST …/bots/{id}/rotate_api_key`. Never retried: a lost answer has limited the life of the old key. */
  rotateServiceAccountKey(
    target: CloudTarget,
    accountId: string,
    id: string,
    wanted: { readonly oldKeyLivesMs: number; readonly expiresAt?: number },
  ): Promise<MintedKey>
  /** `POST …/workspace_roles/filter`: the id of the role with this name ("Worker", "Developer"); `undefined`: there is none. */
  workspaceRole(target: CloudTarget, accountId: string, name: string): Promise<string | undefined>
  /** `POST …/workspaces/{id}/bot_access/`: the service account gets this role in the workspace, whatever it had. */
  shareWorkspace(
    target: CloudTarget,
    workspace: WorkspaceIn,
    access: { readonly serviceAccountId: string; readonly roleId: string },
  ): Promise<void>
  /** `POST …/account_memberships/filter`: the name of the user's role in the account; `undefined`: Prefect lists no such member. */
  memberRole(
    target: CloudTarget,
    accountId: string,
    user: { readonly userId: string; readonly email?: string },
  ): Promise<string | undefined>
  /** `GET /me/accounts`. */
  accounts(target: CloudTarget): Promise<readonly Account[]>
  /** `POST …/workspaces/`. Returns its id. */
  createWorkspace(
    target: CloudTarget,
    accountId: string,
    wanted: { readonly handle: string; readonly name: string },
  ): Promise<string>
}

/** A page of an account in the Prefect UI. */
export interface AccountPage {
  readonly accountId: string
  /** `https://app.prefect.cloud`, no trailing slash. */
  readonly uiUrl: string
  /** "Service Accounts" */
  readonly name: string
}

/** A 403 with the role that it takes, and where a person who has it does the same. Any other error as it is. */
export function roleNeeded(error: unknown, { accountId, uiUrl, name }: AccountPage): unknown {
  if (!isBrokerError(error, 'prefect_forbidden')) return error
  return new BrokerError(
    'prefect_forbidden',
    `${error.message}; this takes the role Admin or Owner in the account, which a service account never has`,
    {
      hint: `check who has that role, and ask them to do it: ${uiUrl}/account/${accountId}, page ${name}`,
      cause: error,
    },
  )
}
