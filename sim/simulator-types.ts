/** What a simulated Prefect Cloud is told, and what can be done with it. */
import type { ClockOptions, SimClock } from './clock.js'
import type { Directory } from './directory.js'
import type { Faults } from './faults/faults.js'
import type { KeyStore } from './keys.js'
import type { DirectorySeed } from './seed.js'
import type { LoggedRequest } from './server/request-log.js'
import type { DeliverOptions, Delivery } from './ui/deliver.js'

export interface SimulatorOptions extends DirectorySeed {
  /** Default 0: any free one. With a UI of its own that one always takes a free port. */
  readonly port?: number
  readonly clock?: ClockOptions
  /** Handle of the user who is signed in in the browser; default: the first. */
  readonly signedIn?: string
  /** The UI on an origin of its own. Default false; `tls: 'ui'` implies it. */
  readonly separateUi?: boolean
  /** HTTPS for the UI alone or for all. Needs `openssl`. */
  readonly tls?: 'ui' | 'all'
  /** What the UI is called where it is not reached by its address: `https://app.prefect.cloud`. */
  readonly publicUiUrl?: string
  readonly autoApprove?: boolean
  readonly callbackPath?: 'keep' | 'drop'
  /** API base of a real Prefect server that answers for every workspace. */
  readonly workspaceBackend?: string
  readonly requestsPerMinute?: number
  /** Whether users' keys can be listed. Default false. */
  readonly keyListing?: boolean
  /** `Date` headers tell the simulated time. Default true. */
  readonly simulatedDate?: boolean
  /** Ms that a deleted key works on. Default 5 minutes. */
  readonly deletedKeyGrace?: number
  /** Ms before a new key is accepted. Default 0. */
  readonly newKeyDelay?: number
}

export interface Simulator {
  /** `http://127.0.0.1:PORT/api`, no trailing slash: `PREFECT_CLOUD_API_URL`. */
  readonly apiUrl: string
  /** What clients call the UI: `PREFECT_CLOUD_UI_URL`. */
  readonly uiUrl: string
  /** Where the UI really listens, on 127.0.0.1. */
  readonly uiPort: number
  /** PEM file of the authority, where there is TLS. */
  readonly caPath?: string
  readonly clock: SimClock
  readonly directory: Directory
  readonly keys: KeyStore
  readonly faults: Faults
  /** Everything that was asked, oldest first. */
  readonly requests: readonly LoggedRequest[]
  forgetRequests(): void
  /** A new key of a user (default: the one who is signed in); gives its text. Without `expiresAt` (epoch ms) it never expires. */
  issueKey(wanted?: { readonly user?: string; readonly name?: string; readonly expiresAt?: number }): string
  issueBotKey(wanted: { readonly bot: string; readonly expiresAt?: number }): string
  /** Another user sits at the browser. */
  signIn(user: string): void
  /** 403 for every good key from now on; the result lifts it. */
  forbid(text?: string): () => void
  limit(requestsPerMinute: number | undefined): void
  /** Whether users may mint keys by API; 403 where not. */
  allowMinting(allowed: boolean): void
  /** The `PREFECT_API_URL` of a workspace, by `account/workspace` or id. */
  workspaceUrl(workspace: string): string
  /** Puts a real server behind the workspaces, or takes it away. */
  useBackend(url: string | undefined): void
  closeSockets(code: number, reason?: string): void
  /** Does what the login page at this URL does. */
  deliver(loginUrl: string, options?: DeliverOptions): Promise<Delivery>
  close(): Promise<void>
}
