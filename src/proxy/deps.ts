/** What the proxy stands on. */
import type { Dispatcher } from 'undici'
import type { Audit } from '../audit/audit.js'
import type { Doorkeeper } from '../http/guard.js'
import type { Trail } from '../http/trail.js'
import type { ResolvedProfile } from '../profiles/profile.js'
import type { Credentials } from '../serve/credentials.js'
import type { Clock } from '../std/clock.js'
import type { Log } from '../std/log.js'
import type { Tokens } from '../tokens/tokens.js'
import type { Upstream } from './upstream.js'

/** The proxy's way out; handed in by the daemon. */
export interface ProxyWay {
  /** The way to an origin, with its certificates and company proxies, kept alive between requests. */
  dispatcherFor(origin: string): Promise<Dispatcher>
  /**
   * Prefect answered 401 to what we hold for the profile. Looks again, renews where it is due; resolves when the answer of
   * `credentials` is as good as it gets. Never rejects.
   */
  onRejected(profile: string, fingerprint: string): Promise<void>
}

export interface ProxyLimits {
  /** Bodies up to this length are read whole before they are sent: cheaper, and they can be sent again. */
  readonly bufferBytes: number
  /** Bodies that do not tell their length are read whole up to this. */
  readonly unmeasuredBytes: number
  /** Without a byte of the body from the client. */
  readonly bodyIdleMs: number
  /** Until Prefect's answer begins. */
  readonly answerMs: number
  /** Until a WebSocket that showed no token at its upgrade shows one in its first frame. */
  readonly firstFrameMs: number
  /** How many of those may be open. */
  readonly strangers: number
  /** How long a revoked token's streams may live on. */
  readonly revokeMs: number
}

export const PROXY_LIMITS: ProxyLimits = {
  bufferBytes: 64 * 1024,
  unmeasuredBytes: 5 * 1024 * 1024,
  bodyIdleMs: 60_000,
  answerMs: 300_000,
  firstFrameMs: 10_000,
  strangers: 64,
  revokeMs: 500,
}

export interface ProxyDeps {
  readonly clock: Clock
  readonly log: Log
  readonly audit: Audit
  readonly trail: Trail
  readonly tokens: Tokens
  readonly credentials: Credentials
  readonly doorkeeper: Doorkeeper
  readonly way: ProxyWay
  /** `host:port` of our own TCP doors: never an upstream. */
  readonly ownAddresses: () => readonly string[]
  readonly upstreamOf: (profile: ResolvedProfile) => Upstream | undefined
  readonly limits: ProxyLimits
}
