/** The page of this machine: a listener of its own, opened when the owner asks for a link, closed when it is idle. */
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { BrokerError, shuttingDown } from '../base/errors.js'
import type { Events } from '../base/events.js'
import { guarded } from '../http/guarded.js'
import { renderProblem, toBrokerError } from '../http/problem.js'
import type { Trail } from '../http/trail.js'
import type { Peer } from '../os/peer.js'
import { type Clock, MINUTE_MS, SECOND_MS, type Timer } from '../std/clock.js'
import type { Log } from '../std/log.js'
import type { Secret } from '../std/secret.js'
import type { PageDocument } from './document.js'
import { type PageOrigin, pageOrigin, requireNavigation, requireSession, requireSwap } from './gate.js'
import { createPageSessions, type PageSession, type PageSessions } from './sessions.js'

/** Without a request for so long, the listener closes. An open event stream alone is no use. */
const IDLE_MS = 10 * MINUTE_MS
/** Whoever saw the link in a browser's arguments is found out by the browser itself, which uses it a moment later. */
const ANSWER_AFTER_MS = 5 * SECOND_MS
const SWAP_PATH = '/session'
const MAX_SWAP_BYTES = 256

export interface PageLink {
  /** `http://127.0.0.1:PORT/#SECRET`: works once, until `expiresAt` (epoch ms). */
  readonly url: string
  readonly expiresAt: number
}

export interface Page {
  /** Opens the listener if it is closed, and makes a link. Rejects with `page_unavailable`. */
  link(maker?: Peer): Promise<PageLink>
  /**
   * Whose answers those of this page are: the program that asked for its link, or the page would be a way around the rules
   * for the command line. Throws `ask_answer_refused` for a page that was opened just now.
   */
  answerer(request: IncomingMessage): Peer | undefined
  /** Throws unless the request comes from our own script in an open page. Counts as use. */
  admit(request: IncomingMessage): void
  /** Handles the requests that need no session. Returns false if the request is for the API. */
  handle(request: IncomingMessage, response: ServerResponse): boolean
  /** Where it listens; absent: it does not. */
  address(): string | undefined
  close(): void
}

interface PageParts {
  readonly clock: Clock
  readonly log: Log
  readonly events: Pick<Events, 'emit'>
  readonly trail: Pick<Trail, 'done'>
  readonly randomToken: () => string
  readonly loadDocument: () => Promise<PageDocument>
  /** Makes the server whose requests come to `handle`, else to the API behind `admit`. */
  readonly openServer: () => Server
}

export function createPage(parts: PageParts): Page {
  const { clock, log, randomToken, loadDocument, openServer } = parts
  const sessions = createPageSessions({ clock, randomToken })
  const crowd = createCrowd()
  const swap = createSwap(parts, { sessions, onAlarm: crowd.cutEnded })
  let open: { readonly server: Server; readonly own: PageOrigin; readonly document: PageDocument } | undefined
  let opening: Promise<void> | undefined
  let isStopped = false
  let usedAt = 0
  let timer: Timer | undefined

  const shut = () => {
    timer?.cancel()
    sessions.end()
    open?.server.close()
    open?.server.closeAllConnections()
    open = undefined
  }
  const look = () => {
    const left = usedAt + IDLE_MS - clock.monotonic()
    if (left <= 0) return shut()
    timer = clock.after(left, look)
  }
  const use = () => {
    usedAt = clock.monotonic()
  }
  const listen = async () => {
    const document = await loadDocument()
    const server = openServer()
    server.on('error', (error) => log.error({ error }, 'page listener failed'))
    const port = await listenAnywhere(server)
    open = { server, own: pageOrigin(port), document }
    if (isStopped) shut()
    use()
    look()
  }
  const requireOpen = () => {
    if (open === undefined) throw shuttingDown()
    return open
  }
  const answer = async (request: IncomingMessage, response: ServerResponse) => {
    const { own, document } = requireOpen()
    if (request.url === SWAP_PATH) {
      const bearer = await swap(request, own)
      use()
      const body = JSON.stringify({ bearer: bearer.reveal() }) // why: the script that shows the link gets it, once
      return send(response, 200, 'application/json', body)
    }
    if (request.method !== 'GET') throw methodNotAllowed('GET')
    requireNavigation(request, own)
    send(response, 200, 'text/html; charset=utf-8', document.html, document.headers)
  }

  return {
    async link(maker) {
      if (isStopped) throw shuttingDown()
      if (open === undefined) {
        opening ??= listen().finally(() => {
          opening = undefined
        })
        await opening
      }
      use()
      const { own } = requireOpen()
      const { secret, expiresAt } = sessions.link(maker)
      crowd.cutEnded()
      return { url: `${own.origin}/#${secret.reveal()}`, expiresAt } // why: the owner asked for a link
    },
    answerer(request) {
      const { maker, openedAt } = requireSession(request, requireOpen().own, sessions)
      if (clock.monotonic() - openedAt >= ANSWER_AFTER_MS) return maker
      throw new BrokerError(
        'ask_answer_refused',
        'this page was opened just now; answer again in five seconds',
      )
    },
    admit(request) {
      crowd.enter(request.socket, requireSession(request, requireOpen().own, sessions))
      use()
    },
    handle(request, response) {
      const path = request.url
      if (path !== '/' && path !== SWAP_PATH) return false
      answer(request, response).catch(
        guarded(response, (thrown: unknown) => refuse(response, toBrokerError(thrown))),
      )
      return true
    },
    address: () => open?.own.origin,
    close() {
      isStopped = true
      shut()
    },
  }
}

/** Who is connected with which session: an event stream outlives its request, and must end with its session. */
function createCrowd() {
  const sockets = new Map<Socket, PageSession>()
  return {
    enter(socket: Socket, session: PageSession) {
      if (!sockets.has(socket)) socket.once('close', () => sockets.delete(socket))
      sockets.set(socket, session)
    },
    /** What was written before, such as the alarm, still arrives. `but`: of the request that is being answered. */
    cutEnded(but?: Socket) {
      for (const [socket, session] of sockets) if (session.isOver() && socket !== but) socket.end()
    },
  }
}

/** Swaps a link for a bearer. The second use of a link is an alarm. */
function createSwap(
  { events, trail, log }: PageParts,
  { sessions, onAlarm }: { readonly sessions: PageSessions; readonly onAlarm: (socket: Socket) => void },
) {
  return async (request: IncomingMessage, own: PageOrigin): Promise<Secret> => {
    if (request.method !== 'POST') throw methodNotAllowed('POST')
    requireSwap(request, own)
    const swapped = sessions.swap(await readLink(request))
    if (swapped.kind === 'opened') {
      trail.done(request, BROWSER, 'page_opened')
      events.emit('page.opened')
      return swapped.bearer
    }
    if (swapped.kind === 'unknown') throw linkRefused('this link has expired: it works for a minute')
    trail.done(request, BROWSER, 'page_alarm')
    events.emit('page.alarm')
    log.warn({ hint: 'prefect-auth audit' }, 'a page link was used twice; its page was closed')
    onAlarm(request.socket)
    throw linkRefused('this link was used before, by you or by somebody else; the page it opened was closed')
  }
}

const BROWSER = { door: 'page' } as const

function linkRefused(detail: string): BrokerError {
  return new BrokerError('token_invalid', detail, { hint: 'prefect-auth ui' })
}

function listenAnywhere(server: Server): Promise<number> {
  return new Promise((resolve, reject) => {
    const onError = (cause: Error) =>
      reject(new BrokerError('page_unavailable', 'cannot open a port for the page', { cause }))
    server.once('error', onError)
    server.listen({ host: '127.0.0.1', port: 0, exclusive: true }, () => {
      server.off('error', onError)
      const address = server.address()
      if (typeof address === 'object' && address !== null) resolve(address.port)
    })
  })
}

/** The link's secret in `{"link": "…"}`. Throws `bad_request`. */
async function readLink(request: IncomingMessage): Promise<string> {
  let text = ''
  request.setEncoding('utf8')
  for await (const piece of request) {
    text += String(piece)
    if (text.length > MAX_SWAP_BYTES) break
  }
  const [, link] = /^\{"link":"([\w-]{43})"\}$/.exec(text) ?? []
  if (link === undefined) throw new BrokerError('bad_request', 'this is not a link to the page')
  return link
}

function methodNotAllowed(method: string): BrokerError {
  return new BrokerError('method_not_allowed', `this path accepts only ${method}`)
}

function refuse(response: ServerResponse, error: BrokerError): void {
  if (response.headersSent) {
    response.destroy()
    return
  }
  const problem = renderProblem(error)
  send(response, problem.status, 'application/problem+json', JSON.stringify(problem), { connection: 'close' })
}

/** Of everything that this listener sends. */
const HEADERS = {
  'cache-control': 'no-store',
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
  'cross-origin-resource-policy': 'same-origin',
  'cross-origin-opener-policy': 'same-origin',
  'x-frame-options': 'DENY',
} as const

function send(
  response: ServerResponse,
  status: number,
  type: string,
  body: string,
  more: Readonly<Record<string, string>> = {},
): void {
  response
    .writeHead(status, {
      ...HEADERS,
      'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
      ...more,
      'content-type': type,
      'content-length': Buffer.byteLength(body),
    })
    .end(body)
}
