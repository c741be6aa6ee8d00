/** What a login needs from the listener that the browser calls back. Types; the listener is `http/login-callback.ts`. */
import type { Secret } from '../std/secret.js'

export interface CallbackRequest {
  /** The only `Origin` that may post. */
  readonly uiOrigin: string
  /** Unguessable text for the callback's path; without it nothing is accepted. */
  readonly state?: string
  /** A well-formed key came. Answers whether it is taken: false while another one is being looked at. */
  onDelivery(key: Secret, via: 'get' | 'post'): boolean
  /** The page says that the login failed, in its own words: untrusted text. Answers whether that is taken. */
  onFailure(reason: string): boolean
  /** Something came that was no delivery. `why` is one of our own words, never text of the request. */
  onRefused(why: string): void
}

export interface LoginCallback {
  /** `http://localhost:PORT`, with `/STATE` where there is one. */
  readonly callbackUrl: string
  readonly port: number
  /** Refuses connections from now on and ends those that are open, after answers under way. Idempotent. */
  close(): Promise<void>
}

/** Listens on a fresh port for one login. Rejects with `login_port_unavailable`. */
export type OpenCallback = (request: CallbackRequest) => Promise<LoginCallback>
