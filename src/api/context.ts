/** What the HTTP API is built from: the parts that the daemon hands in, and what the routes share. */

import type { KeyAdmin } from '../admin/keys.js'
import type { ProfileAdmin } from '../admin/profiles.js'
import type { ServiceAccountDirectory } from '../admin/service-accounts.js'
import type { Transfer } from '../admin/transfer.js'
import type { VaultAdmin } from '../admin/vault.js'
import type { WorkspaceAdmin } from '../admin/workspaces.js'
import type { Desk } from '../asks/desk.js'
import type { Audit } from '../audit/audit.js'
import type { Events } from '../base/events.js'
import type { Files } from '../files/files.js'
import type { Holds } from '../http/conditional.js'
import type { Guard } from '../http/guard.js'
import type { RecogniserState } from '../http/lane/recogniser.js'
import type { Crowd } from '../http/places.js'
import type { Trail } from '../http/trail.js'
import type { LoginSessions } from '../login/login.js'
import type { FindCaller } from '../os/callers.js'
import type { FindPeer } from '../os/peer-finder.js'
import type { createPage, Page } from '../page/page.js'
import type { ApiProxy, ProxyLimits, ProxyWay } from '../proxy/proxy.js'
import type { RenewalAdmin } from '../renewal/renewal.js'
import type { ServiceAccountAdmin } from '../renewal/service-accounts.js'
import type { Credentials } from '../serve/credentials.js'
import type { ShareSecrets } from '../share/secrets.js'
import type { ShareAdmin } from '../share/shares.js'
import type { Inspection } from '../status/status.js'
import type { Clock } from '../std/clock.js'
import type { Log } from '../std/log.js'
import type { Door } from '../tokens/access.js'
import type { Tokens } from '../tokens/tokens.js'
import type { logLevels } from '../wire/status.js'
import type { ExportDocument } from '../wire/transfer.js'
import type { HandOut } from './hand-out.js'
import type { EventStreams } from './observe/events.js'
import type { Metrics } from './observe/metrics.js'
import type { RouteBook } from './observe/openapi.js'

/** Handed in by the daemon. */
export interface AppDeps {
  readonly version: string
  readonly clock: Clock
  readonly log: Log
  readonly audit: Audit
  /** Program, pid and parents at the other end of a connection; absent: nobody is asked. */
  readonly findCaller?: FindCaller
  readonly events: Events
  readonly tokens: Tokens
  readonly files: Files
  readonly credentials: Credentials
  readonly profiles: ProfileAdmin
  readonly workspaces: WorkspaceAdmin
  readonly keys: KeyAdmin
  readonly renewal: RenewalAdmin
  readonly serviceAccounts: ServiceAccountAdmin
  readonly shares: ShareAdmin
  readonly shareSecrets: ShareSecrets
  readonly serviceAccountDirectory: ServiceAccountDirectory
  readonly vault: VaultAdmin
  readonly transfer: Transfer<ExportDocument>
  readonly logins: LoginSessions
  readonly inspection: Inspection
  /** Where requests wait for a yes. */
  readonly desk: Desk
  /** Who gives an answer over the socket. */
  readonly findPeer: FindPeer
  /** How the proxy reaches Prefect. */
  readonly way: ProxyWay
  readonly proxyLimits?: Partial<ProxyLimits>
  /** Operations that go through the proxy besides those of its table: `METHOD /path/{template}`. */
  readonly proxyAllow?: readonly string[]
  readonly page: Pick<Parameters<typeof createPage>[0], 'randomToken' | 'loadDocument'>
  /** Whether plain requests are read without Node's parser; absent: they are. */
  readonly recogniser?: RecogniserState
  /** For the time limits of connections in the lane; absent: the system's, as Node's own limits have it. */
  readonly connectionClock?: Clock
  /** Takes effect at once. */
  readonly setLogLevel: (level: (typeof logLevels)[number]) => void
  /** Resolves soon, when shells can see what has changed so far. Never rejects. */
  readonly told?: () => Promise<void>
  /** Starts the shutdown and returns; called after `POST /v1/shutdown` was answered. */
  readonly shutdown: () => void
}

/** What a route may use. */
export type RouteContext = Omit<AppDeps, 'page'> & {
  readonly page: Page
  readonly guard: Guard
  readonly holds: Holds
  readonly trail: Trail
  readonly metrics: Metrics
  readonly handOut: HandOut
  readonly streams: EventStreams
  readonly book: RouteBook
  /** What went through the proxy since the start. */
  readonly proxyTraffic: ApiProxy['traffic']
  /** Who was refused there without a token. */
  readonly proxyStrangers: ApiProxy['strangers']
  /** Who holds the places of the listeners where a token is needed. */
  readonly crowds: () => readonly (Crowd & { readonly door: Door })[]
}
