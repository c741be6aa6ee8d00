/** `/proxy/{profile}/api/**`: Prefect's API for programs that never hold the key. */
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import { BrokerError, shuttingDown } from '../base/errors.js'
import { toBrokerError } from '../http/problem.js'
import { isProxyTarget, parseProxyTarget } from '../prefect/proxied.js'
import { admit, createUseNotes, identifyVisitor, type Visitor } from './admit.js'
import type { ProxyDeps } from './deps.js'
import { exchange } from './exchange.js'
import { createLive } from './live.js'
import { isParked, sendRefusal, writeRefusal } from './parking.js'
import { createTrafficBook, type ProxyTraffic } from './traffic.js'
import { type Guest, openTunnel, type TunnelDeps } from './tunnel.js'
import { createAuthorizer } from './upstream.js'

export interface ApiProxy {
  /** Whether the request is this proxy's to answer, if only by a refusal. */
  takes(request: IncomingMessage): boolean
  handle(request: IncomingMessage, response: ServerResponse): void
  /** A WebSocket handshake. */
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void
  /** What went through since the daemon started. */
  traffic(): readonly ProxyTraffic[]
  /** Cuts every WebSocket, and refuses what is new; requests under way go on. */
  stop(): void
}

export function createProxy(deps: ProxyDeps): ApiProxy {
  const book = createTrafficBook({ now: () => deps.clock.now() })
  const requests = createLive({ ...deps, everyMs: deps.limits.revokeMs })
  const sockets = createLive({ ...deps, everyMs: deps.limits.revokeMs })
  const authorizer = createAuthorizer()
  const noteUse = createUseNotes(deps)
  const takePlace = createPlaces(deps.limits.strangers)
  let isStopping = false

  const welcome = (request: IncomingMessage, visitor: Visitor, profile: string) => {
    noteUse(request, visitor, profile)
    const meter = book.meter(profile, visitor.token?.name)
    meter.request()
    return meter
  }
  const tunnel: TunnelDeps = { ...deps, authorizer, live: sockets, takePlace, welcome }

  const serve = async (request: IncomingMessage, response: ServerResponse) => {
    if (isStopping) throw shuttingDown()
    const visitor = identifyVisitor(request, deps)
    const visit = await admit(request, visitor, deps)
    const meter = welcome(request, visit, visit.target.profile)
    const forget = requests.track(visit.token?.id, () => response.destroy())
    try {
      await exchange({ visit, request, response, meter }, deps, authorizer)
    } finally {
      forget()
      // A kept-alive connection would hold the shutdown up.
      if (isStopping) request.socket.end()
    }
  }

  const connect = async (guest: Guest) => {
    if (isStopping) throw shuttingDown()
    await openTunnel(guest, tunnel)
  }

  const tell = (request: IncomingMessage, thrown: unknown): BrokerError => {
    const error = toBrokerError(thrown)
    const door = deps.doorkeeper.entranceOf(request.socket)?.door
    const profile = parseProxyTarget(request.url ?? '')?.profile
    if (error.kind === 'internal') deps.log.error({ err: error.cause ?? error }, 'a proxied request failed')
    if (door !== undefined) deps.trail.refused(request, door, undefined, error)
    if (isParked(error) && profile !== undefined) {
      book.meter(profile, callerName(request, deps)).park()
      deps.log.debug({ profile, code: error.code }, 'a proxied request is parked')
    }
    return error
  }

  return {
    takes: ({ url }) => isProxyTarget(url ?? ''),
    handle(request, response) {
      serve(request, response).catch((thrown: unknown) => sendRefusal(response, tell(request, thrown)))
    },
    upgrade(request, socket, head) {
      socket.on('error', () => socket.destroy())
      connect({ request, socket, head }).catch((thrown: unknown) =>
        writeRefusal(socket, tell(request, thrown)),
      )
    },
    traffic: book.read,
    stop() {
      isStopping = true
      sockets.stop()
    },
  }
}

/** Only of a caller that was let in: names of others fill no book. */
function callerName(request: IncomingMessage, deps: ProxyDeps): string | undefined {
  try {
    return identifyVisitor(request, deps, { mayUpgrade: true }).token?.name
  } catch {
    return undefined
  }
}

/** A limited number of places; a place is given back once, however often. */
function createPlaces(most: number): () => () => void {
  let taken = 0
  return () => {
    if (taken >= most) {
      throw new BrokerError('too_many_requests', 'too many sockets wait to show their token')
    }
    taken += 1
    let isHeld = true
    return () => {
      if (isHeld) taken -= 1
      isHeld = false
    }
  }
}
