/** A proxied request: sent to the upstream, its response streamed back, sent once more after a 401. */
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Dispatcher } from 'undici'
import { pairs } from '../http/headers.js'
import type { TlsSettings } from '../prefect/connection.js'
import type { Clock } from '../std/clock.js'
import { createDeadlines } from '../std/deadlines.js'
import type { Log } from '../std/log.js'
import type { Visit } from './admission.js'
import { type BodyLimits, type ProxyBody, readBody } from './body.js'
import { createBudget, type Purse } from './budget.js'
import { type Gate, sendUnder } from './gate.js'
import {
  type Authorizer,
  addCustomHeaders,
  byName,
  contentLength,
  headerTexts,
  localLocation,
  requestHeaders,
  responseHeaders,
} from './headers.js'
import { keyRejected, upstreamFailed } from './parking.js'
import type { Renew } from './rejection.js'
import { bodyUnder, mustReadWhole } from './ruling.js'
import type { Meter } from './traffic.js'
import type { Turnstile } from './turnstile.js'

interface Exchange {
  readonly visit: Visit
  readonly request: IncomingMessage
  readonly response: ServerResponse
  readonly meter: Meter
}

interface ExchangeParts {
  readonly gate: Pick<Gate, 'concerns'>
  readonly turnstile: Turnstile
  readonly renew: Renew
  readonly authorizer: Authorizer
  readonly dispatcherFor: (origin: string, tls?: TlsSettings) => Promise<Dispatcher>
  readonly limits: BodyLimits & { readonly answerMs: number }
  readonly clock: Clock
  readonly log: Log
}

/** The function that it returns resolves when the client has its response, and rejects with the refusal to send instead. */
export function createExchange({
  gate,
  turnstile,
  renew,
  authorizer,
  dispatcherFor,
  limits,
  clock,
  log,
}: ExchangeParts) {
  const send = async ({ visit, request, response, meter }: Exchange, body: ProxyBody): Promise<Outcome> => {
    const { target, upstream } = visit
    const authorization = authorizer.header(visit.served, upstream)
    const headers = requestHeaders(request.rawHeaders)
    addCustomHeaders(headers, upstream)
    if (authorization !== undefined) headers.push('authorization', authorization)
    if (body.kind === 'stream') headers.push('content-length', String(body.length))
    const dispatcher = await dispatcherFor(upstream.origin, upstream.connection?.tls)
    const outcome = await new Promise<Outcome>((resolve) => {
      if (response.destroyed) return resolve({ kind: 'answered', bytes: 0 })
      dispatcher.dispatch(
        {
          origin: upstream.origin,
          path: `${upstream.basePath}${target.path}${target.query}` || '/',
          method: request.method ?? 'GET',
          headers,
          body: openBody(body),
          headersTimeout: limits.answerMs,
          // Event streams may be silent for as long as they like.
          bodyTimeout: 0,
        },
        createHandler(visit, response, resolve),
      )
    })
    meter.bytes(sentOf(body), outcome.kind === 'answered' ? outcome.bytes : 0)
    return outcome
  }

  /** How to send a request once more that got no response; `undefined` if there is nothing left to do. Rejects to refuse. */
  const secondTry = async (
    outcome: Outcome,
    visit: Visit,
    { mayResend, isRead, isLast }: Readonly<Record<'mayResend' | 'isRead' | 'isLast', boolean>>,
  ): Promise<{ readonly visit: Visit; readonly because: string } | undefined> => {
    switch (outcome.kind) {
      case 'answered':
        return undefined
      case 'rejected': {
        if (isLast) throw keyRejected(visit.served.profile)
        const renewed = await renew(visit)
        // The client still has the body: once parked, it sends the request again.
        if (!mayResend) throw keyRejected(visit.served.profile)
        return { visit: renewed, because: 'Prefect rejected the key' }
      }
      case 'failed': {
        const { error, wasSent, begun } = outcome
        if (begun) return undefined
        // An idle connection that was closed just now; reading twice does nothing twice.
        if (wasSent && isRead && isBrokenConnection(error)) return { visit, because: 'the connection broke' }
        throw upstreamFailed(visit.upstream.origin, error, wasSent)
      }
    }
  }

  const deadlines = createDeadlines(clock)
  const budget = createBudget({ total: limits.keptBytes, perHolder: limits.keptPerCaller })
  return async (exchange: Exchange): Promise<void> => {
    const purse = budget.open(exchange.visit.token?.id ?? 'owner')
    try {
      await forward(exchange, purse)
    } finally {
      purse.close()
    }
  }

  async function forward(exchange: Exchange, purse: Purse): Promise<void> {
    const { visit, request, response } = exchange
    const isWhole = gate.concerns(request, visit) || mustReadWhole(request.method, visit)
    const read = await readBody(request, limits, deadlines, purse, { isWhole })
    const body = bodyUnder(visit.ruling, visit.target.path, request.headers, read)
    if (response.destroyed) return
    // What is sent once more after a 401 is the same request: it needs no other yes.
    await sendUnder(turnstile(request, visit, body), () => sendTwice(exchange, body))
  }

  async function sendTwice(exchange: Exchange, body: ProxyBody): Promise<void> {
    const { visit, request, meter } = exchange
    const first = await send(exchange, body)
    if (first.kind === 'answered') return
    const isRead = body.kind === 'none' && (request.method === 'GET' || request.method === 'HEAD')
    const again = await secondTry(first, visit, {
      mayResend: body.kind !== 'stream',
      isRead,
      isLast: false,
    })
    if (again === undefined) return
    meter.replay()
    log.debug({ profile: visit.served.profile, because: again.because }, 'proxied request sent again')
    const second = await send({ ...exchange, visit: again.visit }, body)
    // Nothing is sent a third time.
    await secondTry(second, again.visit, { mayResend: false, isRead: false, isLast: true })
  }
}

function openBody(body: ProxyBody) {
  switch (body.kind) {
    case 'none':
      return null
    case 'whole':
      return body.bytes
    case 'stream':
      return body.open()
  }
}

/** What went out, and not what was announced. */
function sentOf(body: ProxyBody): number {
  switch (body.kind) {
    case 'none':
      return 0
    case 'whole':
      return body.bytes.length
    case 'stream':
      return body.sent()
  }
}

function isBrokenConnection(error: unknown): boolean {
  const code = error instanceof Error && 'code' in error ? error.code : undefined
  return code === 'UND_ERR_SOCKET' || code === 'ECONNRESET' || code === 'EPIPE'
}

type Outcome =
  /** The client has its response, or is gone. */
  | { readonly kind: 'answered'; readonly bytes: number }
  /** 401 to our key; nothing of it went to the client. */
  | { readonly kind: 'rejected' }
  /** `begun`: the client has the beginning of a response that will never be complete. */
  | {
      readonly kind: 'failed'
      readonly error: unknown
      readonly wasSent: boolean
      readonly begun: boolean
    }

/** A body of at most this length is held back, to send head and body in one piece. */
const ONE_PIECE_BYTES = 64 * 1024

/** Calls `resolve` once. Undici's raw handler: the friendlier ones join headers of one name, and cost more than the request. */
function createHandler(
  visit: Visit,
  response: ServerResponse,
  resolve: (outcome: Outcome) => void,
): Dispatcher.DispatchHandler {
  const relocate = (location: string) => {
    const ours = { origin: `http://${response.req.headers.host ?? ''}`, prefix: visit.target.prefix }
    return localLocation(location, visit.upstream, ours)
  }
  let abort: ((error?: Error) => void) | undefined
  let isOver = false
  let begun = false
  let isRejected = false
  let bytes = 0
  let onePiece: number | undefined
  let piece: Buffer | undefined
  const finish = (outcome: Outcome) => {
    response.off('close', leave)
    resolve(outcome)
  }
  const leave = () => {
    if (response.writableFinished) return
    isOver = true
    abort?.(new Error('the client has gone'))
    finish({ kind: 'answered', bytes })
  }
  response.on('close', leave)
  return {
    onConnect(cancel) {
      abort = cancel
      if (isOver) cancel(new Error('the client has gone'))
    },
    onHeaders(status, rawHeaders, resume) {
      const raw = headerTexts(rawHeaders)
      if (status < 200) {
        inform(response, status, raw)
        return true
      }
      // About our key, and so not for the client.
      if (status === 401) {
        isRejected = true
        return true
      }
      response.sendDate = false
      // Without the upstream's own words for it: anything may be in them.
      response.writeHead(status, responseHeaders(raw, relocate))
      begun = true
      if (status === 304) {
        // It may state the length of what it leaves out (RFC 9110 8.6), which undici waits for and then calls an error.
        isOver = true
        response.end()
        finish({ kind: 'answered', bytes: 0 })
        return true
      }
      onePiece = contentLength(raw)
      // Without a length it may be a stream, whose first event is yet to happen: the head must not wait for it.
      if (onePiece === undefined && status !== 204) response.flushHeaders()
      response.on('drain', resume)
      return true
    },
    onData(chunk) {
      if (isRejected || isOver) return true
      bytes += chunk.length
      // The whole body is here: head and body in one write.
      if (chunk.length === onePiece && chunk.length <= ONE_PIECE_BYTES) {
        piece = chunk
        return true
      }
      return response.write(chunk)
    },
    onComplete(trailers) {
      if (isOver) return
      if (isRejected) return finish({ kind: 'rejected' })
      addTrailers(response, trailers)
      if (piece === undefined) response.end()
      else response.end(piece)
      finish({ kind: 'answered', bytes })
    },
    onError(error) {
      if (isOver) return
      if (begun) response.destroy()
      finish({ kind: 'failed', error, wasSent: abort !== undefined, begun })
    },
  }
}

/** Passes on informational responses, as far as Node can send them: what it cannot is no reason to lose the answer. */
function inform(response: ServerResponse, status: number, raw: readonly string[]): void {
  try {
    if (status === 102) response.writeProcessing()
    if (status !== 103) return
    const { link } = byName(raw)
    if (link !== undefined) response.writeEarlyHints({ link })
  } catch {
    return
  }
}

function addTrailers(response: ServerResponse, trailers: readonly (string | Buffer)[] | null): void {
  if (trailers === null || trailers.length === 0) return
  response.addTrailers(
    Array.from(pairs(headerTexts(trailers)), ([name, value]): [string, string] => [name, value]),
  )
}
