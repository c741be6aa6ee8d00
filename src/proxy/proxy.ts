/** `/proxy/{profile}/api/**`: Prefect's API for programs that never hold the key. */
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import type { Dispatcher } from 'undici'
import { type BrokerError, shuttingDown } from '../base/errors.js'
import type { Doorkeeper } from '../http/guard.js'
import { toBrokerError } from '../http/problem.js'
import type { Trail } from '../http/trail.js'
import { isProxyTarget, parseProxyTarget } from '../prefect/proxied.js'
import type { Credentials } from '../serve/credentials.js'
import { type Clock, MINUTE_MS, SECOND_MS } from '../std/clock.js'
import type { Log } from '../std/log.js'
import type { Tokens } from '../tokens/tokens.js'
import { createAdmission } from './admission.js'
import type { BodyLimits } from './body.js'
import { createExchange } from './exchange.js'
import { createAuthorizer } from './headers.js'
import { isParked, sendRefusal, writeRefusal } from './parking.js'
import { createRenew } from './rejection.js'
import { createTraffic, type ProxyTraffic } from './traffic.js'
import { createTunnel, type TunnelLimits } from './tunnel.js'

export interface ApiProxy {
  /** Returns true if the request is for the proxy, even if it will refuse it. */
  takes(request: IncomingMessage): boolean
  handle(request: IncomingMessage, response: ServerResponse): void
  /** A WebSocket handshake. */
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void
  /** What went through since the daemon started. */
  traffic(): readonly ProxyTraffic[]
  /** Cuts every WebSocket and refuses new requests; requests under way go on. */
  stop(): void
}

/** The proxy's way out; handed in by the daemon. */
export interface ProxyWay {
  /** The dispatcher for an origin, with its certificates and company proxies; it keeps connections alive. */
  dispatcherFor(origin: string): Promise<Dispatcher>
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
  bodyIdleMs: MINUTE_MS,
  answerMs: 5 * MINUTE_MS,
  firstFrameMs: 10 * SECOND_MS,
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
  way,
  ownAddresses,
  limits,
}: {
  readonly clock: Clock
  readonly log: Log
  readonly trail: Trail
  readonly tokens: Tokens
  readonly credentials: Credentials
  readonly doorkeeper: Doorkeeper
  readonly way: ProxyWay
  /** `host:port` of our own TCP listeners: never an upstream. */
  readonly ownAddresses: () => readonly string[]
  readonly limits: ProxyLimits
}): ApiProxy {
  const { dispatcherFor, onRejected } = way
  const traffic = createTraffic({ tokens, trail, clock, revokeMs: limits.revokeMs })
  const admission = createAdmission({ doorkeeper, tokens, credentials, ownAddresses })
  const authorizer = createAuthorizer()
  const renew = createRenew({ credentials, onRejected, log })
  const exchange = createExchange({ renew, authorizer, dispatcherFor, limits, clock, log })
  const openTunnel = createTunnel({
    admission,
    authorizer,
    renew,
    dispatcherFor,
    traffic,
    tokens,
    credentials,
    limits,
    clock,
  })
  let isStopping = false

  const serve = async (request: IncomingMessage, response: ServerResponse) => {
    if (isStopping) throw shuttingDown()
    const visitor = admission.identify(request)
    const visit = await admission.admit(request, visitor)
    const meter = traffic.welcome(request, visit, visit.target.profile)
    const forget = traffic.requests.track(visit.token?.id, () => response.destroy())
    try {
      await exchange({ visit, request, response, meter })
    } finally {
      forget()
      // A kept-alive connection would hold up the shutdown.
      if (isStopping) request.socket.end()
    }
  }

  const connect = async (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    if (isStopping) throw shuttingDown()
    await openTunnel({ request, socket, head })
  }

  /** Logs, audits and counts a failure; returns it as the client may see it. */
  const report = (request: IncomingMessage, thrown: unknown): BrokerError => {
    const error = toBrokerError(thrown)
    const door = doorkeeper.entranceOf(request.socket)?.door
    const profile = parseProxyTarget(request.url ?? '')?.profile
    if (error.kind === 'internal') log.error({ err: error.cause ?? error }, 'proxied request failed')
    if (door !== undefined) trail.refused(request, door, undefined, error)
    if (isParked(error) && profile !== undefined) {
      traffic.meter(profile, tokenName(request)).park()
      log.debug({ profile, code: error.code }, 'proxied request parked')
    }
    return error
  }

  /** Only of a caller that was let in: others must not fill the counts with names. */
  const tokenName = (request: IncomingMessage): string | undefined => {
    try {
      return admission.identify(request, { mayUpgrade: true }).token?.name
    } catch {
      return undefined
    }
  }

  return {
    takes: ({ url }) => isProxyTarget(url ?? ''),
    handle(request, response) {
      serve(request, response).catch((thrown: unknown) => sendRefusal(response, report(request, thrown)))
    },
    upgrade(request, socket, head) {
      socket.on('error', () => socket.destroy())
      connect(request, socket, head).catch((thrown: unknown) => writeRefusal(socket, report(request, thrown)))
    },
    traffic: traffic.read,
    stop() {
      isStopping = true
      traffic.sockets.stop()
    },
  }
}
