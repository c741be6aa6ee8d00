/** `/me/`, `/me/workspaces`, `/me/accounts`: the caller and what it may see. */
import type { Directory } from '../directory.js'
import { type AuthedRequest, detail, json } from '../ui/exchange.js'
import type { Route } from './router.js'
import type { Account, Actor, Workspace } from './rows.js'

/** research/prefect.md 2.1. */
export function meRoutes({ directory }: { readonly directory: Directory }): Route<AuthedRequest>[] {
  return [
    { method: 'GET', path: '/me/', run: ({ actor }) => me(actor) },
    {
      method: 'GET',
      path: '/me/workspaces',
      run: ({ actor }) =>
        json(
          200,
          directory.workspacesOf(actor).map((each) => mineJson(each, directory.accounts.get(each.accountId))),
        ),
    },
    {
      method: 'GET',
      path: '/me/accounts',
      run: ({ actor }) => json(200, directory.accountsOf(actor).map(accountJson)),
    },
  ]
}

function me(actor: Actor) {
  // The wording of the 403: research/prefect.md 1.9.
  if (actor.kind === 'bot') {
    return detail(403, 'Only users (not service accounts) can access this endpoint.')
  }
  const { id, email, handle, firstName, lastName } = actor
  return json(200, { id, email, handle, first_name: firstName, last_name: lastName })
}

function mineJson(workspace: Workspace, account: Account | undefined) {
  return {
    account_id: workspace.accountId,
    account_name: account?.name,
    account_handle: account?.handle,
    workspace_id: workspace.id,
    workspace_name: workspace.name,
    workspace_description: workspace.description,
    workspace_handle: workspace.handle,
  }
}

function accountJson({ id, name, handle }: Account) {
  return { account_id: id, account_name: name, account_handle: handle }
}
