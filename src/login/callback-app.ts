/** What a login's port accepts: a key by GET or POST and a failure by POST; all else is refused before routing. */

import type { IncomingMessage } from 'node:http'
import cors from '@fastify/cors'
import fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify'
import { z } from 'zod'
import { WITHOUT_AJV } from '../http/schema.js'
import type { Secret } from '../std/secret.js'
import { type CallbackRules, keysIn, readDelivery, readKey, refuseCallback } from './delivery.js'

export interface CallbackRequest {
  /** The only `Origin` that may post. */
  readonly uiOrigin: string
  /** Unguessable text for the callback's path; if set, requests without it are refused. */
  readonly state?: string
  /** Its hash instead, after a restart. */
  readonly stateHash?: string
  /** A well-formed key was delivered. Returns true if it is accepted, false while another one is being checked. */
  onDelivery(key: Secret, via: 'get' | 'post'): boolean
  /** The page reports a failed login in its own, untrusted words. Returns true if the report is accepted. */
  onFailure(reason: string): boolean
  /** A request was refused. `why` is one of our own words, never text from the request. */
  onRefused(why: string): void
}

type Refuse = (reply: FastifyReply, status: number, why: string) => FastifyReply

const BODY_LIMIT = 4 * 1024

/** This port never shows a page, nothing it sends is cached, and no referrer reveals where a key came from. */
const HEADERS = {
  'cache-control': 'no-store',
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
  'cross-origin-resource-policy': 'same-origin',
  'x-frame-options': 'DENY',
  'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
} as const

const successBody = z.object({ api_key: z.string() })
const failureBody = z.object({ reason: z.string() })

/** Does not listen: `routing` takes requests. Its logger is off, because a URL here may contain a key. */
export async function buildCallbackApp(
  request: CallbackRequest,
  rules: CallbackRules,
): Promise<FastifyInstance> {
  const app = fastify({
    logger: false,
    bodyLimit: BODY_LIMIT,
    exposeHeadRoutes: false,
    schemaController: WITHOUT_AJV,
    // Malformed URLs never reach a hook.
    frameworkErrors: (_error, incoming, reply) => {
      reply.headers(HEADERS)
      guard(incoming, reply)
      if (!reply.sent) refuse(reply, 400, 'url')
    },
  })

  function refuse(reply: FastifyReply, status: number, why: string): FastifyReply {
    request.onRefused(why)
    return reply.code(leavesNoTrace(reply.request.raw, status) ? 205 : status).send()
  }

  function guard({ raw }: FastifyRequest, reply: FastifyReply): void {
    const { method = '', url: target = '', headers, headersDistinct } = raw
    const refusal = refuseCallback({ method, target, headers, hosts: headersDistinct.host ?? [] }, rules)
    if (refusal) refuse(reply, refusal.status, refusal.why)
    else if (method === 'OPTIONS') request.onRefused('preflight')
  }

  // On the root and before everything else: @fastify/cors would answer a preflight for any Host.
  app.addHook('onRequest', (incoming, reply, done) => {
    reply.headers(HEADERS)
    guard(incoming, reply)
    if (!reply.sent) done()
  })
  await app.register(cors, { origin: request.uiOrigin, methods: ['POST'], allowedHeaders: ['content-type'] })
  acceptJsonOnly(app)
  app.setNotFoundHandler((_incoming, reply) => refuse(reply, 404, 'path'))
  app.setErrorHandler((error, _incoming, reply) => {
    const status = statusOf(error)
    return refuse(reply, status, status === 500 ? 'error' : 'body')
  })
  addRoutes(app, request, rules.stateHash === undefined ? '' : '/:state', refuse)
  await app.ready()
  return app
}

function addRoutes(app: FastifyInstance, request: CallbackRequest, base: string, refuse: Refuse): void {
  const byGet = (incoming: FastifyRequest, reply: FastifyReply) => {
    const key = readDelivery(incoming.raw.url ?? '')
    if (key === 'no key') return refuse(reply, 404, key)
    if (key === 'key') return refuse(reply, 422, key)
    if (!request.onDelivery(key, 'get')) return refuse(reply, 409, 'busy')
    // The one success after which no file of the browser contains the key.
    return reply.code(204).send()
  }
  app.get(`${base}/`, byGet)
  if (base !== '') app.get(base, byGet)

  app.post(`${base}/success`, (incoming, reply) => {
    const body = successBody.safeParse(incoming.body)
    const key = body.success ? readKey(body.data.api_key) : undefined
    if (key === undefined) return refuse(reply, 422, 'body')
    return request.onDelivery(key, 'post') ? sendNull(reply) : refuse(reply, 409, 'busy')
  })

  app.post(`${base}/failure`, (incoming, reply) => {
    const body = failureBody.safeParse(incoming.body)
    if (!body.success) return refuse(reply, 422, 'body')
    return request.onFailure(body.data.reason) ? sendNull(reply) : refuse(reply, 409, 'busy')
  })
}

/** The same response as Prefect's own listener sends. */
function sendNull(reply: FastifyReply): FastifyReply {
  return reply.type('application/json').send('null')
}

/** By default fastify also parses text/plain, which a form on any page can send. */
function acceptJsonOnly(app: FastifyInstance): void {
  app.removeAllContentTypeParsers()
  app.addContentTypeParser(
    'application/json',
    { parseAs: 'string' },
    app.getDefaultJsonParser('error', 'error'),
  )
}

/**
 * Whether a refusal must be sent as 205. A browser that shows an error page keeps the URL, and the key in it, in its session
 * files (measured: Chromium 156); after 204 or 205 it keeps nothing. 403 and 421 go to requests that cannot be a navigation
 * of ours.
 */
function leavesNoTrace({ method, url = '' }: IncomingMessage, status: number): boolean {
  return method === 'GET' && status !== 403 && status !== 421 && keysIn(url).length > 0
}

function statusOf(error: unknown): number {
  const status = typeof error === 'object' && error !== null && 'statusCode' in error ? error.statusCode : 500
  if (status === 413 || status === 415) return status
  // 422 for a body that is not JSON, as Prefect's own listener does.
  return typeof status === 'number' && status >= 400 && status < 500 ? 422 : 500
}
