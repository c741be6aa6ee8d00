/** A proxied request: sent to the upstream, its response streamed back, sent once more after a 401. */
import type { Dispatcher } from 'undici'
import type { AnyRequest, Response } from '../http/request.js'
import type { DispatcherFor } from '../prefect/agent.js'
import type { Clock } from '../std/clock.js'
import { createDeadlines } from '../std/deadlines.js'
import type { Log } from '../std/log.js'
import type { Visit } from './admission.js'
import { type BodyLimits, type ProxyBody, readBody } from './body.js'
import { createBudget } from './budget.js'
import { type Gate, sendUnder } from './gate.js'
import { type Authorizer, addCustomHeaders, requestHeaders } from './headers.js'
import { createSweep } from './nursery.js'
import { keyRejected, upstreamFailed } from './parking.js'
import type { Renew } from './rejection.js'
import { createRelay, type Outcome } from './relay.js'
import { bodyUnder, mustReadWhole } from './ruling.js'
import type { Meter } from './traffic.js'
import type { Turnstile } from './turnstile.js'

interface Exchange {
  readonly visit: Visit
  readonly request: AnyRequest
  readonly response: Response
  readonly meter: Meter
}

interface ExchangeParts {
  readonly gate: Pick<Gate, 'concerns'>
  readonly turnstile: Turnstile
  readonly renew: Renew
  readonly authorizer: Authorizer
  readonly dispatcherFor: DispatcherFor
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
  const sweep = createSweep()

  /** Rejects only if there is no dispatcher. */
  const send = (exchange: Exchange, body: ProxyBody): Promise<Outcome> => {
    const { origin, connection } = exchange.visit.upstream
    const dispatcher = dispatcherFor(origin, connection?.tls)
    if (!(dispatcher instanceof Promise)) return sendBy(dispatcher, exchange, body)
    return dispatcher.then((opened) => sendBy(opened, exchange, body))
  }

  const sendBy = (
    dispatcher: Dispatcher,
    { visit, request, response, meter }: Exchange,
    body: ProxyBody,
  ): Promise<Outcome> => {
    const { served, target, upstream } = visit
    const authorization = authorizer.header(served, upstream)
    const headers = requestHeaders(request.rawHeaders)
    addCustomHeaders(headers, upstream)
    if (authorization !== undefined) headers.push('authorization', authorization)
    if (body.kind === 'stream') headers.push('content-length', String(body.length))
    return new Promise((resolve) => {
      const finish = (outcome: Outcome) => {
        meter.bytes(sentOf(body), outcome.kind === 'answered' ? outcome.bytes : 0)
        resolve(outcome)
      }
      if (response.destroyed) return finish({ kind: 'answered', bytes: 0 })
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
        createRelay(visit, response, request.headers.host ?? '', finish, sweep),
      )
    })
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
    const { visit, request, response } = exchange
    const purse = budget.open(visit.token?.id ?? 'owner')
    try {
      const isWhole = gate.concerns(request, visit) || mustReadWhole(request.method, visit)
      const read = await readBody(request, limits, deadlines, purse, { isWhole, sweep })
      const body = bodyUnder(visit.ruling, visit.target.path, request.headers, read)
      if (response.destroyed) return
      // What is sent once more after a 401 is the same request: it needs no other yes.
      await sendUnder(turnstile(request, visit, body), () => sendTwice(exchange, body))
    } finally {
      purse.close()
    }
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
