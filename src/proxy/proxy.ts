/** `/proxy/{profile}/api/**`: Prefect's API for programs that never hold the key. */
import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import { setImmediate } from 'node:timers/promises'
import { type BrokerError, shuttingDown } from '../base/errors.js'
import type { Doorkeeper } from '../http/guard.js'
import { guarded } from '../http/guarded.js'
import type { LookOutside } from '../http/outside.js'
import { toBrokerError } from '../http/problem.js'
import type { AnyRequest, RequestHead, Response } from '../http/request.js'
import type { Trail } from '../http/trail.js'
import { operationOf } from '../policy/ground.js'
import { ruleOn } from '../policy/policy.js'
import type { DispatcherFor } from '../prefect/agent.js'
import { isProxyTarget, parseProxyTarget } from '../prefect/proxied.js'
import type { Credentials } from '../serve/credentials.js'
import { type Clock, MINUTE_MS, SECOND_MS } from '../std/clock.js'
import type { Log } from '../std/log.js'
import type { RefusedBy, Tokens } from '../tokens/tokens.js'
import { createAdmission, type Visitor } from './admission.js'
import type { BodyLimits } from './body.js'
import { createExchange } from './exchange.js'
import type { Gate } from './gate.js'
import { createAuthorizer } from './headers.js'
import { isParked, sendRefusal, writeRefusal } from './parking.js'
import { createRenew } from './rejection.js'
import { createTraffic, type Meter, type ProxyTraffic, type Strangers } from './traffic.js'
import { createTunnel, type TunnelLimits } from './tunnel.js'
import { createTurnstile } from './turnstile.js'

export interface ApiProxy {
  /** Returns true if the request is for the proxy, even if it will refuse it. */
  takes(request: RequestHead): boolean
  handle(request: AnyRequest, response: Response): void
  /** A WebSocket handshake. */
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void
  /** What went through since the daemon started. */
  traffic(): readonly ProxyTraffic[]
  /** Who was refused without a token. */
  strangers(): Strangers
  /** Cuts every WebSocket and refuses new requests; requests under way go on. */
  stop(): void
}

/** The proxy's way out; handed in by the daemon. */
export interface ProxyWay {
  /**
   * The dispatcher for an origin, with its certificates and company proxies; it keeps connections alive. `tls`: the profile's own.
   * No promise, once it is open.
   */
  readonly dispatcherFor: DispatcherFor
  /**
   * Prefect answered 401 to what we hold for the profile. Asks Prefect about it, and renews it if that is due; resolves when
   * `credentials` serve the best there is. Never rejects.
   */
  onRejected(profile: string, fingerprint: string): Promise<void>
}

export interface ProxyLimits extends BodyLimits, TunnelLimits {
  /** How long a revoked token's streams may live on. */
  readonly revokeMs: number
}

export const PROXY_LIMITS: ProxyLimits = {
  bufferBytes: 64 * 1024,
  unmeasuredBytes: 5 * 1024 * 1024,
  bodyIdleMs: 30 * SECOND_MS,
  wholeMs: MINUTE_MS,
  keptBytes: 128 * 1024 * 1024,
  keptPerCaller: 32 * 1024 * 1024,
  answerMs: 5 * MINUTE_MS,
  firstFrameMs: 10 * SECOND_MS,
  strangerBytes: 256 * 1024,
  strangers: 64,
  revokeMs: 500,
}

export function createProxy({
  clock,
  log,
  trail,
  tokens,
  credentials,
  doorkeeper,
  lookOutside,
  way,
  gate,
  ownAddresses,
  allowed,
  limits,
}: {
  readonly clock: Clock
  readonly log: Log
  readonly trail: Trail
  readonly tokens: Tokens
  readonly credentials: Credentials
  readonly doorkeeper: Doorkeeper
  readonly lookOutside: LookOutside
  readonly way: ProxyWay
  readonly gate: Gate
  /** `host:port` of our own TCP listeners: never an upstream. */
  readonly ownAddresses: () => readonly string[]
  /** Operations that go through besides those of the table: `METHOD /path/{template}`. */
  readonly allowed: readonly string[]
  readonly limits: ProxyLimits
}): ApiProxy {
  const { dispatcherFor, onRejected } = way
  const traffic = createTraffic({ tokens, trail, doorkeeper, clock, revokeMs: limits.revokeMs })
  const admission = createAdmission({ doorkeeper, lookOutside, tokens, credentials, ownAddresses, allowed })
  const authorizer = createAuthorizer()
  const renew = createRenew({ credentials, onRejected, log })
  const turnstile = createTurnstile({ gate, tokens, trail })
  const exchange = createExchange({ gate, turnstile, renew, authorizer, dispatcherFor, limits, clock, log })
  let isStopping = false

  /** Never rejects. */
  const serve = async (request: AnyRequest, response: Response): Promise<void> => {
    let forget: (() => void) | undefined
    try {
      if (isStopping) throw shuttingDown()
      const visitor = admission.identify(request)
      const visit = await admission.admit(request, visitor)
      const meter = traffic.welcome(request, visit, visit.target.profile)
      forget = traffic.requests.track(visit.token?.id, response)
      await exchange({ visit, request, response, meter })
    } catch (thrown) {
      // The end of a body that came with its head is noticed a moment later; without it the connection would be closed.
      if (!request.complete) await setImmediate()
      guarded(response, () => sendRefusal(request, response, report(request, thrown), clock), bug)()
    }
    if (forget === undefined) return
    forget()
    // A kept-alive connection would hold up the shutdown.
    if (isStopping) request.socket.end()
  }

  const openTunnel = createTunnel({
    admission,
    gate,
    authorizer,
    renew,
    dispatcherFor,
    traffic,
    tokens,
    limits,
    clock,
    frameToken: ({ target }) => authorizer.frameToken(credentials.serve(target.profile)),
    report: (request, thrown, visitor) => void report(request, thrown, visitor),
  })

  const connect = async (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    if (isStopping) throw shuttingDown()
    await openTunnel({ request, socket, head })
  }

  /** Logs, audits and counts a failure; returns it as the client may see it. */
  const report = (request: RequestHead, thrown: unknown, known?: Visitor): BrokerError => {
    const error = toBrokerError(thrown)
    const door = doorkeeper.entranceOf(request.socket)?.door
    if (error.kind === 'internal') log.error({ err: error.cause ?? error }, 'proxied request failed')
    const visitor = known ?? whoSent(request)
    // Only names of callers that were let in are counted: others must not fill the counts with theirs.
    const caller = visitor?.isStranger === false ? visitor.caller : undefined
    if (door !== undefined) trail.refused(request, door, caller, error)
    const profile = parseProxyTarget(request.url ?? '')?.profile
    if (isParked(error)) log.debug({ code: error.code }, 'proxied request parked')
    // The bearer of a parked token is no stranger; a notice tells the owner of it.
    if (caller === undefined && error.code !== 'token_parked') traffic.turnAway()
    if (caller !== undefined && profile !== undefined)
      count(request, error, caller.token?.id, () => traffic.meter(profile, caller.token?.name))
    return error
  }

  /** Looks for the meter only if it counts: callers must not fill the counts with names of no profile. */
  const count = (
    { method = '', url = '' }: RequestHead,
    error: BrokerError,
    tokenId: string | undefined,
    meter: () => Meter,
  ): void => {
    if (isParked(error)) meter().park()
    const by = refusedBy(error)
    if (by === undefined) return
    const path = parseProxyTarget(url)?.path ?? ''
    // Those of a policy or a budget are those of the table; the rest is for `proxy.allow`.
    const operation = by === 'proxy' ? operationOf(method, path) : ruleOn(method, path, undefined).operation
    meter().refuse(operation)
    if (tokenId !== undefined) tokens.noteRefused(tokenId, operation, by)
  }

  const whoSent = (request: RequestHead): Visitor | undefined => {
    try {
      return admission.identify(request, { mayUpgrade: true })
    } catch {
      return undefined
    }
  }

  const bug = (err: unknown) => log.error({ err }, 'proxied request could not be refused')

  return {
    takes: ({ url }) => isProxyTarget(url ?? ''),
    handle(request, response) {
      void serve(request, response)
    },
    upgrade(request, socket, head) {
      socket.on('error', () => socket.destroy())
      const refuse = guarded(
        socket,
        (thrown: unknown) => writeRefusal(socket, report(request, thrown), clock),
        bug,
      )
      connect(request, socket, head).catch(refuse)
    },
    traffic: traffic.read,
    strangers: traffic.strangers,
    stop() {
      isStopping = true
      traffic.sockets.stop()
    },
  }
}

/** `undefined` if it was not the operation that was refused. */
function refusedBy({ code }: BrokerError): RefusedBy | undefined {
  if (code === 'policy_refused') return 'policy'
  if (code === 'budget_spent') return 'budget'
  return code === 'proxy_path_refused' || code === 'method_not_allowed' ? 'proxy' : undefined
}
