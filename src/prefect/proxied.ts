/** Pure: which profile and which path of its API a request to `/proxy/{profile}/api/**` means. */

import { isCloudApiUrl, parseHttpUrl, workspaceIdsOf } from './api-url.js'

export interface ProxyTarget {
  readonly profile: string
  /** Our own part of the path, as it was asked: `/proxy/{profile}/api`. */
  readonly prefix: string
  /** What is below the API's base, as it was asked: empty, or with a leading slash. */
  readonly path: string
  /** With its question mark, or empty. */
  readonly query: string
}

const TARGET = /^(\/proxy\/([^/?#\\]+)\/api)(\/[^?#]*)?(\?[^#]*)?$/

/** Whether the request is the proxy's to answer, if only by a refusal. */
export function isProxyTarget(target: string): boolean {
  return target.startsWith('/proxy/')
}

/** `undefined`: no profile's API has this path. */
export function parseProxyTarget(target: string): ProxyTarget | undefined {
  const [, prefix, encoded, path = '', query = ''] = TARGET.exec(target) ?? []
  if (prefix === undefined || encoded === undefined) return undefined
  const profile = decode(encoded)
  return profile === undefined ? undefined : { profile, prefix, path, query }
}

/** The path of a profile's API on our own server. */
export function proxyPrefix(profile: string): string {
  return `/proxy/${encodeURIComponent(profile)}/api`
}

/** `undefined` for what is no UTF-8 in percent signs. */
export function decode(segment: string): string | undefined {
  if (!segment.includes('%')) return segment
  try {
    return decodeURIComponent(segment)
  } catch {
    return undefined
  }
}

/** The user name in `PREFECT_API_AUTH_STRING=prefect-auth:<token>`. */
const USER = 'prefect-auth'
const TOKEN = /^pab_[\w-]{43}$/

/** The token in an `Authorization` header: Bearer, in any case, or Basic. `undefined`: what stands there is not ours. */
export function tokenInHeader(authorization: string): string | undefined {
  const [, scheme = '', value = ''] = /^(bearer|basic) +(\S+) *$/i.exec(authorization) ?? []
  if (scheme.toLowerCase() === 'bearer') return TOKEN.test(value) ? value : undefined
  return tokenInAuthString(Buffer.from(value, 'base64').toString('latin1'))
}

/** The token in the first frame of a WebSocket: bare, or as an auth string. */
export function tokenInFrame(value: string): string | undefined {
  return TOKEN.test(value) ? value : tokenInAuthString(value)
}

function tokenInAuthString(text: string): string | undefined {
  const token = text.startsWith(`${USER}:`) ? text.slice(USER.length + 1) : ''
  return TOKEN.test(token) ? token : undefined
}

/** What a server's client is given in the place of its auth string. */
export function tokenAuthString(token: string): string {
  return `${USER}:${token}`
}

/** Whether a key or an auth string out of a profile is one of our own tokens: it is never used and never adopted. */
export function isOwnToken(secret: { startsWith(prefix: string): boolean }): boolean {
  return secret.startsWith('pab_') || secret.startsWith(`${USER}:pab_`)
}
/** Whether this is what `PREFECT_CLOUD_API_URL` is for a job that goes through our proxy. */

export function isProxyBase(cloudApiUrl: string): boolean {
  const url = parseHttpUrl(cloudApiUrl)
  if (url === undefined || !LOOPBACK.test(url.hostname)) return false
  return parseProxyTarget(url.pathname.replace(/\/+$/, ''))?.path === ''
}
/**
 * What a URL of our own proxy stands for; `undefined` for every other URL. `ownAddresses` are the `host:port` that our TCP
 * door answers to. A workspace on any loopback port counts too: the port may have been another one yesterday.
 */

export function unproxiedUrl(apiUrl: string, ownAddresses: readonly string[] = []): ProxiedUrl | undefined {
  const url = parseHttpUrl(apiUrl)
  const target = url === undefined ? undefined : parseProxyTarget(url.pathname)
  if (url === undefined || target === undefined) return undefined
  const isOwn = ownAddresses.includes(url.host)
  const path = target.path.replace(/\/+$/, '')
  const isWorkspace = LOOPBACK.test(url.hostname) && workspaceIdsOf(path) !== undefined
  return isOwn || isWorkspace ? { profile: target.profile, path } : undefined
}
/** `PREFECT_API_URL` as it was before it went through our proxy: of Cloud alone, where the base is known. */

export function upstreamUrlOf({ path }: ProxiedUrl, cloudApiUrl: string): string | undefined {
  const url = `${cloudApiUrl}${path}`
  return path !== '' && isCloudApiUrl(url, cloudApiUrl) ? url : undefined
}
interface ProxiedUrl {
  /** The profile that the URL goes through. */
  readonly profile: string
  /** What is below the API's base: `/accounts/A/workspaces/W`, or empty. */
  readonly path: string
}
const LOOPBACK = /^(?:localhost|127(?:\.\d+){3}|\[::1\])$/
