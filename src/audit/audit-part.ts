/** Who got what, when, by which door. Never an input to a decision. */
import type { Caller } from '../tokens/access.js'

export type AuditAction =
  | 'credentials'
  | 'env'
  | 'proxy'
  | 'key_created'
  | 'key_deleted'
  | 'key_renewed'
  | 'key_rotated'
  | 'token_created'
  | 'token_revoked'
  | 'login'
  | 'logout'
  | 'adopt'
  | 'profile_changed'
  | 'vault_unlock'
  | 'refused'
  | 'shutdown'

export interface AuditEntry {
  /** Epoch ms. */
  readonly at: number
  readonly action: AuditAction
  readonly outcome: 'given' | 'refused' | 'done'
  readonly door: Caller['door'] | 'daemon'
  readonly profile?: string
  readonly fingerprint?: string
  readonly tokenId?: string
  readonly tokenName?: string
  /** The User-Agent, at most 80 printable characters. */
  readonly agent?: string
  readonly code?: string
}

export interface Audit {
  /** Never throws and never waits: lines are batched to the disk a few times a second, and at close. */
  record(entry: Omit<AuditEntry, 'at'>): void
  /** Entries at or after `since`, oldest first, at most the newest 10 000. */
  read(since?: number): Promise<readonly AuditEntry[]>
  close(): Promise<void>
}
