/** The calls of `AccountApi` over HTTP. */

import { SECOND_MS } from '../std/clock.js'
import type { AccountApi } from './account.js'
import {
  accountsAnswer,
  anyListAnswer,
  membersAnswer,
  newServiceAccountAnswer,
  newWorkspaceAnswer,
  rolesAnswer,
  rotatedKeyAnswer,
  serviceAccountsAnswer,
  toLabel,
} from './answers.js'
import type { CloudCaller } from './call.js'
import type { CloudTarget } from './cloud.js'
import { deletionOf, formatExpiration, read } from './replies.js'
import { pathSegment } from './way-out.js'

export function createAccountCalls(caller: Pick<CloudCaller, 'call'>): AccountApi {
  const post = (target: CloudTarget, path: string, purpose: string, body: unknown) =>
    caller.call(target, { method: 'POST', path, purpose, body: JSON.stringify(body) })

  return {
    async serviceAccounts(target, accountId, name) {
      const filter = name === undefined ? {} : { service_accounts: { name: { any_: [name] } } }
      const purpose = name === undefined ? 'list the service accounts' : 'find a service account'
      const all = read(serviceAccountsAnswer, await post(target, bots(accountId, '/filter'), purpose, filter))
      // Not left to the filter alone: what is found is rotated, and the jobs of another account would lose their key.
      return name === undefined ? all : all.filter((one) => one.name === toLabel(name))
    },
    async createServiceAccount(target, accountId, { name, expiresAt }) {
      const body = {
        name,
        ...(expiresAt === undefined ? {} : { api_key_expiration: formatExpiration(expiresAt) }),
      }
      const answered = await post(target, bots(accountId, '/'), 'create a service account', body)
      return read(newServiceAccountAnswer, answered)
    },
    async deleteServiceAccount(target, accountId, id) {
      const path = bots(accountId, `/${pathSegment(id)}`)
      const purpose = 'delete a service account'
      return deletionOf(await caller.call(target, { method: 'DELETE', path, purpose, accept: [404] }))
    },
    async rotateServiceAccountKey(target, accountId, id, { oldKeyLivesMs, expiresAt }) {
      const path = bots(accountId, `/${pathSegment(id)}/rotate_api_key`)
      const answered = await post(target, path, "rotate a service account's key", {
        api_key_expiration: expiresAt === undefined ? null : formatExpiration(expiresAt),
        old_key_expires_in_seconds: Math.round(oldKeyLivesMs / SECOND_MS),
      })
      return read(rotatedKeyAnswer, answered)
    },
    async workspaceRole(target, accountId, name) {
      const path = `${account(accountId)}/workspace_roles/filter`
      const filter = { workspace_roles: { name: { any_: [name] } } }
      const roles = read(rolesAnswer, await post(target, path, 'find a workspace role', filter))
      return roles.find((role) => role.name === name)?.id
    },
    async shareWorkspace(target, { accountId, workspaceId }, { serviceAccountId, roleId }) {
      const path = `${account(accountId)}/workspaces/${pathSegment(workspaceId)}/bot_access/`
      const access = [{ workspace_role_id: roleId, bot_id: serviceAccountId }]
      read(anyListAnswer, await post(target, path, 'share the workspace with a service account', access))
    },
    async memberRole(target, accountId, { userId, email }) {
      const path = `${account(accountId)}/account_memberships/filter`
      const filter = email === undefined ? {} : { account_memberships: { email: { any_: [email] } } }
      const members = read(membersAnswer, await post(target, path, 'find a member of the account', filter))
      return members.find((member) => member.userId === userId)?.role
    },
    async accounts(target) {
      const call = { method: 'GET', path: '/me/accounts', purpose: 'list the accounts' } as const
      return read(accountsAnswer, await caller.call(target, call))
    },
    async createWorkspace(target, accountId, { handle, name }) {
      const path = `${account(accountId)}/workspaces/`
      return read(newWorkspaceAnswer, await post(target, path, 'create a workspace', { handle, name }))
    },
  }
}

function account(id: string): string {
  return `/accounts/${pathSegment(id)}`
}

function bots(accountId: string, rest: string): string {
  return `${account(accountId)}/bots${rest}`
}
