/** Forwards an HTTP request to the real server behind a workspace, streaming both ways. */
import { type Agent, request as httpRequest, type IncomingHttpHeaders } from 'node:http'
import { pipeline } from 'node:stream'
import type { UnroutedRequest } from '../server/incoming.js'
import { type Answer, detail } from '../ui/exchange.js'

const HOP_BY_HOP = new Set([
  'connection',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
])

/** Sends it to `url` plus the query, without the key; 502 if the server does not respond. */
export function forwardHttp(parts: {
  readonly request: UnroutedRequest
  readonly url: string
  readonly agent: Agent
}): Promise<Answer> {
  const { request, url, agent } = parts
  const query = request.query.size > 0 ? `?${request.incoming.url?.split('?')[1] ?? ''}` : ''
  return new Promise((resolve) => {
    const outgoing = httpRequest(`${url}${query}`, {
      method: request.method,
      headers: headersFor(request.headers),
      agent,
    })
    outgoing.on('response', (response) => {
      resolve({
        status: response.statusCode ?? 502,
        headers: withoutHops(response.headers, ['date', 'server']),
        body: response,
      })
    })
    outgoing.on('error', (error) => resolve(detail(502, `workspace backend: ${error.message}`)))
    // Errors of either side are reported by the outgoing request.
    pipeline(request.incoming, outgoing, () => {})
  })
}

function headersFor(headers: IncomingHttpHeaders): Record<string, string | string[]> {
  return withoutHops(headers, ['host', 'authorization', 'expect'])
}

function withoutHops(
  headers: IncomingHttpHeaders,
  others: readonly string[],
): Record<string, string | string[]> {
  const kept: Record<string, string | string[]> = {}
  for (const [name, value] of Object.entries(headers)) {
    if (value !== undefined && !HOP_BY_HOP.has(name) && !others.includes(name)) kept[name] = value
  }
  return kept
}
