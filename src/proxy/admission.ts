/** Admission to the proxy: who sends the request, and which profile, upstream and path it may reach. */
import { BrokerError } from '../base/errors.js'
import { type Doorkeeper, refuseForeign, requirePlace, tokenRequired } from '../http/guard.js'
import type { LookOutside } from '../http/outside.js'
import { headOf, type RequestHead } from '../http/request.js'
import { createGround, isMethodAllowed, type Reach } from '../policy/ground.js'
import type { Ruling } from '../policy/policy.js'
import { METHODS } from '../policy/table.js'
import { parseHttpUrl, userinfoOf } from '../prefect/api-url.js'
import type { ConnectionSettings } from '../prefect/connection.js'
import { type ProxyTarget, parseProxyTarget, tokenInHeader } from '../prefect/proxied.js'
import type { ResolvedProfile } from '../profiles/profile.js'
import type { Credentials, Served } from '../serve/credentials.js'
import { defined } from '../std/defined.js'
import { remembering } from '../std/remembering.js'
import { type Caller, requirePower, requireProfile } from '../tokens/access.js'
import type { KnownToken, Tokens } from '../tokens/tokens.js'
import { requirePolicy, targetUnder } from './ruling.js'

/** The sender of a request, as far as it is known. */
export interface Visitor {
  readonly caller: Caller
  readonly token?: KnownToken | undefined
  /** It has sent no token yet, on a listener that requires one. */
  readonly isStranger: boolean
}

/** An admitted request: who sent it, what to send it with, and where to. */
export interface Visit extends Visitor {
  readonly target: ProxyTarget
  readonly served: Served
  readonly upstream: Upstream
  /** Undefined: the token has no policy, and asks no questions. */
  readonly ruling?: Ruling | undefined
}

/** Where a profile's API is. */
export interface Upstream {
  /** `https://api.prefect.cloud` */
  readonly origin: string
  /** `api.prefect.cloud`; with its port unless that is the scheme's default. */
  readonly host: string
  /** `/api`; no trailing slash, empty if the API is at the root. */
  readonly basePath: string
  /** `user:password` from the URL itself. */
  readonly userinfo?: string
  /** The profile's own certificates and headers. */
  readonly connection?: ConnectionSettings
}

type FlawFinder = ReturnType<typeof createGround>

export interface Admission {
  /**
   * Returns who sent the request. With `mayUpgrade`, a WebSocket handshake may leave its token for the first frame, or show
   * a ticket in its place where events are sent.
   * Throws `host_refused`, `browser_refused`, `bad_request`, `token_required`, `token_invalid`.
   */
  identify(request: RequestHead, options?: { readonly mayUpgrade?: boolean }): Visitor
  /**
   * Resolves with where the request of a known sender may go. Rejects with `not_found`, `power_missing`,
   * `agent_refused`, `profile_not_allowed`, `method_not_allowed`, `profile_not_cloud`, `proxy_path_refused`, `policy_refused`,
   * `prefect_unreachable` if the profile points at this proxy, `bad_request` for a query that hides what it asks for, and
   * whatever `credentials.serve` throws.
   */
  admit(request: RequestHead, visitor: Visitor): Promise<Visit>
}

export function createAdmission({
  doorkeeper,
  lookOutside,
  tokens,
  credentials,
  ownAddresses,
  allowed,
}: {
  readonly doorkeeper: Doorkeeper
  readonly lookOutside: LookOutside
  readonly tokens: Pick<Tokens, 'recognise' | 'recogniseTicket'>
  readonly credentials: Pick<Credentials, 'refresh' | 'state' | 'serve'>
  /** `host:port` of our own TCP listeners: never an upstream. */
  readonly ownAddresses: () => readonly string[]
  /** Operations that the owner adds: `METHOD /path/{template}`. */
  readonly allowed: readonly string[]
}): Admission {
  const findFlaw = createGround(allowed)
  // A resolved profile never changes, so its URL is parsed once and not for each request.
  const findUpstream = remembering((profile: ResolvedProfile): Upstream => {
    const upstream = upstreamOf(profile)
    if (upstream === undefined) throw withoutApi(profile.name)
    return upstream
  })
  const ofHeader = (authorization: string, head: object | undefined): KnownToken => {
    const text = tokenInHeader(authorization)
    return requireKnown(text === undefined ? undefined : tokens.recognise(text, head))
  }
  const ofTicket = (ticket: string | undefined): KnownToken => {
    if (ticket === undefined) throw tokenRequired()
    return requireKnown(tokens.recogniseTicket(ticket))
  }
  return {
    identify(request, { mayUpgrade = false } = {}) {
      const entrance = doorkeeper.entranceOf(request.socket)
      refuseForeign(request, entrance, { mayUpgrade })
      const authorization = authorizationIn(request.rawHeaders)
      const { door } = entrance
      if (authorization === undefined) {
        if (door === 'socket') return { caller: { door }, isStranger: false }
        if (mayUpgrade && authenticatesByFrame(request)) return { caller: { door }, isStranger: true }
      }
      const token =
        authorization === undefined ? ofTicket(ticketIn(request)) : ofHeader(authorization, headOf(request))
      requirePlace(doorkeeper, request.socket, token)
      return { caller: { door, token }, token, isStranger: false }
    },
    async admit(request, visitor) {
      const target = targetOf(request)
      // Before anything is looked up: a stranger learns not even which profiles there are.
      if (visitor.isStranger) throw tokenRequired()
      // Without a token it is the owner's own way, with all of the key's power.
      const refused = visitor.token === undefined ? await lookOutside(request.socket) : undefined
      if (refused !== undefined) throw refused.error
      requireReach(visitor.caller, target.profile)
      const refreshing = credentials.refresh()
      if (refreshing !== undefined) await refreshing
      const { resolved } = credentials.state(target.profile)
      requireOperation(request.method ?? '', target, findFlaw, reachOf(resolved, visitor.token))
      const ruling = requirePolicy(request.method ?? '', target.path, visitor.token)
      const served = credentials.serve(target.profile)
      const upstream = findUpstream(resolved)
      if (ownAddresses().includes(upstream.host)) throw pointsAtUs(target.profile)
      const { caller, token, isStranger } = visitor
      const now = ruling === undefined ? target : targetUnder(ruling, target)
      // Name by name: a spread cost as much as all the rest of this.
      return { caller, token, isStranger, target: now, served, upstream, ruling }
    },
  }
}

/** Returns the value of the one Authorization header, if there is one. Throws `bad_request` if there are more. */
function authorizationIn(raw: readonly string[]): string | undefined {
  let found: string | undefined
  for (let index = 0; index + 1 < raw.length; index += 2) {
    const name = raw[index] ?? ''
    if (name.length !== 13 || name.toLowerCase() !== 'authorization') continue
    if (found !== undefined) {
      throw new BrokerError('bad_request', 'the request has more than one Authorization header')
    }
    found = raw[index + 1] ?? ''
  }
  return found
}

/**
 * Prefect 3.0 to 3.6.13 sends its events to a server over a WebSocket without credentials. There, and nowhere else, the ticket
 * in its URL counts: it may be in the job's log, as URLs are.
 */
function ticketIn({ method, url, headers }: RequestHead): string | undefined {
  const isWebSocket = method === 'GET' && headers.upgrade?.toLowerCase() === 'websocket'
  const target = isWebSocket ? parseProxyTarget(url ?? '') : undefined
  return target?.path === '/events/in' ? target.ticket : undefined
}

/** Prefect's clients offer the subprotocol `prefect` if their first frame authenticates. */
export function authenticatesByFrame({ headers }: RequestHead): boolean {
  const offered = headers['sec-websocket-protocol'] ?? ''
  return offered.split(',').some((each) => each.trim() === 'prefect')
}

/** Throws `power_missing`, `profile_not_allowed`. */
export function requireReach(caller: Caller, profile: string): void {
  requirePower(caller, 'proxy')
  requireProfile(caller, profile)
}

/** The API behind `/proxy/{profile}/api`; `undefined` if the profile has none. Pure. */
export function upstreamOf({ kind, cloudApiUrl, apiUrl, connection }: ResolvedProfile): Upstream | undefined {
  const url = parseHttpUrl((kind === 'cloud' ? cloudApiUrl : apiUrl) ?? '')
  if (url === undefined || kind === 'none') return undefined
  return {
    origin: url.origin,
    host: url.host,
    basePath: url.pathname.replace(/\/+$/, ''),
    ...defined({ connection, userinfo: userinfoOf(url) }),
  }
}

/** The profile's own, and the one it had when the token was made: a running job stays where it began. */
function reachOf({ kind, workspace }: ResolvedProfile, token: KnownToken | undefined): Reach {
  if (kind !== 'cloud') return { kind: 'server' }
  return { kind, workspaces: [workspace, token?.workspace].filter((one) => one !== undefined) }
}

/** Throws `method_not_allowed`, `proxy_path_refused`. */
function requireOperation(
  method: string,
  { path, profile }: ProxyTarget,
  findFlaw: FlawFinder,
  reach: Reach,
): void {
  if (!isMethodAllowed(method)) {
    throw new BrokerError('method_not_allowed', `the proxy accepts only ${METHODS.join(', ')}`)
  }
  const flaw = findFlaw(method, path, reach)
  if (flaw === undefined) return
  throw new BrokerError('proxy_path_refused', `the proxy does not forward this path: ${flaw}`, {
    hint: `prefect-auth profile inspect ${profile}`,
  })
}

/** For somebody else's key and for a dead token: neither is ever passed on. */
function requireKnown(token: KnownToken | undefined): KnownToken {
  if (token === undefined) throw invalidToken()
  return token
}

export function invalidToken(): BrokerError {
  // Prefect's own words for a 401.
  return new BrokerError('token_invalid', 'Invalid authentication credentials', {
    hint: 'the proxy accepts only active prefect-auth tokens: prefect-auth token ls',
  })
}

/** Throws `not_found`. */
export function targetOf({ url }: RequestHead): ProxyTarget {
  const target = parseProxyTarget(url ?? '')
  if (target === undefined) throw notProxied()
  return target
}

function notProxied(): BrokerError {
  return new BrokerError('not_found', 'nothing is proxied at this path', {
    hint: 'use the API URL that prefect-auth exec --proxy sets: /proxy/PROFILE/api/…',
  })
}

function withoutApi(profile: string): BrokerError {
  return new BrokerError('profile_not_cloud', `profile '${profile}' has no API URL`, {
    hint: `prefect-auth login --profile ${profile}`,
  })
}

function pointsAtUs(profile: string): BrokerError {
  return new BrokerError('prefect_unreachable', `profile '${profile}' points at this proxy itself`, {
    hint: `prefect-auth workspace set --profile ${profile}`,
  })
}
