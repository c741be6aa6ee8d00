/** Decides who is let in, before a route runs: host name, no browser, token, power, profile. */
import type { IncomingHttpHeaders, IncomingMessage, Server } from 'node:http'
import type { Socket } from 'node:net'
import type { FastifyRequest } from 'fastify'
import { BrokerError } from '../base/errors.js'
import { defined } from '../std/defined.js'
import { type Caller, type Door, type Power, requirePower, requireProfile } from '../tokens/access.js'
import type { Tokens } from '../tokens/tokens.js'
import type { LookOutside } from './outside.js'
import type { Places, Shown } from './places.js'
import { headOf, type RequestHead } from './request.js'

/** One listener, as the guard sees it. */
interface Entrance {
  readonly door: Door
  /** The only `Host` values accepted; anything else is a rebound name or a mistake. */
  readonly hosts: ReadonlySet<string>
  /** Absent on the owner's socket, where nobody is a stranger. */
  readonly places?: Places
  /** The page's own rules, in place of all others. */
  readonly gate?: Gate
}

/** Throws unless the request comes from our own script in an open page. */
export type Gate = (request: IncomingMessage) => void

export interface DoorRules {
  readonly places?: Places | undefined
  readonly gate?: Gate | undefined
}

export interface Doorkeeper {
  /** Marks every connection of `server` as made through `door`. `hosts`: further names, for the TCP door only. */
  watch(server: Server, door: Door, hosts: readonly string[], rules?: DoorRules): void
  /** `undefined` for a connection that came through no door; it must be refused. */
  entranceOf(socket: Socket): Entrance | undefined
  /** The connection has shown this token. Returns false if the token holds its share of places already. */
  meet(socket: Socket, token: Shown): boolean
}

const SOCKET_HOSTS = ['authd', 'localhost'] as const

/** Remembers the door per connection, so that requests on a kept-alive one cost nothing more. */
export function createDoorkeeper(): Doorkeeper {
  const entrances = new WeakMap<Socket, Entrance>()
  return {
    watch(server, door, hosts, { places, gate } = {}) {
      places?.watch(server)
      let entrance: Entrance | undefined
      server.on('connection', (socket: Socket) => {
        // The port is known only once the server listens: it may be any free one, or one that systemd opened.
        entrance ??= { door, hosts: new Set(hostsOf(server, door, hosts)), ...defined({ places, gate }) }
        entrances.set(socket, entrance)
      })
    },
    entranceOf: (socket) => entrances.get(socket),
    meet: (socket, token) => entrances.get(socket)?.places?.meet(socket, token) ?? true,
  }
}

/** Throws `too_many_requests` if the token holds its share of places already. */
export function requirePlace(doorkeeper: Doorkeeper, socket: Socket, token: Shown): void {
  if (doorkeeper.meet(socket, token)) return
  throw new BrokerError('too_many_requests', 'this token holds its share of the connections already', {
    hint: 'close some, or make another token: prefect-auth token create --name NAME',
  })
}

function hostsOf(server: Server, door: Door, hosts: readonly string[]): readonly string[] {
  if (door !== 'tcp') return SOCKET_HOSTS
  const address = server.address()
  if (address === null || typeof address === 'string') return hosts
  return [`127.0.0.1:${address.port}`, `localhost:${address.port}`, ...hosts]
}

export interface Guard {
  /** Throws the refusal, or lets the request in; `callerOf` knows it from then on. */
  admit(request: FastifyRequest): void
  /**
   * The same for a request that the router has not seen, to a route with this power and to this profile. Returns the caller. Throws
   * also where `requireOutside` would have to look.
   */
  admitTo(request: RequestHead, needs: Power | 'none', profile: string | undefined): Caller
  /**
   * For the owner's powers over the socket, once the request is admitted: rejects with `agent_refused` if it comes from inside an
   * agent. `undefined`: there is nothing to look at.
   */
  requireOutside(request: FastifyRequest): Promise<void> | undefined
  /** The caller. Throws `internal` for a request that was not admitted. */
  callerOf(request: FastifyRequest): Caller
  /** The caller, or `undefined` if the request was refused before it was known. */
  knownCaller(request: FastifyRequest): Caller | undefined
  /** For answers that were held: throws `token_invalid` if the token is no longer active. */
  readmit(request: FastifyRequest): void
}

/** Of a route; undefined: there is none, or it does not say. */
type Needs = Power | 'none' | undefined

export function createGuard({
  doorkeeper,
  tokens,
  lookOutside,
}: {
  readonly doorkeeper: Doorkeeper
  readonly tokens: Tokens
  readonly lookOutside: LookOutside
}): Guard {
  const callers = new WeakMap<FastifyRequest, Caller>()
  const meet = (request: RequestHead, entrance: Entrance | undefined, needs: Needs): Caller => {
    refuseForeign(request, entrance)
    const caller = identify(request.headers, entrance.door, tokens, headOf(request))
    if (caller.token === undefined && caller.door !== 'socket' && needs !== 'none') throw tokenRequired()
    if (caller.token !== undefined) requirePlace(doorkeeper, request.socket, caller.token)
    return caller
  }
  return {
    admit(request) {
      const entrance = doorkeeper.entranceOf(request.raw.socket)
      if (entrance?.gate !== undefined) {
        entrance.gate(request.raw)
        requireOnPage(request)
        callers.set(request, { door: entrance.door })
        return
      }
      const needs = request.is404 ? undefined : request.routeOptions.config.needs
      const caller = meet(request.raw, entrance, needs)
      callers.set(request, caller)
      if (!request.is404) authorise(caller, needs, namedIn(request))
    },
    admitTo(request, needs, profile) {
      const entrance = doorkeeper.entranceOf(request.socket)
      if (entrance?.gate !== undefined) throw notOnPage()
      const caller = meet(request, entrance, needs)
      authorise(caller, needs, profile === undefined ? [] : [profile])
      if (isOwners(caller, needs) && tokens.agents().length > 0) throw agentsRun()
      return caller
    },
    requireOutside(request) {
      const caller = callers.get(request)
      if (caller === undefined || request.is404) return undefined
      if (!isOwners(caller, request.routeOptions.config.needs)) return undefined
      return lookOutside(request.raw.socket)?.then((refused) => {
        if (refused === undefined) return
        callers.set(request, { ...caller, ...defined({ inside: refused.inside }) })
        throw refused.error
      })
    },
    callerOf(request) {
      const caller = callers.get(request)
      if (caller === undefined) throw new BrokerError('internal', 'the caller of this request is not known')
      return caller
    },
    readmit(request) {
      const caller = callers.get(request)
      if (caller?.token !== undefined) identify(request.headers, caller.door, tokens)
    },
    knownCaller: (request) => callers.get(request),
  }
}

/** Whether somebody uses what the socket alone gives its owner. */
function isOwners({ door, token }: Caller, needs: Needs): boolean {
  return door === 'socket' && token === undefined && needs !== 'none' && needs !== 'inspect'
}

function agentsRun(): BrokerError {
  return new BrokerError('agent_refused', 'an agent runs, and who asks has not been looked at')
}

/** The page reads, answers questions and revokes tokens: nothing that a route does not say itself. Throws `power_missing`. */
function requireOnPage(request: FastifyRequest): void {
  if (!request.is404 && request.routeOptions.config.onPage === true) return
  throw notOnPage()
}

function notOnPage(): BrokerError {
  return new BrokerError('power_missing', 'the page may not do this', { hint: 'prefect-auth --help' })
}

/** Throws for foreign host names, browsers and upgrades. This authenticates nobody; it keeps web pages out. */
export function refuseForeign(
  request: Pick<RequestHead, 'rawHeaders' | 'url'>,
  entrance: Entrance | undefined,
  { mayUpgrade = false } = {},
): asserts entrance is Entrance {
  const head = readHead(request.rawHeaders)
  if (entrance === undefined || head.host === undefined || !entrance.hosts.has(head.host)) {
    throw new BrokerError(
      'host_refused',
      'the request must have exactly one Host header that names this daemon',
      {
        hint: 'over the socket, use http://authd/… or http://localhost/…; over TCP, the address printed by: prefect-auth status --url',
      },
    )
  }
  if (head.isBrowser) {
    throw new BrokerError('browser_refused', 'requests from web pages are refused')
  }
  if (!request.url?.startsWith('/') || (head.isUpgrade && !mayUpgrade)) {
    throw new BrokerError('bad_request', 'the request must name a path and must not ask for an upgrade')
  }
}

interface Head {
  /** Undefined: there is none, or more than one. */
  readonly host: string | undefined
  readonly isBrowser: boolean
  readonly isUpgrade: boolean
}

/** Reads the raw headers: Node keeps the first of two Hosts, and a proxy in between may use the second. */
function readHead(raw: readonly string[]): Head {
  let host: string | undefined
  let hosts = 0
  let isBrowser = false
  let isUpgrade = false
  // For every request: an iterator over pairs costs several times as much.
  for (let index = 0; index + 1 < raw.length; index += 2) {
    const lower = (raw[index] ?? '').toLowerCase()
    const value = raw[index + 1] ?? ''
    if (lower === 'host') {
      host = value
      hosts += 1
    } else if (lower === 'origin' || lower === 'referer' || lower.startsWith('sec-fetch-')) isBrowser = true
    // Java's client offers h2c with every request and does without it; any other upgrade is meant.
    else if (lower === 'upgrade' && value.toLowerCase() !== 'h2c') isUpgrade = true
  }
  return { host: hosts === 1 ? host : undefined, isBrowser, isUpgrade }
}

function identify(
  { authorization: presented }: IncomingHttpHeaders,
  door: Entrance['door'],
  tokens: Tokens,
  head?: object,
): Caller {
  if (presented === undefined) return { door }
  const [, text] = /^bearer +(pab_[\w-]{43})$/i.exec(presented) ?? []
  const token = text === undefined ? undefined : tokens.recognise(text, head)
  // Also on the owner's socket: who presents a token wants no more than it allows.
  if (token === undefined) {
    throw new BrokerError('token_invalid', 'the token is unknown, revoked or expired', {
      hint: 'prefect-auth token ls',
    })
  }
  return { door, token }
}

export function tokenRequired(): BrokerError {
  return new BrokerError('token_required', 'a token is required here', {
    hint: 'prefect-auth token create --name NAME, then send Authorization: Bearer TOKEN',
  })
}

function authorise(caller: Caller, needs: Needs, profiles: Iterable<string>): void {
  if (needs === undefined) throw new BrokerError('internal', 'this route does not say which power it needs')
  if (needs === 'none') return
  requirePower(caller, needs)
  if (caller.token === undefined) return
  for (const profile of profiles) requireProfile(caller, profile)
}

/** Every profile that the path or the query names, so that no handler can forget to check it. */
function* namedIn({ params, query }: FastifyRequest): Iterable<string> {
  yield* profilesIn(params)
  yield* profilesIn(query)
}

function* profilesIn(part: unknown): Iterable<string> {
  if (typeof part !== 'object' || part === null) return
  for (const [name, value] of Object.entries(part)) {
    if (name === 'profile' || name === 'name') yield String(value)
  }
}

/** What a route declares. `summary` and `produces` go into the API description. */
declare module 'fastify' {
  interface FastifyContextConfig {
    /** The power it needs; `none`, for liveness only, needs no token either. */
    readonly needs?: Power | 'none'
    readonly summary?: string
    /** Whether the owner's page may ask for it, without a token. */
    readonly onPage?: true
    /** The media type of the answer if it is not JSON. */
    readonly produces?: string
  }
}
