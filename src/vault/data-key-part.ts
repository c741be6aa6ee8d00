/** The file vault's data key, and what it can be wrapped by. */
import type { Secret } from '../std/secret.js'
import type { VaultDescription } from './vault-part.js'

export const KEY_WRAPS = ['systemd-creds', 'passphrase', 'key-file'] as const
export type KeyWrapKind = (typeof KEY_WRAPS)[number]

/** The data key: 256 random bits. */
export const DATA_KEY_BYTES = 32

/** Turns the data key into JSON that may lie on the disk, and back. */
export interface KeyWrap {
  readonly kind: KeyWrapKind
  readonly atRest: VaultDescription['atRest']
  /**
   * `passphrase` is for the wrap that needs one; where it is absent that wrap looks for one itself. Rejects with
   * `vault_locked` (no passphrase) or `vault_unavailable`.
   */
  seal(key: Uint8Array, store: string, passphrase?: Secret): Promise<unknown>
  /** The same, and `vault_passphrase_wrong`, `vault_corrupt`. */
  open(sealed: unknown, store: string, passphrase?: Secret): Promise<Uint8Array>
}

/** The data key's file: made once, opened at every start. */
export interface DataKeyFile {
  /** Whether a data key was made. */
  isMade(): boolean
  /** Makes the data key; it is durable before it is first used. */
  make(passphrase?: Secret): Promise<Uint8Array>
  open(passphrase?: Secret): Promise<Uint8Array>
}

/** One file per item. The data key is passed in at every call, so that a locked vault holds none. */
export interface RecordFiles {
  read(item: string, key: Uint8Array): Promise<string | undefined>
  write(item: string, text: string, key: Uint8Array): Promise<void>
  remove(item: string): Promise<void>
}
