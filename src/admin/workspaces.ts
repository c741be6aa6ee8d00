/** The workspaces that a profile's key reaches, and the choice of one. */

import { BrokerError } from '../base/errors.js'
import type { KeyKeeper } from '../keys/keeper.js'
import { type CloudApi, type Workspace, workspaceApiUrl } from '../prefect/cloud.js'
import { isOwnToken } from '../prefect/proxied.js'
import { findWorkspace } from '../prefect/workspaces.js'
import { shownName } from '../profiles/bundled.js'
import type { ProfileStore } from '../profiles/profile.js'
import type { Credentials, Served } from '../serve/credentials.js'
import type { WorkspaceAdmin } from './profiles.js'

export interface AdministerWorkspacesDeps {
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
      return { profile: served.profile, workspaces, ...(currentId === undefined ? {} : { currentId }) }
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

function requireCloud(served: Served): Served {
  if (served.kind === 'cloud' && served.apiKey !== undefined) return served
  throw new BrokerError(
    'profile_not_cloud',
    `profile ${shownName(served.profile)} is not a Prefect Cloud profile`,
    {
      hint: 'prefect-auth login',
    },
  )
}

/** The key that is served, with the one host it may go to. Throws `profile_not_cloud`. */
export function target(
  credentials: Credentials,
  served: Served,
): { cloudApiUrl: string; key: NonNullable<Served['apiKey']> } {
  const { apiKey, profile } = requireCloud(served)
  if (apiKey === undefined) throw new BrokerError('internal', 'a Cloud profile is served without a key')
  return { cloudApiUrl: credentials.state(profile).resolved.cloudApiUrl, key: apiKey }
}
