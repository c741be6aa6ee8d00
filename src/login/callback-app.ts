/** What a login's port accepts: a key by GET or POST and a failure by POST; all else is refused before routing. */

import { createHash, timingSafeEqual } from 'node:crypto'
import type { IncomingHttpHeaders, IncomingMessage } from 'node:http'
import cors from '@fastify/cors'
import fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify'
import { z } from 'zod'
import { WITHOUT_AJV } from '../http/schema.js'
import { isSendableKey, parseApiKey } from '../prefect/key.js'
import type { Secret } from '../std/secret.js'

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

/** The parts of a request that are known before its body. */
interface CallbackHead {
  readonly method: string
  /** The request target, unchanged. */
  readonly target: string
  /** Every `Host` header of the request. */
  readonly hosts: readonly string[]
  readonly headers: IncomingHttpHeaders
}

interface CallbackRules {
  /** `localhost:PORT` and its two addresses; empty until the port is bound. */
  readonly hosts: ReadonlySet<string>
  readonly uiOrigin: string
  /** Hash of the first segment of the path, if the login uses one. */
  readonly stateHash?: string
}

interface Refusal {
  readonly status: number
  /** One of our own words: text from the request is never logged. */
  readonly why: string
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

/** The one key in the query of a GET; else our word for what is wrong with it. */
export function readDelivery(target: string): Secret | 'no key' | 'key' {
  const [text, ...others] = keysIn(target)
  if (text === undefined) return 'no key'
  return (others.length === 0 ? readKey(text) : undefined) ?? 'key'
}

function keysIn(target: string): readonly string[] {
  const [, query = ''] = /\?(.*)$/s.exec(target) ?? []
  return new URLSearchParams(query).getAll('key')
}

/** Returns `undefined` unless `text` has the form of a key: no person typed it, so no error needs an explanation. */
function readKey(text: string): Secret | undefined {
  if (!isSendableKey(text)) return undefined
  try {
    return parseApiKey(text)
  } catch {
    return undefined
  }
}

function statusOf(error: unknown): number {
  const status = typeof error === 'object' && error !== null && 'statusCode' in error ? error.statusCode : 500
  if (status === 413 || status === 415) return status
  // 422 for a body that is not JSON, as Prefect's own listener does.
  return typeof status === 'number' && status >= 400 && status < 500 ? 422 : 500
}

/** Pure: returns why the request cannot be a delivery, or `undefined`. */
export function refuseCallback(head: CallbackHead, rules: CallbackRules): Refusal | undefined {
  const [host, ...others] = head.hosts
  // DNS rebinding, HTTP/1.0 and a second Host: only the names in our own URL are accepted.
  if (host === undefined || others.length > 0 || !rules.hosts.has(host)) return { status: 421, why: 'host' }
  if (!head.target.startsWith('/')) return { status: 400, why: 'target' }
  if (head.headers.upgrade !== undefined) return { status: 400, why: 'upgrade' }
  // Speculation rules reach loopback from any page, and no person has seen that navigation.
  if (head.headers['sec-purpose'] !== undefined || head.headers.purpose !== undefined) {
    return { status: 403, why: 'speculation' }
  }
  return refuseMethod(head, rules) ?? refusePath(head.target, rules.stateHash)
}

function refuseMethod({ method, headers }: CallbackHead, { uiOrigin }: CallbackRules): Refusal | undefined {
  switch (method) {
    case 'GET': {
      // A top-level navigation has no Origin; the fetch metadata identify requests of scripts and frames.
      const { 'sec-fetch-mode': mode = 'navigate', 'sec-fetch-dest': dest = 'document' } = headers
      if (headers.origin !== undefined) return { status: 403, why: 'origin' }
      return mode === 'navigate' && dest === 'document' ? undefined : { status: 403, why: 'not a navigation' }
    }
    case 'POST':
      // Exactly this string: `null` (sandboxed frames, files) and a missing Origin are not the UI.
      return headers.origin === uiOrigin ? undefined : { status: 403, why: 'origin' }
    case 'OPTIONS':
      if (headers.origin !== uiOrigin) return { status: 403, why: 'origin' }
      return headers['access-control-request-method'] === 'POST'
        ? undefined
        : { status: 400, why: 'preflight' }
    default:
      return { status: 405, why: 'method' }
  }
}

function refusePath(target: string, stateHash: string | undefined): Refusal | undefined {
  if (stateHash === undefined) return undefined
  const [, segment = ''] = /^\/([^/?]*)/.exec(target) ?? []
  const [given, wanted] = [hashState(segment), stateHash].map((text) => Buffer.from(text, 'hex'))
  // In constant time: the duration of a failed attempt must not reveal how much of it was right.
  const isRight = given !== undefined && given.length === wanted?.length && timingSafeEqual(given, wanted)
  return isRight ? undefined : { status: 404, why: 'state' }
}

/** What is kept of the text in a callback's path. */
export function hashState(state: string): string {
  return createHash('sha256').update(state).digest('hex')
}
