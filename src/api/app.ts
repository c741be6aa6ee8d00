/** The HTTP API: one fastify instance behind every door. It never listens itself. */
import type { Server } from 'node:http'
import fastify, { type FastifyReply, type FastifyRequest } from 'fastify'
import { BrokerError } from '../base/errors.js'
import { createHolds, shuttingDown } from '../http/conditional.js'
import { createDoorkeeper, createGuard, type Guard } from '../http/guard.js'
import { createActBook, createPresenceBook, type Presence } from '../http/presence.js'
import { createProblems } from '../http/problem.js'
import { type ApiServer, compileValidator, WITHOUT_AJV } from '../http/schema.js'
import { createDoorServer, reenter, type ServerLimits } from '../http/server.js'
import { createTrail } from '../http/trail.js'
import { type ApiProxy, createProxy, PROXY_LIMITS } from '../proxy/proxy.js'
import type { Door } from '../tokens/access.js'
import type { AppDeps, RouteContext } from './context.js'
import { credentialsRoutes } from './credentials.js'
import { daemonRoutes, eventRoutes, openapiRoutes, vaultRoutes } from './daemon.js'
import { envRoutes, proxyEnvRoutes } from './env.js'
import { createEventStreams } from './events.js'
import { healthRoutes } from './health.js'
import { keyRoutes, renewalRoutes } from './keys.js'
import { loginRoutes } from './logins.js'
import { createMetrics } from './metrics.js'
import { createRouteBook, type RouteFacts } from './openapi.js'
import { logoutRoutes, profileRoutes } from './profiles.js'
import { statusRoutes } from './status.js'
import { auditRoutes, tokenRoutes } from './tokens.js'
import { workspaceRoutes } from './workspaces.js'

const BODY_LIMIT_BYTES = 16 * 1024

export interface App {
  /** A server for one door, not listening yet. `hosts`: more names that the TCP door answers to. */
  openServer(
    door: Door,
    options?: { readonly hosts?: readonly string[]; readonly limits?: Partial<ServerLimits> },
  ): Server
  /** Every route, for tests and documents. */
  readonly routes: readonly RouteFacts[]
  /** What went through the proxy since the start. */
  readonly proxyTraffic: ApiProxy['traffic']
  /** Who is connected at the doors, and how much is being done for callers, be they gone. */
  presence(): Presence & { readonly acts: number }
  /** At once: what comes after this is not accepted here. What is open goes on. */
  shutDoors(): void
  /**
   * Ends held answers with `shutting_down` and all event streams, closes every server that was opened here, and resolves when
   * the last answer is out, or cuts what is left after `graceMs`.
   */
  close(graceMs?: number): Promise<void>
}

/** Ready to be served. Rejects where a route does not say which power it needs. */
export async function buildApp(deps: AppDeps): Promise<App> {
  const doorkeeper = createDoorkeeper()
  const context = {
    ...deps,
    guard: createGuard({ doorkeeper, tokens: deps.tokens }),
    holds: createHolds(),
    trail: createTrail(deps),
    metrics: createMetrics(),
    streams: createEventStreams(deps),
    book: createRouteBook(),
    acts: createActBook(),
  }
  const servers = new Set<Server>()
  const presence = createPresenceBook(deps.clock)
  const own = createOwnAddresses()
  const proxy = createProxy({
    ...{ ...context, doorkeeper, limits: { ...PROXY_LIMITS, ...deps.proxyLimits } },
    ownAddresses: own.list,
  })
  const api = await buildServer(
    { ...context, proxyTraffic: proxy.traffic },
    (request) => doorkeeper.entranceOf(request.raw.socket)?.door,
  )
  return {
    routes: context.book.routes(),
    proxyTraffic: proxy.traffic,
    openServer(door, { hosts = [], limits } = {}) {
      const server = createDoorServer(
        door,
        (request, response) => {
          if (proxy.takes(request)) proxy.handle(request, response)
          else api.routing(request, response)
        },
        limits,
        proxy.takes,
      )
      server.on('upgrade', (request, socket, head) => {
        const isWebSocket = request.headers.upgrade?.toLowerCase() === 'websocket'
        if (isWebSocket && proxy.takes(request)) proxy.upgrade(request, socket, head)
        else reenter(server, request, socket, head)
      })
      doorkeeper.watch(server, door, hosts)
      presence.watch(server)
      own.add(server, hosts)
      servers.add(server)
      return server
    },
    presence: () => ({ ...presence.look(), acts: context.acts.underWay() }),
    shutDoors() {
      for (const server of servers) server.close()
    },
    async close(graceMs = 2_000) {
      proxy.stop()
      context.holds.stop()
      context.streams.stop()
      const cut = deps.clock.after(graceMs, () => {
        for (const server of servers) server.closeAllConnections()
      })
      await Promise.all([...servers].map(closed))
      cut.cancel()
      await api.close()
    },
  }
}

/**
 * What was accepted before the listeners closed is still answered where that changes nothing and ends at once: where the
 * system keeps the sockets, nobody notices a restart.
 */
function isQuickLook({ method, routeOptions }: FastifyRequest): boolean {
  return method === 'GET' && routeOptions.url !== '/v1/events'
}

type DoorOf = (request: FastifyRequest) => Door | undefined

/** The guard is the first hook of the root instance, and stands before the router's own refusals too. */
async function buildServer(context: RouteContext, doorOf: DoorOf): Promise<ApiServer> {
  const { acts, book, guard, holds, metrics } = context
  const refuse = createRefusal(context, doorOf)
  const api: ApiServer = fastify({
    logger: false,
    bodyLimit: BODY_LIMIT_BYTES,
    exposeHeadRoutes: false,
    schemaController: WITHOUT_AJV,
    // Twice as long as the longest name with every character encoded is more than anyone needs.
    routerOptions: { maxParamLength: 1_000 },
    frameworkErrors: (error, request, reply) => refuse(guarded(guard, request, error), request, reply),
  })
  api.addHook('onRequest', (request, reply, done) => {
    reply.header('cache-control', 'no-store')
    guard.admit(request)
    if (holds.isStopping() && !isQuickLook(request)) throw shuttingDown()
    done()
  })
  api.addHook('onRoute', (route) => {
    book.enter(route)
    acts.watch(route)
  })
  api.addHook('onResponse', (request, reply, done) => {
    metrics.answered(request.method, request.routeOptions.url ?? '', reply.statusCode)
    // A kept-alive connection would hold the shutdown up.
    if (holds.isStopping()) request.raw.socket.end()
    done()
  })
  api.setErrorHandler((error, request, reply) => refuse(error, request, reply))
  api.setNotFoundHandler((request, reply) => {
    const methods = book.methodsFor(request.url)
    if (methods.length > 0) reply.header('allow', methods.join(', '))
    throw unknownRoute(methods)
  })
  takeJsonOnly(api)
  registerRoutes(api, context)
  await api.ready()
  return api
}

function createRefusal({ trail, guard, clock, log }: RouteContext, doorOf: DoorOf) {
  const problems = createProblems({ clock, log })
  return (thrown: unknown, request: FastifyRequest, reply: FastifyReply) => {
    const error = problems.send(request, reply, thrown)
    const door = doorOf(request)
    if (door !== undefined) trail.refused(request, door, guard.knownCaller(request), error)
  }
}

/** The router's own refusals skip the hooks: the guard speaks first there as well. */
function guarded(guard: Guard, request: FastifyRequest, error: unknown): unknown {
  try {
    guard.admit(request)
    return error
  } catch (refusal) {
    return refusal
  }
}

function unknownRoute(methods: readonly string[]): BrokerError {
  if (methods.length === 0) {
    return new BrokerError('not_found', 'there is nothing at this path', {
      hint: 'GET /openapi.json lists what there is',
    })
  }
  return new BrokerError('method_not_allowed', `this path takes ${methods.join(', ')} only`)
}

/** fastify reads text/plain by itself, which a web page may send without asking. */
function takeJsonOnly(api: ApiServer): void {
  api.removeAllContentTypeParsers()
  api.addContentTypeParser(
    'application/json',
    { parseAs: 'string' },
    api.getDefaultJsonParser('error', 'error'),
  )
  api.setValidatorCompiler(compileValidator)
  // Answers are made field by field by the render files; tests hold them to their schemas.
  api.setSerializerCompiler(() => JSON.stringify)
}

/** Under which `host:port` we are reached ourselves. Asked for at every proxied request: the system is asked once. */
function createOwnAddresses() {
  const hosts = new Set<string>()
  const unknown = new Set<Server>()
  let list: readonly string[] = []
  const settle = (server: Server) => {
    if (!server.listening) return
    unknown.delete(server)
    for (const name of loopbackNames(server)) hosts.add(name)
    list = [...hosts]
  }
  return {
    add(server: Server, named: readonly string[]) {
      unknown.add(server)
      for (const name of named) hosts.add(name)
      list = [...hosts]
    },
    list() {
      for (const server of unknown) settle(server)
      return list
    },
  }
}

/** `host:port` of a TCP door, under the names that every one of them has. */
function loopbackNames(server: Server): readonly string[] {
  const address = server.address()
  if (address === null || typeof address === 'string') return []
  return [`127.0.0.1:${address.port}`, `localhost:${address.port}`, `[::1]:${address.port}`]
}

function closed(server: Server): Promise<void> {
  return new Promise((resolve) => {
    if (!server.listening) return resolve()
    server.close(() => resolve())
  })
}

/** In the order of the documentation. */
function registerRoutes(api: ApiServer, context: RouteContext): void {
  const nouns = [
    credentialsRoutes,
    envRoutes,
    proxyEnvRoutes,
    statusRoutes,
    profileRoutes,
    workspaceRoutes,
    loginRoutes,
    logoutRoutes,
    keyRoutes,
    renewalRoutes,
    tokenRoutes,
    eventRoutes,
    auditRoutes,
    vaultRoutes,
    daemonRoutes,
    healthRoutes,
    openapiRoutes,
  ]
  for (const register of nouns) register(api, context)
}
