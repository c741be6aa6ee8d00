/**
 * A request with everything that may happen to it: our key refused, the upstream gone, once more with a newer key. What
 * passes by itself is parked, so that no job dies of it.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { type BrokerError, isBrokerError } from '../base/errors.js'
import type { Visit } from './admit.js'
import { attempt, type Outcome } from './attempt.js'
import { type ProxyBody, readBody } from './body.js'
import type { ProxyDeps } from './deps.js'
import { requestHeaders } from './headers.js'
import { brokenOff, keyRejected, unreachable } from './parking.js'
import type { Meter } from './traffic.js'
import { type Authorizer, fingerprintOf } from './upstream.js'

interface Exchange {
  readonly visit: Visit
  readonly request: IncomingMessage
  readonly response: ServerResponse
  readonly meter: Meter
}

/** Resolves when the client has its answer. Rejects with what it is to be told instead. */
export async function exchange(
  { visit, request, response, meter }: Exchange,
  deps: ProxyDeps,
  authorizer: Authorizer,
): Promise<void> {
  const { limits, clock, log } = deps
  const body = await readBody(request, limits, clock)
  const send = (now: Visit) => sendOnce({ visit: now, request, response, meter }, body, deps, authorizer)
  const first = await send(visit)
  const again = await secondChance(first, { visit, method: request.method ?? '', body }, deps)
  if (again.kind === 'none') return
  if (again.kind === 'refuse') throw again.error
  meter.replay()
  log.debug({ profile: visit.served.profile, because: again.because }, 'a proxied request is sent again')
  const second = await send(again.visit)
  const third = await secondChance(second, { visit: again.visit, method: '', body: SPENT }, deps)
  if (third.kind === 'refuse') throw third.error
}

/** Nothing is sent a third time. */
const SPENT: ProxyBody = {
  kind: 'stream',
  length: 0,
  open: () => {
    throw new Error('the body has been sent')
  },
}

async function sendOnce(
  { visit, request, response, meter }: Exchange,
  body: ProxyBody,
  { way, limits }: ProxyDeps,
  authorizer: Authorizer,
): Promise<Outcome> {
  const authorization = authorizer.header(visit.served, visit.upstream)
  const headers = requestHeaders(request.rawHeaders)
  if (authorization !== undefined) headers.push('authorization', authorization)
  if (body.kind === 'stream') headers.push('content-length', String(body.length))
  const dispatcher = await way.dispatcherFor(visit.upstream.origin)
  const outcome = await attempt({
    visit,
    headers,
    body,
    response,
    dispatcher,
    method: request.method ?? 'GET',
    localOrigin: `http://${request.headers.host ?? ''}`,
    answerMs: limits.answerMs,
    isKeyed: true,
  })
  meter.bytes(lengthOf(body), outcome.kind === 'answered' ? outcome.bytes : 0)
  return outcome
}

function lengthOf(body: ProxyBody): number {
  switch (body.kind) {
    case 'none':
      return 0
    case 'whole':
      return body.bytes.length
    case 'stream':
      return body.length
  }
}

type Chance =
  | { readonly kind: 'none' }
  | { readonly kind: 'again'; readonly visit: Visit; readonly because: string }
  | { readonly kind: 'refuse'; readonly error: BrokerError }

/** What becomes of a request that did not get its answer. */
async function secondChance(
  outcome: Outcome,
  { visit, method, body }: { readonly visit: Visit; readonly method: string; readonly body: ProxyBody },
  deps: ProxyDeps,
): Promise<Chance> {
  switch (outcome.kind) {
    case 'answered':
      return { kind: 'none' }
    case 'rejected': {
      const renewed = await renewedVisit(visit, deps)
      if (renewed.kind === 'refuse' || body.kind !== 'stream') return renewed
      // The client still has its body: parked, it sends it again by itself.
      return { kind: 'refuse', error: keyRejected(visit.served.profile) }
    }
    case 'failed': {
      const { error, wasSent, begun } = outcome
      if (begun) return { kind: 'none' }
      // An idle connection that was closed just now; nothing that is only read is done twice.
      const isSafe = method === 'GET' || method === 'HEAD'
      if (wasSent && isSafe && body.kind === 'none' && isBrokenConnection(error)) {
        return { kind: 'again', visit, because: 'the connection broke' }
      }
      return { kind: 'refuse', error: failureOf(visit, error, wasSent) }
    }
  }
}

function failureOf({ upstream }: Visit, error: unknown, wasSent: boolean): BrokerError {
  if (isBrokerError(error)) return error
  return wasSent ? brokenOff(upstream.origin, error) : unreachable(upstream.origin, error)
}

function isBrokenConnection(error: unknown): boolean {
  const code = error instanceof Error && 'code' in error ? error.code : undefined
  return code === 'UND_ERR_SOCKET' || code === 'ECONNRESET' || code === 'EPIPE'
}

/** Looks for a newer key. Its outcome counts, not what it took. */
export async function renewedVisit(visit: Visit, deps: ProxyDeps): Promise<Chance> {
  const { way, credentials, log } = deps
  const { profile } = visit.served
  const rejected = fingerprintOf(visit.served)
  await credentials.refresh()
  if (fingerprintOf(credentials.serve(profile)) === rejected) {
    log.warn({ profile, fingerprint: rejected }, 'Prefect refused the key of a proxied request')
    await way.onRejected(profile, rejected)
  }
  const served = credentials.serve(profile)
  if (fingerprintOf(served) === rejected) return { kind: 'refuse', error: keyRejected(profile) }
  return { kind: 'again', visit: { ...visit, served }, because: 'there is a newer key' }
}
