/** The vault's contract, and what every backend shares: item names, value sizes, and the proof that it works. */
import { BrokerError } from '../base/errors.js'
import type { Secret } from '../std/secret.js'

type VaultState = 'ready' | 'locked' | 'unavailable' | 'timed_out'

export interface VaultDescription {
  readonly backend: 'keychain' | 'file'
  /** What protects the keys from a thief with the disk. */
  readonly atRest: 'os keychain' | 'systemd credential' | 'passphrase' | 'not protected'
  /** Why this backend: the sentence recorded when it was chosen. */
  readonly because: string
  readonly state: VaultState
  /** The next start will open it without a person. Absent: not certain. */
  readonly opensAlone?: true
  /** What is wrong and what to do, if `state` is not `ready`. */
  readonly problem?: { readonly message: string; readonly hint: string }
}

/**
 * One secret under one name. Names are ours (`[a-z0-9:_-]`, at most 200 characters); values are at most 8 kB of any text.
 * Every method may reject with `vault_locked`, `vault_unavailable`, `vault_timeout` or `vault_corrupt`.
 */
export interface Vault {
  describe(): VaultDescription
  /** `undefined`: certainly no such item. A locked vault rejects. */
  get(item: string): Promise<Secret | undefined>
  /** Durable when it resolves. Rejects with `vault_value_too_large` above 8 kB. */
  put(item: string, value: Secret): Promise<void>
  /** Resolves even if there was no such item. */
  delete(item: string): Promise<void>
  /** Proves that a value can be written, read back and deleted, now. */
  prove(): Promise<void>
  /** Opens a vault that is locked by a passphrase. Rejects with `vault_passphrase_wrong`, `vault_not_lockable`. */
  unlock(passphrase: Secret): Promise<void>
  /** Forgets the data key. Rejects with `vault_not_lockable` if the vault has no passphrase. */
  lock(): Promise<void>
  close(): Promise<void>
}

/** Where a vault can be moved: as the settings name it; `file` takes the best wrap that works here. */
export const MOVE_TARGETS = ['keychain', 'file', 'systemd-creds', 'passphrase', 'key-file'] as const

export interface MoveRequest {
  /** `rekey`: a new data key for the same kind of vault. */
  readonly to: (typeof MOVE_TARGETS)[number] | 'rekey'
  /** Of the new vault, where that has one. */
  readonly passphrase?: Secret
}

/** A vault that can become another one while it is used. */
export interface MovableVault extends Vault {
  /**
   * Moves every item, and returns how many there were. `namesOf` is asked once writes are held up. Rejects as either vault does, and
   * with `vault_not_movable`, `setting_invalid`, `passphrase_weak`, `disk_failed`: nothing has changed then.
   */
  move(request: MoveRequest, namesOf: () => readonly string[]): Promise<number>
}

/** The largest value, in bytes of UTF-8. Some keychains truncate longer ones silently. */
const MAX_VALUE_BYTES = 8192

const ITEM = /^[a-z0-9:_-]{1,200}$/

/** Throws `internal` for an invalid name: names come from the program, never from a user. */
export function requireItemName(item: string): void {
  if (ITEM.test(item)) return
  throw new BrokerError('internal', `cannot use '${item}' as the name of a vault item`)
}

/** Throws `vault_value_too_large` above {@link MAX_VALUE_BYTES}. */
export function requireSmallValue(item: string, value: Secret): void {
  const bytes = Buffer.byteLength(value.reveal()) // only its length counts
  if (bytes <= MAX_VALUE_BYTES) return
  throw new BrokerError(
    'vault_value_too_large',
    `cannot store '${item}': ${bytes} bytes are more than the vault's limit of ${MAX_VALUE_BYTES}`,
  )
}

/**
 * Writes `value` under `item`, reads it back, deletes it, and reads again. Rejects as the vault does, or with
 * `vault_unavailable` if the vault reports success and did something else.
 */
export async function proveVault(
  vault: Pick<Vault, 'get' | 'put' | 'delete'>,
  item: string,
  value: Secret,
): Promise<void> {
  await vault.put(item, value)
  const read = await vault.get(item)
  if (read === undefined || !read.equals(value)) throw broken('returned a different value than was stored')
  await vault.delete(item)
  if ((await vault.get(item)) !== undefined) throw broken('still holds a deleted item')
}

function broken(what: string): BrokerError {
  return new BrokerError('vault_unavailable', `the vault ${what}`, {
    hint: 'prefect-auth doctor',
  })
}
