/** What the page's listener lets in: its own document, its own script, and no other web page. */
import type { IncomingMessage } from 'node:http'
import { BrokerError } from '../base/errors.js'
import { headerValues } from '../http/headers.js'
import type { PageSession, PageSessions } from './sessions.js'

/** `http://127.0.0.1:PORT`: the only host, and the only origin, that the page's listener knows. */
export interface PageOrigin {
  readonly host: string
  readonly origin: string
}

export function pageOrigin(port: number): PageOrigin {
  const host = `127.0.0.1:${port}`
  return { host, origin: `http://${host}` }
}

/** For the document: a person's navigation. Throws `host_refused`, `browser_refused`, `bad_request`. */
export function requireNavigation(request: IncomingMessage, own: PageOrigin): void {
  requireOwnHost(request, own)
  const site = only(request, 'sec-fetch-site')
  // `cross-site` is a link on some page: it has no secret, and no reason to open ours.
  if (site !== undefined && site !== 'none' && site !== 'same-origin') throw foreignPage()
  if (!isAbsentOr(only(request, 'sec-fetch-mode'), 'navigate')) throw foreignPage()
  if (!isAbsentOr(only(request, 'sec-fetch-dest'), 'document')) throw foreignPage()
  if (only(request, 'sec-purpose') !== undefined) throw foreignPage()
}

/** For a POST that swaps the link. Throws as `requireNavigation` does. */
export function requireSwap(request: IncomingMessage, own: PageOrigin): void {
  requireOwnHost(request, own)
  requireOwnScript(request, own)
  if (only(request, 'origin') !== own.origin) throw foreignPage()
  if (only(request, 'content-type') !== 'application/json') {
    throw new BrokerError('media_type_unsupported', 'the body must be JSON')
  }
}

/** For everything behind the swap: our own script, with the bearer of its session. Throws `token_invalid` as well. */
export function requireSession(
  request: IncomingMessage,
  own: PageOrigin,
  sessions: PageSessions,
): PageSession {
  requireOwnHost(request, own)
  requireOwnScript(request, own)
  const origin = only(request, 'origin')
  const isRead = request.method === 'GET'
  if (origin !== own.origin && !(isRead && origin === undefined)) throw foreignPage()
  const [, bearer] = /^Bearer ([\w-]{43})$/.exec(only(request, 'authorization') ?? '') ?? []
  const session = bearer === undefined ? undefined : sessions.find(bearer)
  if (session === undefined) throw pageClosed()
  return session
}

function requireOwnHost(request: IncomingMessage, own: PageOrigin): void {
  if (only(request, 'host') !== own.host) {
    throw new BrokerError('host_refused', `the page is at ${own.origin}/ and nowhere else`, {
      hint: 'prefect-auth ui',
    })
  }
  if (!request.url?.startsWith('/') || request.headers.upgrade !== undefined) {
    throw new BrokerError('bad_request', 'the request must name a path and must not ask for an upgrade')
  }
}

function requireOwnScript(request: IncomingMessage, own: PageOrigin): void {
  // Browsers that do not trust loopback (Safari) do not send these.
  if (!isAbsentOr(only(request, 'sec-fetch-site'), 'same-origin')) throw foreignPage()
  if (!isAbsentOr(only(request, 'sec-fetch-dest'), 'empty')) throw foreignPage()
  const referer = only(request, 'referer')
  if (referer !== undefined && referer !== `${own.origin}/`) throw foreignPage()
}

/** The value of a header that must not come twice; a second one is refused like a foreign page's. */
function only({ rawHeaders }: IncomingMessage, name: string): string | undefined {
  const [value, ...others] = headerValues(rawHeaders, name)
  if (others.length > 0) throw foreignPage()
  return value
}

function isAbsentOr(value: string | undefined, wanted: string): boolean {
  return value === undefined || value === wanted
}

function foreignPage(): BrokerError {
  return new BrokerError('browser_refused', 'requests from other web pages are refused')
}

function pageClosed(): BrokerError {
  return new BrokerError('token_invalid', 'this page has been closed', { hint: 'prefect-auth ui' })
}
