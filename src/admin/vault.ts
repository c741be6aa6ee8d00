/** Opens and closes the vault on the owner's word. A lock is a wish that nothing is served: memory forgets, too. */

import type { Events } from '../base/events.js'
import type { KeyKeeper } from '../keys/keeper.js'
import type { Secret } from '../std/secret.js'
import type { Vault, VaultDescription } from '../vault/vault.js'

interface AdministerVaultDeps {
  readonly vault: Vault
  readonly keeper: KeyKeeper
  readonly events: Events
  readonly settle: () => Promise<void>
}

export function createVaultAdmin({ vault, keeper, events, settle }: AdministerVaultDeps): VaultAdmin {
  const tell = () => {
    const description = vault.describe()
    events.emit('vault.changed', { facts: { state: description.state, backend: description.backend } })
    return description
  }
  return {
    async unlock(passphrase) {
      await vault.unlock(passphrase)
      await keeper.load()
      await settle()
      return tell()
    },
    async lock() {
      await vault.lock()
      keeper.release()
      await settle()
      return tell()
    },
  }
}
export interface VaultAdmin {
  unlock(passphrase: Secret): Promise<VaultDescription>
  lock(): Promise<VaultDescription>
}
