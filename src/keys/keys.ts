/** What we know of every key in the vault, without the keys: the ledger. One record, one vault item. */
import type { Owner, Workspace } from '../prefect/cloud.js'

export type KeyOrigin = 'browser' | 'pasted' | 'minted' | 'service_account' | 'profile'

/** One key in the vault. Times in epoch ms. */
export interface KeyRecord {
  /** The vault item that holds it. */
  readonly item: string
  readonly profile: string
  /** The Cloud API base this key belongs to; it is sent nowhere else. */
  readonly cloudApiUrl: string
  readonly fingerprint: string
  readonly origin: KeyOrigin
  /** The key's id at Prefect, where an answer of the API told it. */
  readonly cloudId?: string
  /** The user id the key was minted under; with `cloudId` what a deletion needs. */
  readonly userId?: string
  readonly name?: string
  readonly issuedAt: number
  readonly expiresAt?: number
  /** True where `expiresAt` is our guess (29 days for a browser key), not Prefect's word. */
  readonly isExpiryAssumed?: boolean
  /** Durable before the first answer that carried the key. */
  readonly handedOut: boolean
  /** When another key took its place. */
  readonly retiredAt?: number
  /** When Prefect answered 401 to it. */
  readonly rejectedAt?: number
  /** The last warning of its end that was given: so many days before it. */
  readonly warned?: number
}

/** How the last renewal of a profile's key ended. */
export interface LastRenewal {
  /** Epoch ms. */
  readonly at: number
  readonly outcome: 'done' | 'failed'
  /** Of the error, and its message, where it failed. */
  readonly code?: string
  readonly message?: string
}

/** What we hold for one profile. */
export interface ProfileRecord {
  /** The item of the key that is served. */
  readonly currentItem?: string
  /** The item of a server profile's auth string, where it was given to us and not to the file. */
  readonly authItem?: string
  readonly owner?: Owner
  /** As of the last look at Prefect; names for ids. */
  readonly workspaces: readonly Workspace[]
  /** Counts every change of the profile's answer; never goes back. */
  readonly generation: number
  /** Of the answer that `generation` counts; no secrets can be read from it. */
  readonly digest: string
  /** Said once to a person: why the key could not be exchanged. */
  readonly exchangeRefused?: string
  readonly lastRenewal?: LastRenewal
}

/** Everything durable but the secrets. Replaced whole, atomically. */
export interface Ledger {
  readonly profiles: Readonly<Record<string, ProfileRecord>>
  readonly keys: Readonly<Record<string, KeyRecord>>
  /** Items that nobody names any more and that the vault has not deleted yet: tried again until it has. */
  readonly doomed?: readonly string[]
}

export const EMPTY_LEDGER: Ledger = { profiles: {}, keys: {} }

/** A durable JSON document: `save` resolves when it will survive a power cut. */
export interface Document<T> {
  read(): T
  /** Replaces the document by `change(read())`, one at a time; the new value is visible once it is durable. */
  update(change: (current: T) => T): Promise<T>
}
