/** The HTTP API behind the front of every listener: one fastify instance, the proxy and the page. It never listens itself. */
import type { Server } from 'node:http'
import fastify, { type FastifyRequest } from 'fastify'
import { shuttingDown } from '../base/errors.js'
import { type ApiServer, compileValidator, WITHOUT_AJV } from '../http/schema.js'
import { createDoorServer } from '../http/server.js'
import { createPage, type Page } from '../page/page.js'
import { type ApiProxy, createProxy, PROXY_LIMITS } from '../proxy/proxy.js'
import { type ActBook, createActBook } from './acts.js'
import { askRoutes } from './asks.js'
import type { AppDeps, RouteContext } from './context.js'
import { credentialsRoutes } from './credentials.js'
import { daemonRoutes, vaultRoutes } from './daemon.js'
import { envRoutes } from './env.js'
import { fileRoutes } from './files.js'
import { type Backroom, createFront, type Front, type FrontParts } from './front.js'
import { keyRoutes } from './keys.js'
import { loginRoutes } from './logins.js'
import { auditRoutes } from './observe/audit.js'
import { createEventStreams, eventRoutes } from './observe/events.js'
import { healthRoutes } from './observe/health.js'
import { metricsRoutes } from './observe/metrics.js'
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

export interface App extends Front {
  /** Every route, for tests and documents. */
  readonly routes: readonly RouteFacts[]
  readonly page: Pick<Page, 'link'>
  readonly proxyTraffic: ApiProxy['traffic']
  readonly proxyStrangers: ApiProxy['strangers']
}

/** The front with everything behind it. Resolves when it is ready to serve; rejects if a route does not say which power it needs. */
export async function buildApp(deps: AppDeps): Promise<App> {
  const front = createFront(deps, (parts) => buildBackroom(deps, parts))
  const { routes, page, proxyTraffic, proxyStrangers } = await front.behind()
  return { ...front, routes, page, proxyTraffic, proxyStrangers }
}

type AppBackroom = Backroom & Omit<App, keyof Front>

/** Resolves when it is ready to serve; rejects if a route does not say which power it needs. */
export async function buildBackroom(deps: AppDeps, front: FrontParts): Promise<AppBackroom> {
  const { doorkeeper, crowds } = front
  const context = { ...deps, ...front, streams: createEventStreams(deps), book: createRouteBook() }
  const acts = createActBook()
  const { clock, log, tokens, credentials, way } = deps
  const proxy = createProxy({
    clock,
    log,
    trail: front.trail,
    tokens,
    credentials,
    doorkeeper,
    lookOutside: front.lookOutside,
    way,
    gate: deps.desk.gate,
    ownAddresses: front.ownAddresses,
    allowed: deps.proxyAllow ?? [],
    limits: { ...PROXY_LIMITS, ...deps.proxyLimits },
  })
  const page = createPage({
    ...{ clock, log, events: deps.events, trail: front.trail, ...deps.page },
    openServer: () => openPageServer(),
  })
  const api = await buildServer(
    { ...context, page, proxyTraffic: proxy.traffic, proxyStrangers: proxy.strangers, crowds },
    acts,
    (request) => doorkeeper.entranceOf(request.raw.socket)?.door,
  )
  /** No proxy, no upgrade, no token: the page's gate is all there is. */
  const openPageServer = (): Server => {
    const server = createDoorServer('page', (request, response) => {
      if (!page.handle(request, response)) api.routing(request, response)
    })
    server.on('upgrade', (_request, socket) => socket.destroy())
    front.adopt(server, 'page', { gate: page.admit })
    return server
  }
  return {
    routes: context.book.routes(),
    page,
    proxyTraffic: proxy.traffic,
    proxyStrangers: proxy.strangers,
    handle(request, response) {
      if (proxy.takes(request)) proxy.handle(request, response)
      else api.routing(request, response)
    },
    handleWhole: (request, turn) => proxy.handle(request, turn.open()),
    upgrade: proxy.upgrade,
    acts: acts.underWay,
    stop() {
      proxy.stop()
      page.close()
      context.streams.stop()
      deps.desk.asks.close()
    },
    close: async () => api.close(),
  }
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
