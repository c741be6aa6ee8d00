/** Failures as RFC 9457 problem details, or as one harmless line if a shell evaluates the answer. */

import type { IncomingMessage, ServerResponse } from 'node:http'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { BrokerError } from '../base/errors.js'
import { type Clock, SECOND_MS } from '../std/clock.js'
import { defined } from '../std/defined.js'
import type { Log } from '../std/log.js'
import type { Problem } from '../wire/common.js'
import type { ErrorKind } from '../wire/kinds.js'
import { failureLine, shellOf } from './shell.js'

const STATUS: Readonly<Record<ErrorKind, number>> = {
  invalid: 400,
  unauthorized: 401,
  login: 401,
  denied: 403,
  misdirected: 421,
  not_found: 404,
  conflict: 409,
  too_large: 413,
  unsupported: 415,
  too_many: 429,
  unavailable: 503,
  upstream: 502,
  internal: 500,
}

export function statusOf(error: BrokerError): number {
  return error.code === 'method_not_allowed' ? 405 : STATUS[error.kind]
}

export function renderProblem(error: BrokerError): Problem {
  return {
    type: `urn:prefect-auth:${error.code}`,
    title: error.code.replaceAll('_', ' '),
    status: statusOf(error),
    detail: error.message,
    code: error.code,
    kind: error.kind,
    ...defined({ hint: error.hint }),
  }
}

/**
 * A BrokerError as it is, fastify's errors translated, everything else as an opaque `internal` with the error as its cause.
 * Fastify's messages are not passed on: they quote what was sent.
 */
export function toBrokerError(error: unknown): BrokerError {
  if (error instanceof BrokerError) return error
  const { code, statusCode } = frameworkFacts(error)
  if (code === 'FST_ERR_CTP_BODY_TOO_LARGE') {
    return new BrokerError('body_too_large', 'the body is larger than 16 KiB')
  }
  if (code === 'FST_ERR_CTP_INVALID_MEDIA_TYPE') {
    return new BrokerError('media_type_unsupported', 'the body must be JSON', {
      hint: 'send Content-Type: application/json',
    })
  }
  if (code === 'FST_ERR_BAD_URL') return new BrokerError('bad_request', 'the path cannot be decoded')
  if (code === 'FST_ERR_MAX_PARAM_LENGTH') return new BrokerError('bad_request', 'the path is too long')
  if (statusCode >= 400 && statusCode < 500) {
    return new BrokerError('bad_request', 'the body is not one valid JSON document', { cause: error })
  }
  return new BrokerError('internal', 'something went wrong inside the daemon', {
    hint: 'prefect-auth logs',
    cause: error,
  })
}

function frameworkFacts(error: unknown): { readonly code: string; readonly statusCode: number } {
  if (!(error instanceof Error)) return { code: '', statusCode: 0 }
  return {
    code: 'code' in error && typeof error.code === 'string' ? error.code : '',
    statusCode: 'statusCode' in error && typeof error.statusCode === 'number' ? error.statusCode : 0,
  }
}

interface Problems {
  /** Sends the failure and returns it; an unknown error is logged whole and sent as an opaque 500. */
  send(request: FastifyRequest, reply: FastifyReply, thrown: unknown): BrokerError
}

export function createProblems({ clock, log }: { clock: Clock; log: Log }): Problems {
  return {
    send(request, reply, thrown) {
      const error = toBrokerError(thrown)
      if (error.kind === 'internal') {
        log.error({ err: error.cause ?? error, route: request.routeOptions.url ?? '' }, 'request failed')
      }
      reply.code(statusOf(error)).headers(headersOf(error, clock))
      const shell = shellOf(request)
      if (shell === undefined) {
        reply.type('application/problem+json').send(JSON.stringify(renderProblem(error)))
      } else {
        reply.type('text/plain; charset=utf-8').send(failureLine(shell, error.code))
      }
      return error
    },
  }
}

/** Sends the failure of a request that the framework never had. */
export function writeProblem(
  { url = '', headers }: IncomingMessage,
  response: ServerResponse,
  error: BrokerError,
  clock: Clock,
): void {
  const isShell = /^\/v1\/env(?:\?|$)/.test(url) && !headers.accept?.includes('application/problem+json')
  const [type, body] = isShell
    ? ['text/plain; charset=utf-8', failureLine('sh', error.code)]
    : ['application/problem+json', JSON.stringify(renderProblem(error))]
  response.writeHead(statusOf(error), {
    ...headersOf(error, clock),
    'content-type': type,
    'content-length': Buffer.byteLength(body),
    connection: 'close',
  })
  response.end(body)
}

function headersOf(error: BrokerError, clock: Clock): Record<string, string> {
  return {
    'cache-control': 'no-store',
    // A web page must not find out by an <img> or a <script> that something listens here.
    'x-content-type-options': 'nosniff',
    'cross-origin-resource-policy': 'same-origin',
    ...defined({
      'www-authenticate': error.kind === 'unauthorized' ? challenge(error) : undefined,
      'retry-after': error.retryAt === undefined ? undefined : secondsUntil(error.retryAt, clock.now()),
    }),
  }
}

function challenge(error: BrokerError): string {
  return error.code === 'token_invalid' ? 'Bearer error="invalid_token"' : 'Bearer'
}

function secondsUntil(at: number, now: number): string {
  return String(Math.max(1, Math.ceil((at - now) / SECOND_MS)))
}
