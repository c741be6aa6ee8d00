/** The workspaces that a profile's key can see, and choosing one. */

import type { KeyKeeper } from '../keys/keeper.js'
import { type CloudApi, type Workspace, workspaceApiUrl } from '../prefect/cloud.js'
import { isOwnToken } from '../prefect/proxied.js'
import { findWorkspace } from '../prefect/workspaces.js'
import type { ProfileStore } from '../profiles/profile.js'
import { type Credentials, requireCloud, type Served, target } from '../serve/credentials.js'
import { defined } from '../std/defined.js'

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
}

export function createWorkspaceAdmin({
  credentials,
  cloud,
  keeper,
  store,
  settle,
}: {
  readonly credentials: Credentials
  readonly cloud: CloudApi
  readonly keeper: Pick<KeyKeeper, 'note'>
  readonly store: ProfileStore
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

/** A login through the proxy may have left a token of ours, which is no key at the real URL. */
function withoutOwnToken(store: ProfileStore, name: string): { readonly PREFECT_API_KEY?: undefined } {
  const written = store.reading().file.profiles.get(name)?.apiKey
  return written !== undefined && isOwnToken(written) ? { PREFECT_API_KEY: undefined } : {}
}
