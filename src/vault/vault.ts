/** What every vault backend keeps to: item names, the size of a value, and how a vault proves that it works. */
import { BrokerError } from '../base/errors.js'
import type { Secret } from '../std/secret.js'

type VaultState = 'ready' | 'locked' | 'unavailable' | 'timed_out'

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

/** The largest value, in bytes of UTF-8. Some keychains cut longer ones without a word. */
const MAX_VALUE_BYTES = 8192

const ITEM = /^[a-z0-9:_-]{1,200}$/

/** Throws `internal` for a name that is not ours: names are made by the program, never by a user. */
export function requireItemName(item: string): void {
  if (ITEM.test(item)) return
  throw new BrokerError('internal', `the vault was asked for an item with the impossible name '${item}'`)
}

/** Throws `vault_value_too_large` above {@link MAX_VALUE_BYTES}. */
export function requireSmallValue(item: string, value: Secret): void {
  const bytes = Buffer.byteLength(value.reveal()) // only its length counts
  if (bytes <= MAX_VALUE_BYTES) return
  throw new BrokerError(
    'vault_value_too_large',
    `storing '${item}': the value has ${bytes} bytes, the vault takes at most ${MAX_VALUE_BYTES}`,
  )
}

/**
 * Writes `value` under `item`, reads it back, deletes it, and looks again. Rejects with whatever the vault says, or
 * with `vault_unavailable` where it says yes and does something else.
 */
export async function proveVault(
  vault: Pick<Vault, 'get' | 'put' | 'delete'>,
  item: string,
  value: Secret,
): Promise<void> {
  await vault.put(item, value)
  const read = await vault.get(item)
  if (read === undefined || !read.equals(value)) throw lying('gave back something else than was written')
  await vault.delete(item)
  if ((await vault.get(item)) !== undefined) throw lying('still holds an item that it said it deleted')
}

function lying(what: string): BrokerError {
  return new BrokerError('vault_unavailable', `testing the vault: it ${what}`, {
    hint: 'prefect-auth doctor',
  })
}
