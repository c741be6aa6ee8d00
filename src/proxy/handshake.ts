/** Pure: what of a WebSocket handshake has to change on its way through the proxy. */
import { requestHeaders } from './headers.js'

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
