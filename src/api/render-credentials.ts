/** The pair itself, as it leaves the daemon: one of the few places where secrets are revealed. */
import type { Served } from '../serve/credentials.js'
import type { Credentials, PrefectEnv } from '../wire/credentials.js'
import { renderKey, renderOwner, renderWorkspaceRef } from './render.js'

/** What the caller's environment must hold; what is absent must be unset there. */
export function renderEnv(served: Served): PrefectEnv {
  const { apiUrl, apiKey, authString, cloudApiUrl, cloudUiUrl } = served
  return {
    ...(apiUrl === undefined ? {} : { PREFECT_API_URL: apiUrl }),
    ...(apiKey === undefined ? {} : { PREFECT_API_KEY: apiKey.reveal() }),
    ...(authString === undefined ? {} : { PREFECT_API_AUTH_STRING: authString.reveal() }),
    ...(cloudApiUrl === undefined ? {} : { PREFECT_CLOUD_API_URL: cloudApiUrl }),
    ...(cloudUiUrl === undefined ? {} : { PREFECT_CLOUD_UI_URL: cloudUiUrl }),
  }
}

export function renderCredentials(served: Served): Credentials {
  return {
    profile: served.profile,
    kind: served.kind,
    env: renderEnv(served),
    ...(served.workspace === undefined ? {} : { workspace: renderWorkspaceRef(served.workspace) }),
    ...(served.owner === undefined ? {} : { owner: renderOwner(served.owner) }),
    ...(served.key === undefined ? {} : { key: renderKey(served.key) }),
    generation: served.generation,
    because: served.because,
  }
}
