/** The live logins: one per profile, N callers share it. Types; the holder is `hold-logins.ts`, the rules are `login.ts`. */

import type { BrokerError } from '../base/errors.js'
import type { Owner, Workspace } from '../prefect/cloud.js'
import type { KeyFacts } from '../serve/credentials.js'
import type { Secret } from '../std/secret.js'

export type LoginStateName =
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
