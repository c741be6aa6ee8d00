/** The vault that the daemon uses, and its move into another one while it is used. */
import { createSerial, createSingleFlight } from '../std/async.js'
import type { Secret } from '../std/secret.js'
import type { MovableVault, MoveRequest, Vault } from './vault.js'

interface MovableDependencies {
  readonly first: Vault
  /** Ends an earlier move, moves, and resolves with the vault that is the chosen one now. Rejects: nothing has changed. */
  readonly move: (
    from: Vault,
    request: MoveRequest,
    items: readonly string[],
  ) => Promise<{ readonly vault: Vault; readonly count: number }>
  /** Removes what the old vault holds. Never rejects. */
  readonly tidy: () => Promise<void>
}

/** Writes wait while the vault moves; reads do not. */
export function createMovableVault({ first, move, tidy }: MovableDependencies): MovableVault {
  const serial = createSerial()
  // Whoever asks while a keychain hangs shares one wait.
  const proofs = createSingleFlight<void>()
  let vault = first
  /** Items that only this run knows of: a change under way stores them before the ledger names them. */
  const written = new Set<string>()

  return {
    describe: () => vault.describe(),
    async get(item) {
      for (;;) {
        const asked = vault
        const [answer] = await Promise.allSettled([asked.get(item)])
        // What a vault says while it is closed and removed is no answer: 'no such item' least of all.
        if (asked !== vault) continue
        if (answer.status === 'rejected') throw answer.reason
        return answer.value
      }
    },
    put: (item, value) =>
      serial.run(async () => {
        // Before it: a put that fails may have taken effect.
        written.add(item)
        await vault.put(item, value)
      }),
    delete: (item) =>
      serial.run(async () => {
        await vault.delete(item)
        written.delete(item)
      }),
    prove: () => proofs.run('proof', () => serial.run(() => vault.prove())),
    unlock: (passphrase: Secret) => serial.run(() => vault.unlock(passphrase)),
    lock: () => serial.run(() => vault.lock()),
    move: (request, namesOf) =>
      serial.run(async () => {
        const items = [...new Set([...namesOf(), ...written])]
        const old = vault
        const moved = await move(old, request, items)
        vault = moved.vault
        // What is moved is moved, whatever the old one says now.
        await old.close().catch(() => undefined)
        await tidy()
        return moved.count
      }),
    close: () => serial.run(() => vault.close()),
  }
}
