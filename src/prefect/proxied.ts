/** URLs and tokens of our own proxy, `/proxy/{profile}/api/**`: made, read, and turned back into Prefect's. */

import { isCloudApiUrl, parseHttpUrl, workspaceIdsOf } from './api-url.js'
import { isLoopbackHost } from './way-out.js'

export interface ProxyTarget {
  readonly profile: string
  /** What stands beside the profile in a job's URL: admits a WebSocket without credentials to sending events. */
  readonly ticket?: string
  /** Our part of the path, as it was requested: `/proxy/{profile}/api`. */
  readonly prefix: string
  /** What follows the API's base, as it was requested: empty, or with a leading slash. */
  readonly path: string
  /** With its question mark, or empty. */
  readonly query: string
}

/** A profile's own `;` is percent-encoded, by us and by every client that encodes names. */
const TARGET = /^(\/proxy\/([^/?#\\]+?)(?:;events=([\w-]{43}))?\/api)(\/[^?#]*)?(\?[^#]*)?$/

/** Whether the request is for the proxy, even if it is refused there. */
export function isProxyTarget(target: string): boolean {
  return target.startsWith('/proxy/')
}

/** `undefined`: no profile's API has this path. */
export function parseProxyTarget(target: string): ProxyTarget | undefined {
  const [, prefix, encoded, ticket, path = '', query = ''] = TARGET.exec(target) ?? []
  if (prefix === undefined || encoded === undefined) return undefined
  const profile = decode(encoded)
  if (profile === undefined) return undefined
  const plain = { profile, prefix, path, query }
  return ticket === undefined ? plain : { ...plain, ticket }
}

/** The path of a profile's API on our own server, with the ticket of a job that has one. */
export function proxyPrefix(profile: string, ticket?: string): string {
  return `/proxy/${encodeURIComponent(profile)}${ticket === undefined ? '' : `;events=${ticket}`}/api`
}

/** Percent-decoded; `undefined` if that is not UTF-8. */
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

/** The token in an `Authorization` header: Bearer, in any case, or Basic. `undefined` if it is not one of ours. */
export function tokenInHeader(authorization: string): string | undefined {
  // As nearly all clients write it.
  if (authorization.startsWith('Bearer ')) {
    const token = authorization.slice('Bearer '.length)
    if (TOKEN.test(token)) return token
  }
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

/** What the client of a server gets instead of the auth string. */
export function tokenAuthString(token: string): string {
  return `${USER}:${token}`
}

/** Whether a key or an auth string from a profile is one of our own tokens, which is never used or adopted. */
export function isOwnToken(secret: { startsWith(prefix: string): boolean }): boolean {
  return secret.startsWith('pab_') || secret.startsWith(`${USER}:pab_`)
}
/** Whether this is `PREFECT_CLOUD_API_URL` as a job behind our proxy gets it. */
export function isProxyBase(cloudApiUrl: string): boolean {
  const url = parseHttpUrl(cloudApiUrl)
  if (url === undefined || !isLoopbackHost(url.hostname)) return false
  return parseProxyTarget(url.pathname.replace(/\/+$/, ''))?.path === ''
}

export interface ProxiedUrl {
  /** The profile that the URL goes through. */
  readonly profile: string
  /** What follows the API's base: `/accounts/A/workspaces/W`, or empty. */
  readonly path: string
}

/**
 * The profile and path of a URL of our own proxy; `undefined` for each other URL. `ownAddresses` are the `host:port` of our
 * TCP listener. A workspace on any loopback port counts, too: the port may have changed since.
 */
export function unproxiedUrl(apiUrl: string, ownAddresses: readonly string[] = []): ProxiedUrl | undefined {
  const url = parseHttpUrl(apiUrl)
  const target = url === undefined ? undefined : parseProxyTarget(url.pathname)
  if (url === undefined || target === undefined) return undefined
  const isOwn = ownAddresses.includes(url.host)
  const path = target.path.replace(/\/+$/, '')
  const isWorkspace = isLoopbackHost(url.hostname) && workspaceIdsOf(path) !== undefined
  return isOwn || isWorkspace ? { profile: target.profile, path } : undefined
}

/** The same for a URL that stands beside `key`: with a token of ours every path and loopback port of the proxy counts. */
export function proxiedUrlOf(
  apiUrl: string,
  key: { startsWith(prefix: string): boolean } | undefined,
): ProxiedUrl | undefined {
  if (key === undefined || !isOwnToken(key)) return undefined
  const url = parseHttpUrl(apiUrl)
  const target = url && isLoopbackHost(url.hostname) ? parseProxyTarget(url.pathname) : undefined
  return target && { profile: target.profile, path: target.path.replace(/\/+$/, '') }
}

/** The `PREFECT_API_URL` from before it went through our proxy. `undefined` unless it is Cloud's, whose base is known. */
export function upstreamUrlOf({ path }: ProxiedUrl, cloudApiUrl: string): string | undefined {
  const url = `${cloudApiUrl}${path}`
  return path !== '' && isCloudApiUrl(url, cloudApiUrl) ? url : undefined
}
