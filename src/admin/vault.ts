/** Locks, unlocks and moves the vault; locking also drops the secrets in memory. */

import type { Events } from '../base/events.js'
import { itemsNeeded, type Journal } from '../keys/journal.js'
import type { KeyKeeper } from '../keys/keeper.js'
import { itemsInUse, type Ledger } from '../keys/ledger.js'
import { secretItem } from '../keys/shared.js'
import type { Secret } from '../std/secret.js'
import { TOKEN_SECRET_ITEM } from '../tokens/derive.js'
import type { MovableVault, MoveRequest, VaultDescription } from '../vault/vault.js'

/** Rejects as `Vault.unlock` and `Vault.lock` do. */
export interface VaultAdmin {
  unlock(passphrase: Secret): Promise<VaultDescription>
  lock(): Promise<VaultDescription>
  /** Moves every item into another vault, without an interruption of what is served. Rejects as `MovableVault.move` does. */
  move(request: MoveRequest): Promise<{ readonly vault: VaultDescription; readonly count: number }>
}

/** Every item that the vault may hold, whatever becomes of it. */
export function vaultItems(ledger: Ledger, { entries }: Journal): readonly string[] {
  const needed = Object.values(entries).flatMap(itemsNeeded)
  const ofStores = (ledger.shareSecrets ?? []).map(secretItem)
  return [...itemsInUse(ledger), ...(ledger.doomed ?? []), ...needed, ...ofStores, TOKEN_SECRET_ITEM]
}

export function createVaultAdmin({
  vault,
  keeper,
  events,
  settle,
  itemNames,
}: {
  readonly vault: MovableVault
  readonly keeper: Pick<KeyKeeper, 'load' | 'release'>
  readonly events: Events
  /** Brings what is served up to date. */
  readonly settle: () => Promise<void>
  /** Every item that the vault may hold, as of now. */
  readonly itemNames: () => readonly string[]
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
    async move(request) {
      const count = await vault.move(request, itemNames)
      return { vault: announce(), count }
    },
  }
}
