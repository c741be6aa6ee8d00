/** The live logins: one per profile, N callers share it. Types; the holder is `hold-logins.ts`, the rules are `login.ts`. */
import type { BrokerError } from '../base/errors.js'
import type { KeyFacts } from '../keys/ledger.js'
import type { Owner, Workspace } from '../prefect/cloud.js'
import type { Secret } from '../std/secret.js'

type LoginStateName =
  | 'waiting'
  | 'received'
  | 'verified'
  | 'confirmed'
  | 'stored'
  | 'failed'
  | 'cancelled'
  | 'expired'

export interface LoginRequest {
  readonly profile?: string
  /** `handle/handle`, ids, or a page URL. */
  readonly workspace?: string
  /** Email or handle the key must belong to. */
  readonly owner?: string
  readonly switchOwner?: boolean
}

/** What callers see of a login; no key. */
export interface LoginView {
  readonly id: string
  readonly profile: string
  readonly state: LoginStateName
  /** Grows with every change. */
  readonly version: number
  readonly url?: string
  /** Epoch ms. */
  readonly expiresAt: number
  readonly owner?: Owner
  readonly isOwnerKnown?: boolean
  readonly workspaces?: readonly Workspace[]
  readonly workspace?: Workspace
  readonly refused: number
  readonly notice?: string
  readonly key?: KeyFacts
  readonly exchange?: { readonly isDone: boolean; readonly message: string }
  readonly error?: BrokerError
}

export interface LoginSessions {
  /**
   * Starts a login, or joins the one that is pending for the profile. Rejects with `profile_not_found`,
   * `profile_not_cloud`, `profiles_file_invalid`, `login_port_unavailable`.
   */
  begin(request: LoginRequest): Promise<{ readonly login: LoginView; readonly isJoined: boolean }>
  /** Throws `login_not_found`. Ended logins are kept for ten minutes. */
  get(id: string): LoginView
  /** Pending ones first. */
  list(): readonly LoginView[]
  /** Resolves when the version is no longer `version`, after `ms`, or on abort. Throws `login_not_found`. */
  waitForChange(id: string, version: number, ms: number, signal: AbortSignal): Promise<LoginView>
  /**
   * A key that the user typed or piped in: checked at once, needs no confirmation of the owner. Rejects with
   * `key_malformed`, `key_rejected`, `owner_mismatch`, `workspace_required`, …; the login goes on waiting then.
   */
  submitKey(id: string, key: Secret, options: { readonly exchange: boolean }): Promise<LoginView>
  /**
   * In `verified`: yes or no to the owner, and the workspace. "No" goes back to waiting. Rejects with `login_state`,
   * `workspace_required`, `workspace_not_found`.
   */
  confirm(id: string, answer: { readonly accept: boolean; readonly workspace?: string }): Promise<LoginView>
  cancel(id: string): Promise<LoginView>
  close(): Promise<void>
}

/** The profile a login is for, with the endpoints that count for it. */
export interface LoginTarget {
  readonly profile: string
  readonly cloudApiUrl: string
  readonly cloudUiUrl: string
  /** The owner stored for this profile: another one needs `switchOwner`. */
  readonly owner?: Owner
  /** The workspace that the profile's URL names now. */
  readonly workspaceId?: string
  /** The login was for "the active profile", which was a bundled one: this profile takes its place. */
  readonly isToBeActive?: boolean
}

/** A key that was verified, whose owner was confirmed, with the workspace chosen. */
export interface LoginDelivery {
  readonly profile: string
  readonly cloudApiUrl: string
  readonly key: Secret
  readonly via: 'browser' | 'pasted'
  readonly owner: Owner
  readonly workspaces: readonly Workspace[]
  readonly workspace: Workspace
  /** Mint a key of our own in its place (contract 6.6). */
  readonly exchange: boolean
  /** As in the target. */
  readonly isToBeActive?: boolean
}

export interface LoginOutcome {
  readonly key: KeyFacts
  /** Absent where no exchange was asked for. */
  readonly exchange?: { readonly isDone: boolean; readonly message: string }
}

/** Stores the key durably, writes the profile's URL, exchanges. Rejects where the key could not be stored. */
export type KeepDelivery = (delivery: LoginDelivery) => Promise<LoginOutcome>

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
