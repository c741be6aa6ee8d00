/** Secrets for stores that a person has put into our vault: named, never shown again. */

import { BrokerError, isBrokerError } from '../base/errors.js'
import type { KeyKeeper } from '../keys/keeper.js'
import { secretItem } from '../keys/shared.js'
import type { Secret } from '../std/secret.js'
import type { Vault } from '../vault/vault.js'

export interface ShareSecrets {
  list(): readonly string[]
  /** In place of one of that name. Rejects as `Vault.put` does, or with `disk_failed`. */
  put(name: string, value: Secret): Promise<void>
  /** Resolves with false if there was none. */
  remove(name: string): Promise<boolean>
}

export function createShareSecrets({
  keeper,
  vault,
}: {
  readonly keeper: Pick<KeyKeeper, 'ledger' | 'apply'>
  readonly vault: Pick<Vault, 'put'>
}): ShareSecrets {
  const list = () => keeper.ledger().shareSecrets ?? []
  return {
    list,
    async put(name, value) {
      // Named first: what the vault has is moved and removed with the rest, also after a crash in between.
      await keeper.apply(({ doomed = [], ...ledger }) => ({
        ...ledger,
        doomed: doomed.filter((item) => item !== secretItem(name)),
        shareSecrets: [...list().filter((one) => one !== name), name],
      }))
      await vault.put(secretItem(name), value)
    },
    async remove(name) {
      if (!list().includes(name)) return false
      await keeper.apply((ledger) => ({
        ...ledger,
        doomed: [...(ledger.doomed ?? []), secretItem(name)],
        shareSecrets: list().filter((one) => one !== name),
      }))
      return true
    },
  }
}

/** `undefined`: the vault has none. Rejects with `share_store_login`, because it is the store that cannot be used then. */
export async function readFromVault(
  vault: Pick<Vault, 'get'>,
  name: string,
  what: string,
): Promise<string | undefined> {
  try {
    return (await vault.get(secretItem(name)))?.reveal() // for the store that it belongs to
  } catch (cause) {
    if (!isBrokerError(cause)) throw cause
    throw new BrokerError('share_store_login', `cannot read the ${what} from the vault: ${cause.message}`, {
      hint: cause.code === 'vault_locked' ? 'prefect-auth unlock' : 'prefect-auth doctor',
      cause,
    })
  }
}
