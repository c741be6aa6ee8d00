/** The workspaces that a profile's key reaches, and the choice of one. */

import type { KeyKeeper } from '../keys/keeper.js'
import { type CloudApi, type Workspace, workspaceApiUrl } from '../prefect/cloud.js'
import { isOwnToken } from '../prefect/proxied.js'
import { findWorkspace } from '../prefect/workspaces.js'
import type { ProfileStore } from '../profiles/profile.js'
import { type Credentials, requireCloud, type Served, target } from '../serve/credentials.js'
import { defined } from '../std/defined.js'

interface AdministerWorkspacesDeps {
  readonly credentials: Credentials
  readonly cloud: CloudApi
  readonly keeper: KeyKeeper
  readonly store: ProfileStore
  readonly settle: () => Promise<void>
}

export function createWorkspaceAdmin(deps: AdministerWorkspacesDeps): WorkspaceAdmin {
  const { credentials, keeper, store, settle } = deps

  const ask = async (
    profile: string | undefined,
  ): Promise<{ served: Served; workspaces: readonly Workspace[] }> => {
    const served = requireCloud(credentials.serve(profile))
    const workspaces = await deps.cloud.workspaces(target(credentials, served))
    await keeper.note(served.profile, { workspaces })
    return { served, workspaces }
  }

  return {
    async list(profile) {
      const { served, workspaces } = await ask(profile)
      const currentId = served.workspace?.workspaceId
      return { profile: served.profile, workspaces, ...defined({ currentId }) }
    },
    async choose(profile, wanted) {
      const { served, workspaces } = await ask(profile)
      const workspace = findWorkspace(workspaces, wanted)
      const { cloudApiUrl } = credentials.state(served.profile).resolved
      const apiUrl = workspaceApiUrl(cloudApiUrl, workspace)
      await store.edit([
        {
          kind: 'set',
          name: served.profile,
          settings: { PREFECT_API_URL: apiUrl, ...withoutOwnToken(store, served.profile) },
        },
      ])
      await settle()
      return { profile: served.profile, workspace, apiUrl }
    },
  }
}

/** A token of ours that a login through the proxy left there is no key at the real URL. */
function withoutOwnToken(store: ProfileStore, name: string): { readonly PREFECT_API_KEY?: undefined } {
  const written = store.reading().file.profiles.get(name)?.apiKey
  return written !== undefined && isOwnToken(written) ? { PREFECT_API_KEY: undefined } : {}
}
export interface WorkspaceAdmin {
  /** Asks Prefect, and remembers the names. */
  list(profile?: string): Promise<{
    readonly profile: string
    readonly workspaces: readonly Workspace[]
    readonly currentId?: string
  }>
  /** `workspace_not_found` names what there is. Writes the profile's URL. */
  choose(
    profile: string | undefined,
    workspace: string,
  ): Promise<{ readonly profile: string; readonly workspace: Workspace; readonly apiUrl: string }>
}
