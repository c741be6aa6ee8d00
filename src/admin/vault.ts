/** Locks and unlocks the vault; locking also drops the secrets in memory. */

import type { Events } from '../base/events.js'
import type { KeyKeeper } from '../keys/keeper.js'
import type { Secret } from '../std/secret.js'
import type { Vault, VaultDescription } from '../vault/vault.js'

/** Rejects as `Vault.unlock` and `Vault.lock` do. */
export interface VaultAdmin {
  unlock(passphrase: Secret): Promise<VaultDescription>
  lock(): Promise<VaultDescription>
}

export function createVaultAdmin({
  vault,
  keeper,
  events,
  settle,
}: {
  readonly vault: Vault
  readonly keeper: Pick<KeyKeeper, 'load' | 'release'>
  readonly events: Events
  /** Brings what is served up to date. */
  readonly settle: () => Promise<void>
}): VaultAdmin {
  const announce = () => {
    const description = vault.describe()
    events.emit('vault.changed', { facts: { state: description.state, backend: description.backend } })
    return description
  }
  return {
    async unlock(passphrase) {
      await vault.unlock(passphrase)
      await keeper.load()
      await settle()
      return announce()
    },
    async lock() {
      await vault.lock()
      keeper.release()
      await settle()
      return announce()
    },
  }
}
