/** Where secrets rest. Five answers, never confused: a value, nothing there, locked, unavailable, timed out. */
import type { Secret } from '../std/secret.js'

export type VaultState = 'ready' | 'locked' | 'unavailable' | 'timed_out'

export interface VaultDescription {
  readonly backend: 'keychain' | 'file'
  /** What stands between a thief with the disk and the keys. `not protected` is said, not hidden. */
  readonly atRest: 'os keychain' | 'systemd credential' | 'passphrase' | 'not protected'
  /** Why this backend: the sentence written down when it was chosen. */
  readonly because: string
  readonly state: VaultState
  /** The next start opens it as this one did, without a person. Absent: that is not certain. */
  readonly opensAlone?: true
  /** What is wrong and what helps, where `state` is not `ready`. */
  readonly problem?: { readonly message: string; readonly hint: string }
}

/**
 * One secret under one name. Names are ours (`[a-z0-9:_-]`, at most 200 characters); values are at most 8 kB of any text.
 * Every method may reject with `vault_locked`, `vault_unavailable`, `vault_timeout` or `vault_corrupt`.
 */
export interface Vault {
  describe(): VaultDescription
  /** `undefined`: certainly nothing there. Locked is not nothing. */
  get(item: string): Promise<Secret | undefined>
  /** Durable when it resolves. Rejects with `vault_value_too_large` above 8 kB. */
  put(item: string, value: Secret): Promise<void>
  /** Resolves also where nothing was there. */
  delete(item: string): Promise<void>
  /** Proves that a value can be written, read back and deleted, now. */
  prove(): Promise<void>
  /** Opens a vault that is locked by passphrase: `vault_passphrase_wrong`; `vault_not_lockable` where there is none. */
  unlock(passphrase: Secret): Promise<void>
  /** Forgets the data key. `vault_not_lockable` where the vault has no passphrase. */
  lock(): Promise<void>
  close(): Promise<void>
}
