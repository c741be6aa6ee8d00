/** The HTTP API: one fastify instance behind every listener. It never listens itself. */
import type { IncomingMessage, Server } from 'node:http'
import fastify, { type FastifyRequest } from 'fastify'
import { shuttingDown } from '../base/errors.js'
import { createHolds } from '../http/conditional.js'
import { createDoorkeeper, createGuard } from '../http/guard.js'
import { guarded } from '../http/guarded.js'
import { createLookOutside } from '../http/outside.js'
import { type Crowd, createPlaces, type PlaceLimits, type Places } from '../http/places.js'
import { type ApiServer, compileValidator, WITHOUT_AJV } from '../http/schema.js'
import {
  createDoorServer,
  createOwnAddresses,
  createPresenceBook,
  PLACES,
  type Presence,
  reenter,
  type ServerLimits,
} from '../http/server.js'
import { createTrail } from '../http/trail.js'
import { createPage, type Page } from '../page/page.js'
import { isProxyTarget } from '../prefect/proxied.js'
import { type ApiProxy, createProxy, PROXY_LIMITS } from '../proxy/proxy.js'
import type { Door } from '../tokens/access.js'
import { type ActBook, createActBook } from './acts.js'
import { askRoutes } from './asks.js'
import type { AppDeps, RouteContext } from './context.js'
import { credentialsRoutes } from './credentials.js'
import { daemonRoutes, vaultRoutes } from './daemon.js'
import { envRoutes } from './env.js'
import { fileRoutes } from './files.js'
import { createHandOut } from './hand-out.js'
import { createHot } from './hot.js'
import { keyRoutes } from './keys.js'
import { loginRoutes } from './logins.js'
import { auditRoutes } from './observe/audit.js'
import { createEventStreams, eventRoutes } from './observe/events.js'
import { healthRoutes } from './observe/health.js'
import { createMetrics, metricsRoutes } from './observe/metrics.js'
import { createRouteBook, openapiRoutes, type RouteFacts } from './observe/openapi.js'
import { statusRoutes } from './observe/status.js'
import { pageRoutes } from './page.js'
import { policyRoutes } from './policies.js'
import { profileRoutes } from './profiles.js'
import { createRefusal, type DoorOf, guardsRefusal, unknownRoute } from './refusal.js'
import { serviceAccountRoutes } from './service-accounts.js'
import { shareRoutes } from './shares.js'
import { tokenRoutes } from './tokens.js'
import { workspaceRoutes } from './workspaces.js'

const BODY_LIMIT_BYTES = 16 * 1024

/** In the order of docs/api.md. */
const NOUNS = [
  credentialsRoutes,
  envRoutes,
  statusRoutes,
  profileRoutes,
  workspaceRoutes,
  loginRoutes,
  keyRoutes,
  serviceAccountRoutes,
  shareRoutes,
  tokenRoutes,
  pageRoutes,
  policyRoutes,
  askRoutes,
  fileRoutes,
  eventRoutes,
  auditRoutes,
  vaultRoutes,
  daemonRoutes,
  healthRoutes,
  metricsRoutes,
  openapiRoutes,
] as const

export type DoorLimits = Partial<ServerLimits> & { readonly places?: PlaceLimits }
export type DoorCrowd = Crowd & { readonly door: Door }

export interface App {
  /** A server for one door, not listening yet. `hosts`: further names that the TCP door accepts. */
  openServer(
    door: Door,
    options?: { readonly hosts?: readonly string[]; readonly limits?: DoorLimits },
  ): Server
  /** Every route, for tests and documents. */
  readonly routes: readonly RouteFacts[]
  readonly page: Pick<Page, 'link'>
  readonly proxyTraffic: ApiProxy['traffic']
  readonly proxyStrangers: ApiProxy['strangers']
  /** Who holds the places of the listeners where a token is needed. */
  crowds(): readonly DoorCrowd[]
  /** Who is connected, and how many changes are under way, even if their callers have gone. */
  presence(): Presence & { readonly acts: number }
  /** Stops accepting connections at once; open ones go on. */
  shutDoors(): void
  /**
   * Ends held answers with `shutting_down` and all event streams, and closes every server that was opened here. Resolves
   * when the last answer is out; cuts what is left after `graceMs`.
   */
  close(graceMs?: number): Promise<void>
}

/** Resolves when it is ready to serve; rejects if a route does not say which power it needs. */
export async function buildApp(deps: AppDeps): Promise<App> {
  const doorkeeper = createDoorkeeper()
  const trail = createTrail(deps)
  const metrics = createMetrics()
  const lookOutside = createLookOutside(deps)
  const context = {
    ...deps,
    guard: createGuard({ doorkeeper, tokens: deps.tokens, lookOutside }),
    holds: createHolds(),
    trail,
    metrics,
    handOut: createHandOut({ credentials: deps.credentials, metrics, trail }),
    streams: createEventStreams(deps),
    book: createRouteBook(),
  }
  const acts = createActBook()
  const servers = new Set<Server>()
  const presence = createPresenceBook(deps.clock)
  const doors: { readonly door: Door; readonly places: Places }[] = []
  const crowds = () => doors.map(({ door, places }) => ({ door, ...places.look() }))
  const own = createOwnAddresses()
  const { clock, log, tokens, credentials, way } = deps
  const proxy = createProxy({
    clock,
    log,
    trail: context.trail,
    tokens,
    credentials,
    doorkeeper,
    lookOutside,
    way,
    gate: deps.desk.gate,
    ownAddresses: own.list,
    allowed: deps.proxyAllow ?? [],
    limits: { ...PROXY_LIMITS, ...deps.proxyLimits },
  })
  const page = createPage({
    ...{ clock, log, events: deps.events, trail: context.trail, ...deps.page },
    openServer: () => openPageServer(),
  })
  const api = await buildServer(
    { ...context, page, proxyTraffic: proxy.traffic, proxyStrangers: proxy.strangers, crowds },
    acts,
    (request) => doorkeeper.entranceOf(request.raw.socket)?.door,
  )
  const hot = createHot(context)
  /** No proxy, no upgrade, no token: the page's gate is all there is. */
  const openPageServer = (): Server => {
    const server = createDoorServer('page', (request, response) => {
      if (!page.handle(request, response)) api.routing(request, response)
    })
    server.on('upgrade', (_request, socket) => socket.destroy())
    server.on('close', () => servers.delete(server))
    doorkeeper.watch(server, 'page', [], { gate: page.admit })
    presence.watch(server)
    servers.add(server)
    return server
  }
  return {
    routes: context.book.routes(),
    page,
    proxyTraffic: proxy.traffic,
    proxyStrangers: proxy.strangers,
    openServer(door, { hosts = [], limits } = {}) {
      const places =
        door === 'restricted' || door === 'tcp' ? createPlaces(limits?.places ?? PLACES, clock) : undefined
      if (places !== undefined) doors.push({ door, places })
      const server = createDoorServer(
        door,
        (request, response) => {
          places?.asked(request, response)
          if (isProxied(request)) proxy.handle(request, response)
          else hot(request, response, () => api.routing(request, response))
        },
        limits,
        isProxied,
      )
      server.on('upgrade', (request, socket, head) =>
        guarded(socket, () => {
          const isWebSocket = request.headers.upgrade?.toLowerCase() === 'websocket'
          if (isWebSocket && isProxied(request)) proxy.upgrade(request, socket, head)
          else reenter(server, request, socket, head)
        })(),
      )
      doorkeeper.watch(server, door, hosts, { places })
      presence.watch(server)
      own.add(server, hosts)
      servers.add(server)
      return server
    },
    crowds,
    presence: () => ({ ...presence.look(), acts: acts.underWay() }),
    shutDoors() {
      for (const server of servers) server.close()
    },
    async close(graceMs = 2_000) {
      proxy.stop()
      page.close()
      context.holds.stop()
      context.streams.stop()
      context.trail.close()
      deps.desk.asks.close()
      const cut = deps.clock.after(graceMs, () => {
        for (const server of servers) server.closeAllConnections()
      })
      await Promise.all([...servers].map(closed))
      cut.cancel()
      await api.close()
    },
  }
}

function isProxied({ url }: IncomingMessage): boolean {
  return isProxyTarget(url ?? '')
}

/**
 * Whether a request that was accepted before the listeners closed is still answered: it changes nothing and ends at once.
 * With sockets that the system keeps open, nobody notices a restart then.
 */
function isQuickLook({ method, routeOptions }: FastifyRequest): boolean {
  return method === 'GET' && routeOptions.url !== '/v1/events'
}

/** Whether the caller may be the command that made a change; a login's end is read. */
function endsChange({ method, routeOptions }: FastifyRequest): boolean {
  return !['GET', 'HEAD'].includes(method) || routeOptions.url === '/v1/logins/:id'
}

/** The guard is the first hook of the root instance, and also runs before the router's own refusals. */
async function buildServer(context: RouteContext, acts: ActBook, doorOf: DoorOf): Promise<ApiServer> {
  const { book, guard, holds, metrics } = context
  const refuse = createRefusal(context, doorOf)
  const api: ApiServer = fastify({
    logger: false,
    bodyLimit: BODY_LIMIT_BYTES,
    exposeHeadRoutes: false,
    schemaController: WITHOUT_AJV,
    // Room for the longest profile name with every character percent-encoded.
    routerOptions: { maxParamLength: 1_000 },
    frameworkErrors: (error, request, reply) => refuse(guardsRefusal(guard, request, error), request, reply),
  })
  api.addHook('onRequest', (request, reply, done) => {
    reply.header('cache-control', 'no-store')
    guard.admit(request)
    if (holds.isStopping() && !isQuickLook(request)) throw shuttingDown()
    const looking = guard.requireOutside(request)
    if (looking === undefined) done()
    else looking.then(() => done(), done)
  })
  api.addHook('onRoute', (route) => {
    book.enter(route)
    acts.watch(route)
  })
  // A shell looks at its next prompt, which comes right after the command that made the change.
  api.addHook('onSend', async (request) => {
    if (endsChange(request)) await context.told?.()
  })
  api.addHook('onResponse', (request, reply, done) => {
    metrics.answered(request.method, request.routeOptions.url ?? '', reply.statusCode)
    // A kept-alive connection would delay the shutdown.
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
  for (const register of NOUNS) register(api, context)
  await api.ready()
  return api
}

/** fastify accepts text/plain by default, which a web page may send without a preflight request. */
function takeJsonOnly(api: ApiServer): void {
  api.removeAllContentTypeParsers()
  const parse = api.getDefaultJsonParser('error', 'error')
  api.addContentTypeParser('application/json', { parseAs: 'string' }, parse)
  api.setValidatorCompiler(compileValidator)
  // Answers are built field by field; tests check them against their schemas.
  api.setSerializerCompiler(() => JSON.stringify)
}

function closed(server: Server): Promise<void> {
  return new Promise((resolve) => {
    if (!server.listening) return resolve()
    server.close(() => resolve())
  })
}
