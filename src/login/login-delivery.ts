/** What a finished login hands over to whoever keeps keys, and what it gets back. */

import type { Owner, Workspace } from '../prefect/cloud.js'
import type { KeyFacts } from '../serve/credentials.js'
import type { Secret } from '../std/secret.js'

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
