/** What the login room offers: requests, views and sessions for callers, deliveries for whoever stores the key. */

import type { BrokerError } from '../base/errors.js'
import type { KeyFacts } from '../keys/ledger.js'
import type { Owner, Workspace } from '../prefect/cloud.js'
import type { Secret } from '../std/secret.js'
import type { KeptPort } from './ports.js'

export interface LoginRequest {
  readonly profile?: string
  /** `handle/handle`, ids, or a page URL. */
  readonly workspace?: string
  /** Email or handle that the key must belong to. */
  readonly owner?: string
  /** The port for the browser, which its caller has forwarded; otherwise any free one. Ignored where a login is joined. */
  readonly port?: number
  readonly switchOwner?: boolean
}

/** A login as callers see it, without its key. */
export interface LoginView {
  readonly id: string
  readonly profile: string
  readonly state:
    | 'waiting'
    | 'received'
    | 'verified'
    | 'confirmed'
    | 'stored'
    | 'failed'
    | 'cancelled'
    | 'expired'
  /** Grows with every change. */
  readonly version: number
  /** Absent once no key can come any more. */
  readonly url?: string
  /** Epoch ms. */
  readonly expiresAt: number
  readonly owner?: Owner
  readonly isOwnerKnown?: boolean
  readonly workspaces?: readonly Workspace[]
  readonly workspace?: Workspace
  readonly refused: number
  /** The same by our word for the reason: `origin`, `host`, `key`, … */
  readonly refusedBy: Readonly<Record<string, number>>
  readonly notice?: string
  readonly key?: KeyFacts
  readonly exchange?: ExchangeOutcome
  readonly error?: BrokerError
}

export interface LoginSessions {
  /**
   * Starts a login, or joins the pending one of the profile. Rejects with `profile_not_cloud`, `profile_name_invalid`,
   * `profiles_file_invalid`, `profiles_file_unreadable`, `api_url_invalid`, `login_port_unavailable`, `too_many_requests`
   * or `shutting_down`.
   */
  begin(request: LoginRequest): Promise<{ readonly login: LoginView; readonly isJoined: boolean }>
  /** Ended logins are kept for ten minutes. Throws `login_not_found`. */
  get(id: string): LoginView
  /** Pending ones first. */
  list(): readonly LoginView[]
  /** Resolves once the version differs from `version`, after `ms`, or on abort. Rejects with `login_not_found`. */
  waitForChange(id: string, version: number, ms: number, signal: AbortSignal): Promise<LoginView>
  /**
   * Takes a key that the user typed or piped in: checked at once, its owner needs no confirmation. Rejects with
   * `key_malformed`, `key_rejected`, `owner_mismatch`, `workspace_not_found`, `workspace_none`, `login_state`, …; after any
   * of these a pending login keeps waiting.
   */
  submitKey(id: string, key: Secret, options: { readonly exchange: boolean }): Promise<LoginView>
  /**
   * Takes the address that the browser ended on, with a key in its query: checked as the callback checks a request, its owner
   * as that of any key from a browser. Always exchanged. Rejects with `address_malformed`, `address_mismatch`, and as
   * `submitKey` does.
   */
  submitAddress(id: string, address: Secret): Promise<LoginView>
  /**
   * In `verified`: accepts or declines the owner, and chooses the workspace. Declining goes back to waiting. Rejects with
   * `login_state`, `workspace_required`, `workspace_not_found`.
   */
  confirm(id: string, answer: { readonly accept: boolean; readonly workspace?: string }): Promise<LoginView>
  /** The port stays bound for half an hour. Rejects with `login_not_found`, or `login_state` while the key is being stored. */
  cancel(id: string): Promise<LoginView>
  /** Ports of ended logins that are still bound, so that nobody else gets a late key. */
  ports(): readonly KeptPort[]
  /** Binds again the ports that the last run of the daemon left. Never rejects. */
  resume(): Promise<void>
  /** Cancels pending logins and waits for keys that are being stored; nothing can be started afterwards. */
  close(): Promise<void>
}

/** A verified key with its confirmed owner and the chosen workspace. */
export interface LoginDelivery {
  readonly profile: string
  readonly cloudApiUrl: string
  readonly key: Secret
  readonly via: 'browser' | 'pasted'
  readonly owner: Owner
  readonly workspaces: readonly Workspace[]
  readonly workspace: Workspace
  /** Whether to replace the key with one that we mint ourselves. */
  readonly exchange: boolean
  /** Whether the profile becomes the active one. */
  readonly isToBeActive?: boolean
}

interface ExchangeOutcome {
  readonly isDone: boolean
  readonly message: string
}

export interface LoginOutcome {
  readonly key: KeyFacts
  /** Absent if no exchange was asked for. */
  readonly exchange?: ExchangeOutcome
}

/** Stores the key durably, writes the profile's URL and exchanges the key. Rejects if the key could not be stored. */
export type KeepDelivery = (delivery: LoginDelivery) => Promise<LoginOutcome>
