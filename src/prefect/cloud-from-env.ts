/** Prefect Cloud as the daemon's environment describes it: endpoints, certificates, proxies. */

import type { CloudDefaults } from '../profiles/profile.js'
import { isProxyBase } from '../proxy/upstream.js'
import type { CloudApi, ServiceAccountsApi } from './cloud.js'
import type { CallOptions } from './cloud-options.js'
import { createCloudHttp } from './open-cloud.js'
import { resolveProxySettings } from './way-out.js'

export type Environment = Readonly<Record<string, string | undefined>>

/** `PREFECT_CLOUD_API_URL` and `PREFECT_CLOUD_UI_URL` of the daemon's environment; no trailing slash, as Prefect has it. */
export function cloudDefaults(env: Environment): CloudDefaults {
  const { PREFECT_CLOUD_API_URL: set, PREFECT_CLOUD_UI_URL: ui } = env
  // A daemon that was started by a job of its own proxy would be its own upstream.
  const api = set !== undefined && isProxyBase(set) ? undefined : set
  return {
    cloudApiUrl: (api === undefined || api === '' ? 'https://api.prefect.cloud/api' : api).replace(
      /\/+$/,
      '',
    ),
    ...(ui === undefined || ui === '' ? {} : { cloudUiUrl: ui.replace(/\/+$/, '') }),
  }
}

/** `SSL_CERT_FILE` and the usual proxy variables; empty counts as unset. */
export function openCloudFromEnv(
  env: Environment,
  options: Omit<CallOptions, 'tls' | 'proxy'>,
): CloudApi & ServiceAccountsApi {
  const { SSL_CERT_FILE: caFile } = env
  return createCloudHttp({
    ...options,
    tls: caFile === undefined || caFile === '' ? {} : { caFile },
    proxy: resolveProxySettings(env),
  })
}
