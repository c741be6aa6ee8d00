/** Pure: which headers go through a proxy. Lists are flat, name after value, as they came. */

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

/** Ours to say: whom we talk to, as whom, how long the body is, and that nobody stands behind us. */
const OWN: ReadonlySet<string> = new Set([
  'authorization',
  'content-length',
  'expect',
  'forwarded',
  'host',
  'trailer',
  'via',
  'x-real-ip',
])

/** The request's headers without those of this connection, and without whatever `Connection` names. */
export function requestHeaders(raw: readonly string[]): string[] {
  const named = namedByConnection(raw)
  const kept: string[] = []
  for (let index = 0; index + 1 < raw.length; index += 2) {
    const name = raw[index] ?? ''
    const lower = name.toLowerCase()
    if (HOP_BY_HOP.has(lower) || OWN.has(lower) || named?.has(lower)) continue
    if (lower.startsWith('x-forwarded-')) continue
    kept.push(name, raw[index + 1] ?? '')
  }
  return kept
}

/** The answer's headers without those of its connection; `location` is what becomes of a redirect. */
export function responseHeaders(raw: readonly string[], location: (value: string) => string): string[] {
  const named = namedByConnection(raw)
  const kept: string[] = []
  for (let index = 0; index + 1 < raw.length; index += 2) {
    const name = raw[index] ?? ''
    const lower = name.toLowerCase()
    if (HOP_BY_HOP.has(lower) || named?.has(lower)) continue
    const value = raw[index + 1] ?? ''
    kept.push(name, lower === 'location' ? location(value) : value)
  }
  return kept
}

/** Almost nobody names any, so there is no set for nobody. */
function namedByConnection(raw: readonly string[]): ReadonlySet<string> | undefined {
  let named: Set<string> | undefined
  for (let index = 0; index + 1 < raw.length; index += 2) {
    if (raw[index]?.length !== 10 || raw[index]?.toLowerCase() !== 'connection') continue
    for (const token of (raw[index + 1] ?? '').split(',')) {
      const name = token.trim().toLowerCase()
      if (name === '' || name === 'close' || name === 'keep-alive') continue
      named ??= new Set()
      named.add(name)
    }
  }
  return named
}

/** The value of a header that must stand there at most once: `undefined` for none, `many` for more. */
export function singleHeader(
  raw: readonly string[],
  wanted: string,
): { readonly kind: 'none' } | { readonly kind: 'one'; readonly value: string } | { readonly kind: 'many' } {
  let found: string | undefined
  for (let index = 0; index + 1 < raw.length; index += 2) {
    const name = raw[index] ?? ''
    if (name.length !== wanted.length || name.toLowerCase() !== wanted) continue
    if (found !== undefined) return { kind: 'many' }
    found = raw[index + 1] ?? ''
  }
  return found === undefined ? { kind: 'none' } : { kind: 'one', value: found }
}

/**
 * The client's headers for the upstream. An extension that we do not know might change how frames look, and the first one
 * has to be read: of those offered only permessage-deflate goes on.
 */
export function handshakeHeaders(raw: readonly string[]): string[] {
  const headers = requestHeaders(raw)
  const kept: string[] = []
  for (let index = 0; index + 1 < headers.length; index += 2) {
    const name = headers[index] ?? ''
    const value = headers[index + 1] ?? ''
    const isOffer = name.toLowerCase() === 'sec-websocket-extensions'
    const offers = isOffer ? deflateOf(value) : value
    if (offers !== '') kept.push(name, offers)
  }
  return kept
}

/**
 * The upstream's headers for the client. Where messages are compressed, the client must not refer back to its first one: the
 * upstream gets that one from us, uncompressed, and would look for it in vain.
 */
export function acceptedHeaders(raw: readonly string[], isFirstRead: boolean): string[] {
  if (!isFirstRead) return [...raw]
  const changed: string[] = []
  for (let index = 0; index + 1 < raw.length; index += 2) {
    const name = raw[index] ?? ''
    const value = raw[index + 1] ?? ''
    const isExtension = name.toLowerCase() === 'sec-websocket-extensions'
    changed.push(name, isExtension ? withoutContext(value) : value)
  }
  return changed
}

function deflateOf(offers: string): string {
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
