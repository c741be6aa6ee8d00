/** What answers on a login's port: the key by GET or POST, a failure by POST, and nothing to anyone else. */

import { once } from 'node:events'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { setImmediate } from 'node:timers/promises'
import cors from '@fastify/cors'
import fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify'
import { z } from 'zod'
import { WITHOUT_AJV } from '../http/schema.js'
import { isSendableKey, parseApiKey } from '../prefect/key.js'
import { defined } from '../std/defined.js'
import type { Secret } from '../std/secret.js'
import { type CallbackRules, refuseCallback } from './callback-guard.js'
import type { CallbackRequest, LoginCallback } from './login.js'
import { openLoopbackPair } from './loopback.js'

const BODY_LIMIT = 4 * 1024

/** No page of ours is ever shown on this port, nothing is kept, nothing tells where a key came from. */
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

/** Not listening: `routing` takes requests. Its logger is off, because a URL here may hold a key. */
export async function buildCallbackApp(
  request: CallbackRequest,
  rules: CallbackRules,
): Promise<FastifyInstance> {
  const app = fastify({
    logger: false,
    bodyLimit: BODY_LIMIT,
    exposeHeadRoutes: false,
    schemaController: WITHOUT_AJV,
    // Bad URLs never reach a hook.
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

  // On the root and before anything else: @fastify/cors would answer a preflight of any Host.
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
  addRoutes(app, request, rules.state === undefined ? '' : '/:state', refuse)
  await app.ready()
  return app
}

type Refuse = (reply: FastifyReply, status: number, why: string) => FastifyReply

function addRoutes(app: FastifyInstance, request: CallbackRequest, base: string, refuse: Refuse): void {
  const byGet = (incoming: FastifyRequest, reply: FastifyReply) => {
    const [text, ...others] = keysIn(incoming.raw.url ?? '')
    if (text === undefined) return refuse(reply, 404, 'no key')
    const key = others.length === 0 ? readKey(text) : undefined
    if (key === undefined) return refuse(reply, 422, 'key')
    if (!request.onDelivery(key, 'get')) return refuse(reply, 409, 'busy')
    // The one answer after which the key is nowhere in the browser's files.
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

/** What Prefect's own listener answers. */
function sendNull(reply: FastifyReply): FastifyReply {
  return reply.type('application/json').send('null')
}

/** fastify reads text/plain on its own, which a form on any page can send. */
function acceptJsonOnly(app: FastifyInstance): void {
  app.removeAllContentTypeParsers()
  app.addContentTypeParser(
    'application/json',
    { parseAs: 'string' },
    app.getDefaultJsonParser('error', 'error'),
  )
}

/**
 * A browser that is shown an error keeps the URL, and the key in it, in its session files (measured: Chromium 156). It keeps
 * nothing after 204 or 205: the refusal of a key that a navigation may have brought is the latter. 403 and 421 go to what
 * is no navigation of ours.
 */
function leavesNoTrace({ method, url = '' }: IncomingMessage, status: number): boolean {
  return method === 'GET' && status !== 403 && status !== 421 && keysIn(url).length > 0
}

function keysIn(target: string): readonly string[] {
  const [, query = ''] = /\?(.*)$/s.exec(target) ?? []
  return new URLSearchParams(query).getAll('key')
}

/** `undefined` for what is no key by its form: no person typed it, so nothing is forgiven and nothing explained. */
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
  // A body that is no JSON: 422, as Prefect's own listener answers.
  return typeof status === 'number' && status >= 400 && status < 500 ? 422 : 500
}

export interface CallbackTuning {
  /** Until a whole request must be here, in milliseconds. */
  readonly requestTimeoutMs?: number
  /** The port to try; 0 for any free one. */
  readonly pickPort?: () => number
}

/** An `OpenCallback`: listens at `http://localhost:PORT`. Rejects with `login_port_unavailable`. */
export async function openLoginCallback(
  request: CallbackRequest,
  { requestTimeoutMs = 5_000, pickPort = () => 0 }: CallbackTuning = {},
): Promise<LoginCallback> {
  const { uiOrigin, state } = request
  const hosts = new Set<string>()
  const answering = new Set<ServerResponse>()
  const app = await buildCallbackApp(request, { hosts, uiOrigin, ...defined({ state }) })
  const pair = await openLoopbackPair({
    requestTimeoutMs,
    pickPort,
    handle(incoming, outgoing) {
      answering.add(outgoing)
      outgoing.once('close', () => answering.delete(outgoing))
      app.routing(incoming, outgoing)
    },
  })
  for (const name of ['localhost', '127.0.0.1', '[::1]']) hosts.add(`${name}:${pair.port}`)
  let closing: Promise<void> | undefined

  async function close(): Promise<void> {
    await finishAnswers(answering)
    await pair.close()
    await app.close()
  }

  return {
    callbackUrl: `http://localhost:${pair.port}${state === undefined ? '' : `/${state}`}`,
    port: pair.port,
    close() {
      closing ??= close()
      return closing
    },
  }
}

/** A delivery may end the login: its own answer still goes out. Requests that are not answered yet are cut off. */
async function finishAnswers(answering: ReadonlySet<ServerResponse>): Promise<void> {
  await setImmediate()
  const unsent = [...answering].filter(({ writableEnded, closed }) => writableEnded && !closed)
  await Promise.all(unsent.map((answer) => once(answer, 'close')))
}
