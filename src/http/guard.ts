/** Who is let in, decided before anything is routed to: name of the host, no browser, token, power, profile. */
import type { IncomingMessage, Server } from 'node:http'
import type { Socket } from 'node:net'
import type { FastifyRequest } from 'fastify'
import { BrokerError } from '../base/errors.js'
import { type Caller, type Door, type Power, requirePower, requireProfile } from '../tokens/access.js'
import type { Tokens } from '../tokens/tokens.js'
import { headerValues, pairs } from './headers.js'

/** One listener, as the guard sees it. */
interface Entrance {
  readonly door: Door
  /** Exactly these `Host` values are answered; everything else is a rebound name or a mistake. */
  readonly hosts: ReadonlySet<string>
}

export interface Doorkeeper {
  /** Every connection of `server` counts as come through `door`. `hosts`: more names, for the TCP door only. */
  watch(server: Server, door: Door, hosts: readonly string[]): void
  /** `undefined` for a connection that came through no door: refuse it. */
  entranceOf(socket: Socket): Entrance | undefined
}

const SOCKET_HOSTS = ['authd', 'localhost'] as const

/** Remembers the door per connection, not per request: keep-alive pays for it once. */
export function createDoorkeeper(): Doorkeeper {
  const entrances = new WeakMap<Socket, Entrance>()
  return {
    watch(server, door, hosts) {
      let entrance: Entrance | undefined
      server.on('connection', (socket: Socket) => {
        // The port is known once the server listens: it may be any free one, or one that systemd opened.
        entrance ??= { door, hosts: new Set(hostsOf(server, door, hosts)) }
        entrances.set(socket, entrance)
      })
    },
    entranceOf: (socket) => entrances.get(socket),
  }
}

function hostsOf(server: Server, door: Door, hosts: readonly string[]): readonly string[] {
  if (door !== 'tcp') return SOCKET_HOSTS
  const address = server.address()
  if (address === null || typeof address === 'string') return hosts
  return [`127.0.0.1:${address.port}`, `localhost:${address.port}`, ...hosts]
}

export interface Guard {
  /** Decides about one request; throws the refusal. Afterwards `callerOf` answers for it. */
  admit(request: FastifyRequest): void
  /** Who asks. Throws `internal` for a request that was never admitted. */
  callerOf(request: FastifyRequest): Caller
  /** The same where it may have been turned away before it was known. */
  knownCaller(request: FastifyRequest): Caller | undefined
  /** For answers that were held back: throws `token_invalid` where the token has died since. */
  readmit(request: FastifyRequest): void
}

export function createGuard({ doorkeeper, tokens }: { doorkeeper: Doorkeeper; tokens: Tokens }): Guard {
  const callers = new WeakMap<FastifyRequest, Caller>()
  return {
    admit(request) {
      const entrance = doorkeeper.entranceOf(request.raw.socket)
      refuseForeign(request.raw, entrance)
      const needs = request.is404 ? undefined : request.routeOptions.config.needs
      const caller = identify(request, entrance.door, tokens)
      if (caller.token === undefined && caller.door !== 'socket' && needs !== 'none') throw tokenRequired()
      callers.set(request, caller)
      if (!request.is404) authorise(request, caller, needs)
    },
    callerOf(request) {
      const caller = callers.get(request)
      if (caller === undefined) throw new BrokerError('internal', 'the caller of this request is not known')
      return caller
    },
    readmit(request) {
      const caller = callers.get(request)
      if (caller?.token !== undefined) identify(request, caller.door, tokens)
    },
    knownCaller: (request) => callers.get(request),
  }
}

/** Names that are not ours, and browsers: neither is an authentication, both stop web pages. */
export function refuseForeign(
  request: Pick<IncomingMessage, 'rawHeaders' | 'url'>,
  entrance: Entrance | undefined,
  { mayUpgrade = false } = {},
): asserts entrance is Entrance {
  const head = readHead(request.rawHeaders)
  const [host, ...otherHosts] = head.hosts
  if (entrance === undefined || host === undefined || otherHosts.length > 0 || !entrance.hosts.has(host)) {
    throw new BrokerError(
      'host_refused',
      'the request must have exactly one Host header, with a name of this daemon',
      {
        hint: 'over the socket: http://authd/… or http://localhost/…; over TCP: the address that prefect-auth status --url prints',
      },
    )
  }
  if (head.isBrowser) {
    throw new BrokerError('browser_refused', 'requests that come from a web page are not answered')
  }
  if (!request.url?.startsWith('/') || (head.isUpgrade && !mayUpgrade)) {
    throw new BrokerError('bad_request', 'the request must name a path, and ask for no upgrade')
  }
}

interface Head {
  readonly hosts: readonly string[]
  readonly isBrowser: boolean
  readonly isUpgrade: boolean
}

/** Out of the raw headers: Node keeps the first of two Hosts, and proxies in between may take the second. */
function readHead(raw: readonly string[]): Head {
  let isBrowser = false
  let isUpgrade = false
  for (const [name, value] of pairs(raw)) {
    const lower = name.toLowerCase()
    if (lower === 'origin' || lower === 'referer' || lower.startsWith('sec-fetch-')) isBrowser = true
    // Java's client offers h2c with every request and does without it; any other upgrade is meant.
    else if (lower === 'upgrade' && value.toLowerCase() !== 'h2c') isUpgrade = true
  }
  return { hosts: headerValues(raw, 'host'), isBrowser, isUpgrade }
}

function identify(request: FastifyRequest, door: Entrance['door'], tokens: Tokens): Caller {
  const presented = request.headers.authorization
  if (presented === undefined) return { door }
  const [, text] = /^bearer +(pab_[\w-]{43})$/i.exec(presented) ?? []
  const token = text === undefined ? undefined : tokens.recognise(text)
  // Also on the owner's socket: who presents a token means to have no more than it allows.
  if (token === undefined) {
    throw new BrokerError('token_invalid', 'this token is unknown, revoked or expired', {
      hint: 'prefect-auth token ls',
    })
  }
  return { door, token }
}

export function tokenRequired(): BrokerError {
  return new BrokerError('token_required', 'this door needs a token', {
    hint: 'prefect-auth token create --name NAME, then Authorization: Bearer TOKEN',
  })
}

function authorise(request: FastifyRequest, caller: Caller, needs: Power | 'none' | undefined): void {
  if (needs === undefined) throw new BrokerError('internal', 'this route does not say which power it needs')
  if (needs === 'none') return
  requirePower(caller, needs)
  if (caller.token === undefined) return
  for (const part of [request.params, request.query]) {
    for (const profile of profilesIn(part)) requireProfile(caller, profile)
  }
}

/** Every profile that the path or the query names: refused here, before a handler can forget to. */
function* profilesIn(part: unknown): Iterable<string> {
  if (typeof part !== 'object' || part === null) return
  for (const [name, value] of Object.entries(part)) {
    if (name === 'profile' || name === 'name') yield String(value)
  }
}

/** What a route says of itself. `summary` and `answers` go into the API description. */
declare module 'fastify' {
  interface FastifyContextConfig {
    /** The power it takes; `none` is for liveness alone, and needs no token either. */
    readonly needs?: Power | 'none'
    readonly summary?: string
    /** The media type of the answer, where it is not JSON. */
    readonly produces?: string
  }
}
