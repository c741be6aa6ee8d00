/** A store that a team already runs, as a share uses it: one document, read and compared-and-set. */

import type { SecretSource } from '../config/shares.js'
import type { Secret } from '../std/secret.js'

/** One document as the store has it. */
export interface StoredDocument {
  /** As it was written, unchecked: others may have written it. */
  readonly data: unknown
  /** Compared by `write`; the same only for the same document, also after a restore. */
  readonly version: string
}

export interface StoreFinding {
  /** `tokenLife`: ms; absent: the token does not expire. */
  readonly tokenLifeMs?: number
  readonly isTokenRenewable?: boolean
  /** What the token may do at the path; absent: the store does not tell. */
  readonly may?: { readonly read: boolean; readonly write: boolean }
  /** Whether the store itself refuses a write that names no version; absent: it does not tell. */
  readonly requiresVersion?: boolean
  /** The store's clock minus ours, ms. */
  readonly skewMs?: number
}

/**
 * Every method may reject with `share_store_unreachable` (no answer), `share_store_sealed`, `share_store_login` (the store does
 * not take our secret), `share_store_denied` (it does, and the policy does not allow this), or `share_store_refused` (any other
 * answer, such as a path without a KV version 2). A rejected `write` may have been done.
 */
export interface ShareStore {
  /** `vault.example.com, path secret/prefect/prod`: completes "the document at …". */
  readonly where: string
  /** `undefined`: there is none, and never was. Rejects with `share_document_deleted` if somebody deleted it. */
  read(): Promise<StoredDocument | undefined>
  /** Returns the new version, or `conflict` if the store has another one than `expected`; `undefined`: none. */
  write(data: unknown, expected: string | undefined): Promise<{ readonly version: string } | 'conflict'>
  /** What `doctor` tells. */
  examine(): Promise<StoreFinding>
  close(): Promise<void>
}

/** Rejects with `share_store_login` if there is nothing to read. */
export type ReadSecret = (source: SecretSource, what: string) => Promise<Secret>
