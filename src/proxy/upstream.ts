/** Pure: where a profile's API really is, and how its addresses turn into ours and back. */
import { parseHttpUrl } from '../prefect/api-url.js'
import type { ResolvedProfile } from '../profiles/profile.js'
import type { Served } from '../serve/credentials.js'

export interface Upstream {
  /** `https://api.prefect.cloud` */
  readonly origin: string
  /** `api.prefect.cloud`; with its port where that is not the scheme's own. */
  readonly host: string
  /** `/api`; no trailing slash, empty where the API is at the root. */
  readonly basePath: string
  /** `user:password` that stands in the URL itself. */
  readonly userinfo?: string
}

/** The same, remembered: a resolved profile never changes, so its URL is read once and not at every request. */
export function createUpstreams(): typeof upstreamOf {
  const known = new WeakMap<ResolvedProfile, Upstream>()
  return (profile) => {
    const upstream = known.get(profile) ?? upstreamOf(profile)
    if (upstream !== undefined) known.set(profile, upstream)
    return upstream
  }
}

/** The API that stands behind `/proxy/{profile}/api`; `undefined` where the profile has none. */
export function upstreamOf({ kind, cloudApiUrl, apiUrl }: ResolvedProfile): Upstream | undefined {
  const url = parseHttpUrl((kind === 'cloud' ? cloudApiUrl : apiUrl) ?? '')
  if (url === undefined || kind === 'none') return undefined
  const { username, password } = url
  return {
    origin: url.origin,
    host: url.host,
    basePath: url.pathname.replace(/\/+$/, ''),
    ...(username === '' && password === ''
      ? {}
      : { userinfo: `${unescaped(username)}:${unescaped(password)}` }),
  }
}

/** A password with a bare `%` in it is taken as it stands. */
function unescaped(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}

/**
 * A redirect as the client must see it: below the upstream's base it is below our prefix, anything else stays as it is.
 * Servers behind a TLS proxy say `http` of themselves: the scheme is not looked at.
 */
export function localLocation(
  location: string,
  { origin, basePath }: Upstream,
  ours: { readonly origin: string; readonly prefix: string },
): string {
  const own = new URL(origin)
  const absolute = /^https?:\/\//i.test(location)
  if (!absolute && !location.startsWith('/')) return location
  if (!URL.canParse(location, origin) || location.startsWith('//')) return location
  const to = new URL(location, origin)
  const isOurs = to.hostname === own.hostname && (to.port === own.port || to.port === '')
  const isBelow = to.pathname === basePath || to.pathname.startsWith(`${basePath}/`)
  if (!isOurs || !isBelow) return location
  const local = `${ours.prefix}${to.pathname.slice(basePath.length)}${to.search}${to.hash}`
  return absolute ? `${ours.origin}${local}` : local
}

export interface Authorizer {
  /** The `Authorization` for the upstream; `undefined` where the profile has no secret. */
  header(served: Served, upstream: Upstream): string | undefined
  /** The token of the first frame of a WebSocket; `null` where there is none, as Prefect sends it. */
  frameToken(served: Served): string | null
}

export function createAuthorizer(): Authorizer {
  // An answer is an immutable object: its header is made once.
  const headers = new WeakMap<Served, string>()
  return {
    header(served, upstream) {
      const known = headers.get(served)
      if (known !== undefined) return known
      const made = headerOf(served, upstream)
      if (made !== undefined) headers.set(served, made)
      return made
    },
    frameToken: ({ kind, apiKey, authString }) => (kind === 'cloud' ? apiKey : authString)?.reveal() ?? null, // to the upstream of this very profile
  }
}

function headerOf({ kind, apiKey, authString }: Served, { userinfo }: Upstream): string | undefined {
  if (kind === 'cloud') return apiKey === undefined ? undefined : `Bearer ${apiKey.reveal()}` // to the upstream of this very profile
  const login = authString?.reveal() ?? userinfo // to the upstream of this very profile
  return login === undefined ? undefined : `Basic ${Buffer.from(login).toString('base64')}`
}

/** Names what was sent without telling it: empty where nothing was. */
export function fingerprintOf({ kind, apiKey, authString }: Served): string {
  return (kind === 'cloud' ? apiKey : authString)?.fingerprint() ?? ''
}
