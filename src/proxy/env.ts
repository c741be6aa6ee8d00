/** The environment variables of a job that goes through the proxy. Pure. */
import { parseHttpUrl } from '../prefect/api-url.js'
import { proxyPrefix, tokenAuthString } from '../prefect/proxied.js'
import type { ResolvedProfile } from '../profiles/profile.js'
import { defined } from '../std/defined.js'
import { type CustomHeaderSources, planCustomHeaders } from './custom-headers.js'

interface ProxyEnvInputs {
  /** `http://127.0.0.1:PORT` */
  readonly address: string
  readonly resolved: ResolvedProfile
  readonly token: string
  /** Of a job at a self-hosted server: old clients send events there without credentials. */
  readonly ticket?: string
  /** `NO_PROXY` as the caller has it. */
  readonly noProxy?: string
  /** `no_proxy`, if the caller has another one. */
  readonly smallNoProxy?: string
  /** `PREFECT_UI_URL` as the caller has it: it says where the pages are, and wins. */
  readonly uiUrl?: string
  readonly headers?: Omit<CustomHeaderSources, 'profile'>
}

type ProxyEnv = Readonly<Partial<Record<ProxyEnvName, string>>>
type ProxyEnvName =
  | 'PREFECT_API_URL'
  | 'PREFECT_API_KEY'
  | 'PREFECT_API_AUTH_STRING'
  | 'PREFECT_CLOUD_API_URL'
  | 'PREFECT_CLOUD_UI_URL'
  | 'PREFECT_UI_URL'
  | 'PREFECT_CLOUD_URL'
  | 'PREFECT_SILENCE_API_URL_MISCONFIGURATION'
  | 'PREFECT_CLIENT_CUSTOM_HEADERS'
  | 'NO_PROXY'
  | 'no_proxy'

/** Prefect takes a URL for Cloud's if it starts with the Cloud URL, letter by letter. */
export function planProxyEnv({
  address,
  resolved,
  token,
  ticket,
  noProxy = '',
  smallNoProxy = noProxy,
  uiUrl,
  headers,
}: ProxyEnvInputs): ProxyEnv {
  const base = `${address}${proxyPrefix(resolved.name, ticket)}`
  const ofProfile = defined({ profile: resolved.customHeaders?.reveal() }) // only their names are used
  const ways = {
    PREFECT_API_KEY: token,
    // Prefect 2 takes every path but /api for a mistake, and warns at each start.
    PREFECT_SILENCE_API_URL_MISCONFIGURATION: 'true',
    NO_PROXY: extendNoProxy(noProxy),
    no_proxy: extendNoProxy(smallNoProxy),
    ...defined({ PREFECT_CLIENT_CUSTOM_HEADERS: planCustomHeaders({ ...headers, ...ofProfile }, token) }),
  }
  if (resolved.kind === 'cloud') {
    const { apiUrl = '', cloudApiUrl, cloudUiUrl } = resolved
    return {
      ...ways,
      PREFECT_API_URL: `${base}${apiUrl.slice(cloudApiUrl.length).replace(/\/+$/, '')}`,
      PREFECT_CLOUD_API_URL: base,
      // The profile's own would win, and Prefect 2 would not take the proxy for Cloud.
      ...defined({ PREFECT_CLOUD_URL: resolved.hasOldCloudUrl === true ? base : undefined }),
      // Inferred from the API's address, it would be the proxy.
      PREFECT_CLOUD_UI_URL: cloudUiUrl,
    }
  }
  // Prefect 2 knows no auth string and sends the key to any server; Prefect 3 prefers the auth string.
  return {
    ...ways,
    PREFECT_API_URL: base,
    PREFECT_API_AUTH_STRING: tokenAuthString(token),
    PREFECT_CLOUD_API_URL: resolved.cloudApiUrl,
    // Inferred from the API's address, every link would lead to the proxy.
    ...defined({ PREFECT_UI_URL: uiUrl ?? pagesOf(resolved) }),
  }
}

/** The pages of a self-hosted server, by Prefect's rule (`settings/models/_defaults.py`), without a password of its URL. */
function pagesOf({ apiUrl = '', uiUrl }: ResolvedProfile): string | undefined {
  if (uiUrl !== undefined) return withoutPassword(uiUrl)
  return withoutPassword(apiUrl)
    ?.replace(/\/api$/, '')
    .replaceAll('/api/', '/')
    .replaceAll('/accounts/', '/account/')
    .replaceAll('/workspaces/', '/workspace/')
}

function withoutPassword(url: string): string | undefined {
  return parseHttpUrl(url) && url.replace(/^(https?:\/\/)[^/?#]*@/i, '$1')
}

function extendNoProxy(before: string): string {
  // Python and curl obey `*` only if it stands alone, and then it covers this machine as well.
  if (before.trim() === '*') return '*'
  const known = before.split(',').map((entry) => entry.trim())
  // It exempts every host, but for curl and Python's urllib only if it stands alone.
  if (known.includes('*')) return '*'
  const missing = ['127.0.0.1', 'localhost'].filter((host) => !known.includes(host))
  return [...known.filter((entry) => entry !== ''), ...missing].join(',')
}
