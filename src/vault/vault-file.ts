/** The file vault: sealed records, and a data key that is in memory only while the vault is open. */
import { randomBytes } from 'node:crypto'
import { BrokerError, isBrokerError } from '../base/errors.js'
import { createSerial } from '../std/async.js'
import { Secret } from '../std/secret.js'
import type { DataKeyFile, KeyWrap, RecordFiles } from './data-key-part.js'
import { createKeyHolder } from './hold-data-key.js'
import { proveVault, requireItemName, requireSmallValue } from './vault.js'
import type { Vault } from './vault-part.js'

export interface FileVaultDependencies {
  readonly records: RecordFiles
  readonly dataKey: DataKeyFile
  readonly wrap: KeyWrap
  readonly because: string
}

const PROBE_ITEM = 'probe'

/**
 * Opens the vault where that needs nobody; a vault that stays shut is no error here but the answer of every later call.
 * Rejects with `vault_corrupt`, `disk_failed` or `state_dir_unsafe`. Beside the codes of {@link Vault}, calls reject
 * with `disk_failed`, and with `state_dir_unsafe` where others can reach a file.
 */
export async function openFileVault(dependencies: FileVaultDependencies): Promise<Vault> {
  const { records, dataKey, wrap, because } = dependencies
  const holder = createKeyHolder(dataKey, wrap)
  // One at a time: writes to one item keep their order, and scrypt takes 128 MiB for every passphrase that is tried.
  const serial = createSerial()

  const withKey = <T>(item: string, work: (key: Uint8Array) => Promise<T>): Promise<T> =>
    serial.run(async () => {
      requireItemName(item)
      return work(await holder.require())
    })

  const lockable = (work: () => void | Promise<void>): Promise<void> =>
    serial.run(async () => {
      if (wrap.kind === 'passphrase') return work()
      throw new BrokerError('vault_not_lockable', `this vault has no passphrase (at rest: ${wrap.atRest})`)
    })

  const vault: Vault = {
    describe: () => ({ backend: 'file', atRest: wrap.atRest, because, ...holder.standing() }),
    get: (item) =>
      withKey(item, async (key) => {
        const text = await records.read(item, key)
        return text === undefined ? undefined : new Secret(text)
      }),
    put: (item, value) =>
      withKey(item, async (key) => {
        requireSmallValue(item, value)
        await records.write(item, value.reveal(), key)
      }),
    delete: (item) => withKey(item, () => records.remove(item)),
    prove: () => proveVault(vault, PROBE_ITEM, new Secret(randomBytes(16).toString('hex'))),
    unlock: (passphrase) => lockable(() => holder.unlock(passphrase)),
    lock: () => lockable(() => holder.lock()),
    close: () => serial.run(async () => holder.forget()),
  }

  await serial.run(holder.require).catch((error: unknown) => {
    if (!isBrokerError(error, 'vault_locked', 'vault_unavailable', 'vault_passphrase_wrong')) throw error
  })
  return vault
}
