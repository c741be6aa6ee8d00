/** `/accounts/{id}/` and the workspaces in it. */
import { z } from 'zod'
import type { Directory } from '../directory.js'
import { type AuthedRequest, detail, json, noContent, refusal } from '../ui/exchange.js'
import type { Route } from './router.js'
import type { Account, Workspace } from './rows.js'

const WantedWorkspace = z.object({ handle: z.string().min(1), name: z.string().min(1) })
const Filter = z.object({
  workspaces: z.object({ handle: z.object({ any_: z.array(z.string()) }).optional() }).optional(),
})

/** research/prefect.md 2.1, 2.5. */
export function accountRoutes({ directory }: { readonly directory: Directory }): Route<AuthedRequest>[] {
  const at = '/accounts/:accountId'
  return [
    { method: 'GET', path: `${at}/`, run: (request) => json(200, accountJson(memberOf(request, directory))) },
    // As Prefect's MCP server asks (prefect-mcp 0.0.1b13), and for its tool `review_rate_limits`.
    { method: 'GET', path: at, run: (request) => json(200, accountJson(memberOf(request, directory))) },
    {
      method: 'GET',
      path: `${at}/rate-limits/usage`,
      run: (request) => json(200, { account: memberOf(request, directory).id, minutes: [], keys: {} }),
    },
    {
      method: 'GET',
      path: `${at}/settings`,
      run(request) {
        memberOf(request, directory)
        return json(200, { enforce_ip_allowlist: false })
      },
    },
    {
      method: 'GET',
      path: `${at}/ip_allowlist/my_access`,
      run(request) {
        memberOf(request, directory)
        return json(200, { allowed: true, detail: 'Your IP address is allowed.' })
      },
    },
    {
      method: 'POST',
      path: `${at}/account_memberships/filter`,
      run: (request) => filterMembers(request, directory),
    },
    { method: 'POST', path: `${at}/workspaces/`, run: (request) => createWorkspace(request, directory) },
    {
      method: 'POST',
      path: `${at}/workspaces/filter`,
      run: (request) => filterWorkspaces(request, directory),
    },
    {
      method: 'GET',
      path: `${at}/workspaces/:workspaceId`,
      run: (request) => json(200, workspaceJson(workspaceOf(request, directory))),
    },
    {
      method: 'DELETE',
      path: `${at}/workspaces/:workspaceId`,
      run(request) {
        adminOf(request, directory)
        directory.workspaces.delete(workspaceOf(request, directory).id)
        return noContent()
      },
    },
  ]
}

const MemberFilter = z.object({
  account_memberships: z.object({ email: z.object({ any_: z.array(z.string()) }).optional() }).optional(),
})

/** TF internal/client/account_memberships.go. Members see members (manage-roles.mdx); service accounts are none. */
async function filterMembers(request: AuthedRequest, directory: Directory) {
  const { id } = memberOf(request, directory)
  const emails = (await request.body(MemberFilter)).account_memberships?.email?.any_
  const members = [...directory.users.values()].filter(({ accountIds, email }) => {
    return accountIds.has(id) && (emails === undefined || emails.includes(email))
  })
  return json(
    200,
    members.map(({ id: userId, actorId, handle, email, firstName, lastName, admin }) => ({
      // The ids are made up.
      ...{ id: `${userId.slice(0, 24)}${id.slice(24)}`, actor_id: actorId, user_id: userId },
      ...{ first_name: firstName, last_name: lastName, handle, email, last_login: null },
      account_role_name: admin ? 'Admin' : 'Member',
      account_role_id: `00000000-0000-4000-8000-00000000000${admin ? '6' : '7'}`,
    })),
  )
}

/** Owners and Admins of the account (manage-roles.mdx). The wording for a handle that is taken is inferred. */
async function createWorkspace(request: AuthedRequest, directory: Directory) {
  const accountId = adminOf(request, directory).id
  const { handle, name } = await request.body(WantedWorkspace)
  const isTaken = [...directory.workspaces.values()].some(
    (workspace) => workspace.accountId === accountId && workspace.handle === handle,
  )
  if (isTaken) throw refusal(detail(409, 'A workspace with this handle already exists.'))
  const workspace = directory.addWorkspace({ accountId, handle, name, owner: request.actor })
  return json(201, workspaceJson(workspace))
}

async function filterWorkspaces(request: AuthedRequest, directory: Directory) {
  const { id } = memberOf(request, directory)
  const handles = (await request.body(Filter)).workspaces?.handle?.any_
  const rows = directory.workspacesOf(request.actor).filter((workspace) => {
    return workspace.accountId === id && (handles === undefined || handles.includes(workspace.handle))
  })
  return json(200, rows.map(workspaceJson))
}

/** Returns the account in the path; 404 for non-members (research/prefect.md 1.9). */
export function memberOf({ actor, param }: AuthedRequest, directory: Directory): Account {
  const account = directory.accountsOf(actor).find(({ id }) => id === param('accountId'))
  if (account === undefined) throw refusal(detail(404, 'Not Found'))
  return account
}

/** Returns the account in the path; 403 unless the user is one of its admins (research/prefect.md 1.9). */
export function adminOf(request: AuthedRequest, directory: Directory): Account {
  const account = memberOf(request, directory)
  if (request.actor.kind === 'bot' || !request.actor.admin) throw refusal(detail(403, 'Forbidden'))
  return account
}

/** Returns the workspace in the path; 404 for non-members (research/prefect.md 1.9). */
export function workspaceOf(request: AuthedRequest, directory: Directory): Workspace {
  const { id: accountId } = memberOf(request, directory)
  const workspace = directory.workspaces.get(request.param('workspaceId'))
  if (workspace?.accountId !== accountId || !request.actor.workspaceIds.has(workspace.id)) {
    throw refusal(detail(404, 'Not Found'))
  }
  return workspace
}

function accountJson({ id, name, handle }: Account) {
  return {
    id,
    name,
    handle,
    auth_expiration_seconds: null,
    sso_state: 'inactive',
    plan_type: 'PRO',
    features: [],
  }
}

function workspaceJson({ id, accountId, handle, name, description }: Workspace) {
  return { id, account_id: accountId, handle, name, description }
}
