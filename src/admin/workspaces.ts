/** The workspaces that a profile's key can see, and choosing one. */

import { BrokerError } from '../base/errors.js'
import type { Changes } from '../keys/change.js'
import type { ChangeOutcome } from '../keys/journal.js'
import type { KeyKeeper } from '../keys/keeper.js'
import { type Account, type AccountApi, roleNeeded } from '../prefect/account.js'
import { type CloudApi, type Workspace, workspaceApiUrl } from '../prefect/cloud.js'
import { isOwnToken } from '../prefect/proxied.js'
import { findWorkspace } from '../prefect/workspaces.js'
import { shownName } from '../profiles/bundled.js'
import type { ProfileFile } from '../profiles/profile.js'
import { type Credentials, requireCloud, type Served, target } from '../serve/credentials.js'
import { defined } from '../std/defined.js'
import { quoteWord } from '../std/text.js'

export interface WorkspaceAdmin {
  /** Asks Prefect, and keeps the names. Rejects with `profile_not_cloud`, or as `Credentials.serve` and `CloudApi` do. */
  list(profile?: string): Promise<{
    readonly profile: string
    readonly workspaces: readonly Workspace[]
    readonly currentId?: string
  }>
  /** Writes the profile's URL. Rejects with `workspace_not_found`, which names the workspaces there are, or as `list` does. */
  choose(
    profile: string | undefined,
    workspace: string,
  ): Promise<{ readonly profile: string; readonly workspace: Workspace; readonly apiUrl: string }>
  /**
   * Creates a workspace at Prefect; the profile keeps the one it has. `account`: a handle or an id; default: the account of the
   * profile's workspace, else the only one. Rejects with `workspace_required` if several are possible, `workspace_not_found` for an
   * account that the key does not see, `prefect_forbidden` with the role that it takes, or as `AccountApi` does.
   */
  create(
    profile: string | undefined,
    wanted: { readonly handle: string; readonly name?: string; readonly account?: string },
  ): Promise<{ readonly profile: string; readonly workspace: Workspace }>
}

export function createWorkspaceAdmin({
  credentials,
  cloud,
  keeper,
  changes,
  now,
  settle,
}: {
  readonly credentials: Credentials
  readonly cloud: Pick<CloudApi, 'workspaces'> & Pick<AccountApi, 'accounts' | 'createWorkspace'>
  readonly keeper: Pick<KeyKeeper, 'note' | 'profile'>
  readonly changes: Changes
  readonly now: () => number
  /** Brings what is served up to date. */
  readonly settle: () => Promise<void>
}): WorkspaceAdmin {
  const ask = async (
    profile: string | undefined,
  ): Promise<{ served: Served; workspaces: readonly Workspace[] }> => {
    const served = requireCloud(credentials.serve(profile))
    const workspaces = await cloud.workspaces(target(credentials, served))
    await keeper.note(served.profile, { workspaces })
    return { served, workspaces }
  }

  /** An alias gets the key of the profile that it stands for: its token of ours leaves the file. */
  const tieTo = (aliasOf: string | undefined, profile: string): ChangeOutcome['tie'] => {
    if (aliasOf === undefined) return undefined
    const { currentItem: item, owner, workspaces } = keeper.profile(aliasOf)
    if (item !== undefined) {
      return { profile, item, heir: aliasOf, at: now(), workspaces, ...defined({ owner }) }
    }
    throw new BrokerError(
      'profile_has_no_key',
      `profile ${shownName(profile)} stands for profile ${shownName(aliasOf)}, which has no key in the vault`,
      { hint: `prefect-auth adopt --profile ${quoteWord(aliasOf)}` },
    )
  }

  return {
    async list(profile) {
      const { served, workspaces } = await ask(profile)
      const currentId = served.workspace?.workspaceId
      return { profile: served.profile, workspaces, ...defined({ currentId }) }
    },
    async choose(profile, wanted) {
      const name = requireCloud(credentials.serve(profile)).profile
      let chosen: { readonly workspace: Workspace; readonly apiUrl: string } | undefined
      await changes.run([name], async ({ file }) => {
        await settle()
        const served = requireCloud(credentials.serve(name))
        const workspaces = await cloud.workspaces(target(credentials, served))
        const workspace = findWorkspace(workspaces, wanted)
        const { cloudApiUrl, aliasOf } = credentials.state(name).resolved
        const apiUrl = workspaceApiUrl(cloudApiUrl, workspace)
        chosen = { workspace, apiUrl }
        const settings = { PREFECT_API_URL: apiUrl, ...withoutOwnToken(file, name) }
        return {
          act: 'workspace',
          edits: [{ kind: 'set', name, settings }],
          outcome: { reach: { profile: name, workspaces }, ...defined({ tie: tieTo(aliasOf, name) }) },
        }
      })
      if (chosen === undefined) throw new BrokerError('internal', 'no workspace was chosen')
      return { profile: name, ...chosen }
    },
    async create(profile, { handle, name = handle, account: named }) {
      const served = requireCloud(credentials.serve(profile))
      const asked = target(credentials, served)
      const accounts = await cloud.accounts(asked)
      const { accountId, accountHandle } = findAccount(accounts, named ?? served.workspace?.accountId)
      const { cloudUiUrl: uiUrl } = credentials.state(served.profile).resolved
      const workspaceId = await cloud
        .createWorkspace(asked, accountId, { handle, name })
        .catch((error: unknown) => {
          throw roleNeeded(error, { accountId, uiUrl, name: 'Workspaces' })
        })
      const workspace = {
        accountId,
        accountHandle,
        workspaceId,
        workspaceHandle: handle,
        workspaceName: name,
      }
      return { profile: served.profile, workspace }
    },
  }
}

/** Throws `workspace_not_found` or `workspace_required`, which name the accounts there are. */
function findAccount(accounts: readonly Account[], named: string | undefined): Account {
  const handles = accounts.map(({ accountHandle }) => accountHandle).slice(0, 10)
  const hint = `prefect-auth workspace create ACCOUNT/HANDLE      (accounts: ${handles.join(', ')})`
  if (named === undefined) {
    const [only] = accounts
    if (only !== undefined && accounts.length === 1) return only
    throw new BrokerError('workspace_required', 'it is not known in which account to create the workspace', {
      hint,
    })
  }
  const found = accounts.find(
    ({ accountId, accountHandle }) => accountHandle === named || accountId === named.toLowerCase(),
  )
  if (found !== undefined) return found
  throw new BrokerError('workspace_not_found', `the key sees no account ${shownName(named)}`, { hint })
}

/** A login through the proxy may have left a token of ours, which is no key at the real URL. */
function withoutOwnToken(file: ProfileFile, name: string): { readonly PREFECT_API_KEY?: undefined } {
  const written = file.profiles.get(name)?.apiKey
  return written !== undefined && isOwnToken(written) ? { PREFECT_API_KEY: undefined } : {}
}
