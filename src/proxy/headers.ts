/** Headers through the proxy: what passes, what we set ourselves, and where redirects lead. */
import { pairs, rewriteHeaders } from '../http/headers.js'
import type { Served } from '../serve/credentials.js'
import type { Upstream } from './admission.js'

// What runs for each request has plain loops over the flat lists: an iterator costs several times as much.

/** For one connection only (RFC 9110 7.6.1). */
const HOP_BY_HOP: ReadonlySet<string> = new Set([
  'connection',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'transfer-encoding',
  'upgrade',
])

/**
 * Ours to set: whom we talk to, as whom, how long the body is, and that nobody is behind us. And what a job must not say:
 * cookies, which are somebody else's login, and another method than the one that was looked at.
 */
const OWN: ReadonlySet<string> = new Set([
  'authorization',
  'content-length',
  'cookie',
  'cookie2',
  'expect',
  'forwarded',
  'host',
  'http-method-override',
  'method-override',
  'trailer',
  'via',
  'x-host',
  'x-http-method',
  'x-http-path-override',
  'x-method',
  'x-real-ip',
])

/** What a request of a job does not bring to the upstream. */
const NOT_SENT: ReadonlySet<string> = new Set([...HOP_BY_HOP, ...OWN])

/** Servers behind us might believe these more than the path that was looked at. */
const DISGUISE = /^x-(?:forwarded|original|rewrite)-|-override$/

/** The request's headers without those of its connection, and without whatever `Connection` names. */
export function requestHeaders(raw: readonly string[]): string[] {
  const named = namedByConnection(raw)
  const kept: string[] = []
  for (let index = 0; index + 1 < raw.length; index += 2) {
    const name = raw[index] ?? ''
    const lower = name.toLowerCase()
    // To a CGI-like server, `X_Original_URL` is `X-Original-URL`.
    const plain = lower.includes('_') ? lower.replaceAll('_', '-') : lower
    if (NOT_SENT.has(plain) || named?.has(lower)) continue
    if (plain.startsWith('x-') && DISGUISE.test(plain)) continue
    kept.push(name, raw[index + 1] ?? '')
  }
  return kept
}

/** Adds the profile's own headers to the request's, where the client has sent none of that name. */
export function addCustomHeaders(headers: string[], { connection }: Upstream): void {
  if (connection?.headers === undefined) return
  for (const [name, value] of connection.headers) {
    const lower = name.toLowerCase()
    const isSent = headers.some((other, index) => index % 2 === 0 && other.toLowerCase() === lower)
    if (!isSent) headers.push(name, value.reveal()) // to the upstream of this very profile
  }
}

/** The upstream's login is ours, and no job's. */
const COOKIES: ReadonlySet<string> = new Set(['set-cookie', 'set-cookie2'])
const NOT_ANSWERED: ReadonlySet<string> = new Set([...HOP_BY_HOP, ...COOKIES])

/** As undici hands them over: buffers, or text. */
type Raw = Buffer | string

/** The response's headers without those of its connection, and without cookies; `relocate` maps the target of a redirect. */
export function responseHeaders(raw: readonly Raw[], relocate: (location: string) => string): string[] {
  const named = namedByConnection(raw)
  const kept: string[] = []
  for (let index = 0; index + 1 < raw.length; index += 2) {
    const name = textOf(raw[index])
    const lower = name.toLowerCase()
    if (NOT_ANSWERED.has(lower) || named?.has(lower)) continue
    const value = textOf(raw[index + 1])
    kept.push(name, lower === 'location' ? relocate(value) : value)
  }
  return kept
}

function namedByConnection(raw: readonly Raw[]): ReadonlySet<string> | undefined {
  // Almost no request names any: no set is made for those.
  let named: Set<string> | undefined
  for (let index = 0; index + 1 < raw.length; index += 2) {
    if (raw[index]?.length !== 10 || textOf(raw[index]).toLowerCase() !== 'connection') continue
    for (const token of textOf(raw[index + 1]).split(',')) {
      const name = token.trim().toLowerCase()
      if (name === '' || name === 'close' || name === 'keep-alive') continue
      named ??= new Set()
      named.add(name)
    }
  }
  return named
}

function textOf(part: Raw | undefined): string {
  return typeof part === 'string' ? part : (part?.toString('latin1') ?? '')
}

/** `Content-Length` as a number; `undefined` if there is none. */
export function contentLength(raw: readonly string[]): number | undefined {
  for (let index = 0; index + 1 < raw.length; index += 2) {
    if (raw[index]?.length !== 14 || raw[index]?.toLowerCase() !== 'content-length') continue
    return Number(raw[index + 1])
  }
  return undefined
}

/** The values of each header by its lower-case name. */
export function byName(raw: readonly string[]): Record<string, string[]> {
  const values: Record<string, string[]> = {}
  for (const [name, value] of pairs(raw)) {
    const lower = name.toLowerCase()
    values[lower] = [...(values[lower] ?? []), value]
  }
  return values
}

export function headerTexts(raw: readonly Raw[] | null): string[] {
  return (raw ?? []).map(textOf)
}

/**
 * A WebSocket client's headers for the upstream. An extension that we do not know might change what frames look like, and
 * the first one has to be read: of those offered, only permessage-deflate is passed on. None is if the handshake was
 * accepted before (`isAccepted`): the client was told so.
 */
export function handshakeHeaders(raw: readonly string[], isAccepted: boolean): string[] {
  const kept = rewriteHeaders(requestHeaders(raw), (name, value) => {
    if (isAccepted && SETTLED.has(name)) return undefined
    const passed = name === 'sec-websocket-extensions' ? deflateOffers(value) : value
    return passed === '' ? undefined : passed
  })
  return isAccepted ? [...kept, 'sec-websocket-protocol', SUBPROTOCOL] : kept
}

/** What an accepted handshake has decided. */
const SETTLED: ReadonlySet<string> = new Set(['sec-websocket-extensions', 'sec-websocket-protocol'])

/** Who offers it authenticates by the first message. */
export const SUBPROTOCOL = 'prefect'

/**
 * The upstream's handshake headers for the client, without cookies. If messages are compressed, the client must not refer
 * back to its first one: the upstream gets that one from us, uncompressed, and would have nothing to look it up in.
 */
export function acceptedHeaders(raw: readonly string[]): readonly string[] {
  return rewriteHeaders(raw, (name, value) => {
    if (COOKIES.has(name)) return undefined
    return name === 'sec-websocket-extensions' ? withoutContext(value) : value
  })
}

function deflateOffers(offers: string): string {
  return offers
    .split(',')
    .map((offer) => offer.trim())
    .filter((offer) => /^permessage-deflate(?:$|[\s;])/i.test(offer))
    .join(', ')
}

function withoutContext(accepted: string): string {
  const isKnown = !/permessage-deflate/i.test(accepted) || /client_no_context_takeover/i.test(accepted)
  return isKnown ? accepted : `${accepted}; client_no_context_takeover`
}

/** A redirect as the client must see it: what is below the upstream's base is below our prefix, all else is unchanged. */
export function localLocation(
  location: string,
  { origin, basePath }: Pick<Upstream, 'origin' | 'basePath'>,
  ours: { readonly origin: string; readonly prefix: string },
): string {
  const own = new URL(origin)
  const absolute = /^https?:\/\//i.test(location)
  if (!absolute && !location.startsWith('/')) return location
  if (!URL.canParse(location, origin) || location.startsWith('//')) return location
  const to = new URL(location, origin)
  // The scheme is not compared: servers behind a TLS proxy call themselves `http`.
  const isOurs = to.hostname === own.hostname && (to.port === own.port || to.port === '')
  const isBelow = to.pathname === basePath || to.pathname.startsWith(`${basePath}/`)
  if (!isOurs || !isBelow) return location
  const local = `${ours.prefix}${to.pathname.slice(basePath.length)}${to.search}${to.hash}`
  return absolute ? `${ours.origin}${local}` : local
}

export interface Authorizer {
  /** The `Authorization` for the upstream; `undefined` if the profile has no secret. */
  header(served: Served, upstream: Upstream): string | undefined
  /** The token for the first frame of a WebSocket; `null` if there is none, as Prefect sends it. */
  frameToken(served: Served): string | null
}

export function createAuthorizer(): Authorizer {
  // What is served is an immutable object: its header is made once.
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

/** Names the secret that is sent, without revealing it; empty if there is none. */
export function fingerprintOf({ kind, apiKey, authString }: Served): string {
  return (kind === 'cloud' ? apiKey : authString)?.fingerprint() ?? ''
}
