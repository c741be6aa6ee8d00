/** What every listener has in front: the guard, limits, and the requests that need no framework. The rest is loaded once asked for. */

import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import { BrokerError } from '../base/errors.js'
import { createHolds, type Holds } from '../http/conditional.js'
import {
  createDoorkeeper,
  createGuard,
  type Doorkeeper,
  type DoorRules,
  type Guard,
  refuseForeign,
} from '../http/guard.js'
import { guarded } from '../http/guarded.js'
import type { LaneHandler, Turn } from '../http/lane/lane.js'
import { createLookOutside, type LookOutside } from '../http/outside.js'
import { type Crowd, createPlaces, type PlaceLimits, type Places } from '../http/places.js'
import { writeProblem } from '../http/problem.js'
import type { RequestHead, WholeRequest } from '../http/request.js'
import {
  createDoorServer,
  createOwnAddresses,
  createPresenceBook,
  PLACES,
  type Presence,
  reenter,
  type ServerLimits,
} from '../http/server.js'
import { createTrail, type Trail } from '../http/trail.js'
import { isProxyTarget } from '../prefect/proxied.js'
import { systemClock } from '../std/clock.js'
import type { Door } from '../tokens/access.js'
import type { AppDeps } from './context.js'
import { createHandOut, type HandOut } from './hand-out.js'
import { createHot } from './hot.js'
import { createMetrics, type Metrics } from './observe/metrics.js'

export type FrontDeps = Pick<
  AppDeps,
  | 'clock'
  | 'log'
  | 'audit'
  | 'findCaller'
  | 'findPeer'
  | 'tokens'
  | 'credentials'
  | 'recogniser'
  | 'connectionClock'
>

export type DoorLimits = Partial<ServerLimits> & { readonly places?: PlaceLimits }
export type DoorCrowd = Crowd & { readonly door: Door }

/** Of the front, for what is behind it. */
export interface FrontParts {
  readonly doorkeeper: Doorkeeper
  readonly guard: Guard
  readonly lookOutside: LookOutside
  readonly holds: Holds
  readonly trail: Trail
  readonly metrics: Metrics
  readonly handOut: HandOut
  /** The `host:port` names of our own TCP doors. */
  ownAddresses(): readonly string[]
  /** Who holds the places of the listeners where a token is needed. */
  crowds(): readonly DoorCrowd[]
  /** Watches and closes a server that was not opened here. */
  adopt(server: Server, door: Door, rules: DoorRules): void
}

/** What is behind the front: everything that it does not answer itself. */
export interface Backroom {
  handle(request: IncomingMessage, response: ServerResponse): void
  /** A request for the proxy that came through the lane. */
  handleWhole(request: WholeRequest, turn: Turn): void
  /** A WebSocket handshake for the proxy. */
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void
  /** Changes under way, even if their callers have gone. */
  acts(): number
  /** Ends what would last: streams, sockets, questions. Requests under way go on. */
  stop(): void
  /** To be called when the servers are closed. */
  close(): Promise<void>
}

export interface Front {
  /** A server for one door, not listening yet. `hosts`: further names that the TCP door accepts. */
  openServer(
    door: Door,
    options?: { readonly hosts?: readonly string[]; readonly limits?: DoorLimits },
  ): Server
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

/** `load` is called by the first request that needs it, and by the next one if it fails. */
export function createFront<T extends Backroom>(
  deps: FrontDeps,
  load: (parts: FrontParts) => Promise<T>,
): Front & { behind(): Promise<T> } {
  const { clock, tokens, credentials, recogniser = 'on', connectionClock = systemClock() } = deps
  const doorkeeper = createDoorkeeper()
  const trail = createTrail(deps)
  const metrics = createMetrics()
  const servers = new Set<Server>()
  const presence = createPresenceBook(clock)
  const doors: { readonly door: Door; readonly places: Places }[] = []
  const own = createOwnAddresses()
  const lookOutside = createLookOutside(deps)
  const parts: FrontParts = {
    doorkeeper,
    guard: createGuard({ doorkeeper, tokens, lookOutside }),
    lookOutside,
    holds: createHolds(),
    trail,
    metrics,
    handOut: createHandOut({ credentials, metrics, trail }),
    ownAddresses: own.list,
    crowds: () => doors.map(({ door, places }) => ({ door, ...places.look() })),
    adopt(server, door, rules) {
      doorkeeper.watch(server, door, [], rules)
      presence.watch(server)
      servers.add(server)
      server.on('close', () => servers.delete(server))
    },
  }
  const back = createLateBackroom(() => load(parts), { ...deps, doorkeeper })
  const hot = createHot({ ...parts, credentials })
  return {
    behind: back.load,
    openServer(door, { hosts = [], limits } = {}) {
      const places =
        door === 'restricted' || door === 'tcp' ? createPlaces(limits?.places ?? PLACES, clock) : undefined
      if (places !== undefined) doors.push({ door, places })
      const take: LaneHandler = (request, turn) => {
        const over = places?.asked(request.socket)
        if (over !== undefined) turn.whenOver(over)
        if (!isProxied(request)) hot(request, turn.respond, turn.handOver)
        else back.handleWhole(request, turn)
      }
      const server = createDoorServer(
        door,
        (request, response) => {
          const over = places?.asked(request.socket)
          if (over !== undefined) response.on('close', over)
          const respond: Turn['respond'] = ({ status, headers, body }, isLast) => {
            // Only then: it may wait for the answers to the requests before it.
            if (isLast) response.once('finish', () => request.socket.end())
            response.writeHead(status, [...headers]).end(body)
          }
          hot(request, respond, () => back.handle(request, response))
        },
        {
          limits,
          keepsOwnTime: isProxied,
          lane: recogniser === 'on' ? { handle: take, clock: connectionClock } : undefined,
        },
      )
      server.on('upgrade', (request, socket, head) =>
        guarded(socket, () => {
          const isWebSocket = request.headers.upgrade?.toLowerCase() === 'websocket'
          if (isWebSocket && isProxied(request)) back.upgrade(request, socket, head)
          else reenter(server, request, socket, head)
        })(),
      )
      doorkeeper.watch(server, door, hosts, { places })
      presence.watch(server)
      own.add(server, hosts)
      servers.add(server)
      return server
    },
    crowds: parts.crowds,
    presence: () => ({ ...presence.look(), acts: back.acts() }),
    shutDoors() {
      for (const server of servers) server.close()
    },
    async close(graceMs = 2_000) {
      parts.holds.stop()
      back.stop()
      trail.close()
      const cut = clock.after(graceMs, () => {
        for (const server of servers) server.closeAllConnections()
      })
      await Promise.all([...servers].map(closed))
      cut.cancel()
      await back.close()
    },
  }
}

/** Whoever asks while it is loaded waits for it. */
function createLateBackroom<T extends Backroom>(
  load: () => Promise<T>,
  { clock, log, doorkeeper }: Pick<FrontDeps, 'clock' | 'log'> & { readonly doorkeeper: Doorkeeper },
): Backroom & { load(): Promise<T> } {
  let loaded: T | undefined
  let loading: Promise<T> | undefined
  let isStopped = false
  const begin = async (): Promise<T> => {
    try {
      loaded = await load()
      if (isStopped) loaded.stop()
      return loaded
    } catch (error) {
      loading = undefined
      log.error({ error }, 'part of the program not loaded')
      throw error
    }
  }
  const wait = () => {
    loading ??= begin()
    return loading
  }
  return {
    load: wait,
    handle(request, response) {
      if (loaded !== undefined) return loaded.handle(request, response)
      wait().then(
        guarded(request.socket, (back) => back.handle(request, response)),
        guarded(request.socket, () => {
          refuseForeign(request, doorkeeper.entranceOf(request.socket))
          writeProblem(request, response, NOT_LOADED, clock)
        }),
      )
    },
    handleWhole(request, turn) {
      if (loaded !== undefined) return loaded.handleWhole(request, turn)
      // What Node gets once, it keeps: a worker's connection would never come back to the lane.
      wait().then(
        guarded(request.socket, (back) => back.handleWhole(request, turn)),
        guarded(request.socket, turn.handOver),
      )
    },
    upgrade(request, socket, head) {
      if (loaded !== undefined) return loaded.upgrade(request, socket, head)
      // Nobody else listens until it is handed over.
      const onError = () => undefined
      socket.on('error', onError)
      wait().then(
        guarded(socket, (back) => {
          socket.off('error', onError)
          if (!socket.destroyed) back.upgrade(request, socket, head)
        }),
        () => socket.destroy(),
      )
    },
    acts: () => loaded?.acts() ?? 0,
    stop() {
      isStopped = true
      loaded?.stop()
    },
    async close() {
      const back = await loading?.catch(() => undefined)
      await back?.close()
    },
  }
}

const NOT_LOADED = new BrokerError('internal', 'a part of the daemon could not be loaded', {
  hint: 'restart prefect-authd; if it was just updated, that is why',
})

function isProxied({ url }: RequestHead): boolean {
  return isProxyTarget(url ?? '')
}

function closed(server: Server): Promise<void> {
  return new Promise((resolve) => {
    if (!server.listening) return resolve()
    server.close(() => resolve())
  })
}
