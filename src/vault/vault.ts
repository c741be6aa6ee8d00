/** What every vault backend keeps to: item names, the size of a value, and how a vault proves that it works. */

import { BrokerError } from '../base/errors.js'
import type { Secret } from '../std/secret.js'
import type { Vault } from './vault-part.js'

/** The largest value, in bytes of UTF-8. Some keychains cut longer ones without a word. */
export const MAX_VALUE_BYTES = 8192

const ITEM = /^[a-z0-9:_-]{1,200}$/

/** Throws `internal` for a name that is not ours: names are made by the program, never by a user. */
export function requireItemName(item: string): void {
  if (ITEM.test(item)) return
  throw new BrokerError('internal', `the vault was asked for an item with the impossible name '${item}'`)
}

/** Throws `vault_value_too_large` above {@link MAX_VALUE_BYTES}. */
export function requireSmallValue(item: string, value: Secret): void {
  const bytes = Buffer.byteLength(value.reveal())
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
