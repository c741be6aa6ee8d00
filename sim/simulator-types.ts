/** The options of a simulated Prefect Cloud, and what tests can do with it. */
import type { ClockOptions, SimClock } from './clock.js'
import type { Directory } from './directory.js'
import type { Faults } from './faults/faults.js'
import type { KeyStore } from './keys.js'
import type { DirectorySeed } from './seed.js'
import type { LoggedRequest } from './server/request-log.js'
import type { DeliverOptions, Delivery } from './ui/deliver.js'

export interface SimulatorOptions extends DirectorySeed {
  /** Default 0: a free port. A separate UI always takes a free port. */
  readonly port?: number
  readonly clock?: ClockOptions
  /** Handle of the user signed in to the browser; default: the first. */
  readonly signedIn?: string
  /** Serve the UI on its own origin. Default false; `tls: 'ui'` implies it. */
  readonly separateUi?: boolean
  /** HTTPS for the UI only, or for everything. Needs `openssl`. */
  readonly tls?: 'ui' | 'all'
  /** Public URL of the UI if clients reach it by name: `https://app.prefect.cloud`. */
  readonly publicUiUrl?: string
  readonly autoApprove?: boolean
  readonly callbackPath?: 'keep' | 'drop'
  /** API base of a real Prefect server that answers for every workspace. */
  readonly workspaceBackend?: string
  readonly requestsPerMinute?: number
  /** Whether users' keys can be listed. Default false. */
  readonly keyListing?: boolean
  /** Whether `Date` headers carry simulated time. Default true. */
  readonly simulatedDate?: boolean
  /** How long a deleted key is still accepted, ms. Default 5 minutes. */
  readonly deletedKeyGrace?: number
  /** How long until a new key is accepted, ms. Default 0. */
  readonly newKeyDelay?: number
}

export interface Simulator {
  /** `http://127.0.0.1:PORT/api`, no trailing slash: `PREFECT_CLOUD_API_URL`. */
  readonly apiUrl: string
  /** The UI's URL for clients: `PREFECT_CLOUD_UI_URL`. */
  readonly uiUrl: string
  /** Where the UI listens on 127.0.0.1. */
  readonly uiPort: number
  /** PEM file of the certificate authority, if there is TLS. */
  readonly caPath?: string
  readonly clock: SimClock
  readonly directory: Directory
  readonly keys: KeyStore
  readonly faults: Faults
  /** All requests, oldest first. */
  readonly requests: readonly LoggedRequest[]
  forgetRequests(): void
  /** Issues a key to a user (default: the signed-in one) and returns its text. Never expires without `expiresAt` (epoch ms). */
  issueKey(wanted?: { readonly user?: string; readonly name?: string; readonly expiresAt?: number }): string
  issueBotKey(wanted: { readonly bot: string; readonly expiresAt?: number }): string
  /** Signs another user in to the browser. */
  signIn(user: string): void
  /** 403 for every valid key from now on; call the result to lift it. */
  forbid(text?: string): () => void
  limit(requestsPerMinute: number | undefined): void
  /** How old the newest key is in each answer about service accounts, ms. Default: not at all. */
  ageServiceAccounts(ms: () => number): void
  /** Whether a rotation ends every earlier key but the one that it replaces. Default false: each lives until its own end. */
  keepOnePrevious(isSo: boolean): void
  /** Which part of the overlap that a rotation asks for the replaced key gets. Default 1. */
  grantOverlap(part: number): void
  /** Whether users may mint keys by API; 403 if not. */
  allowMinting(allowed: boolean): void
  /** The `PREFECT_API_URL` of a workspace, by `account/workspace` or id. */
  workspaceUrl(workspace: string): string
  /** Puts a real server behind the workspaces, or takes it away. */
  useBackend(url: string | undefined): void
  closeSockets(code: number, reason?: string): void
  /** Delivers a key as the login page at this URL does. */
  deliver(loginUrl: string, options?: DeliverOptions): Promise<Delivery>
  close(): Promise<void>
}
