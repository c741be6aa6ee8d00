/** The file vault: one AES-256-GCM sealed JSON file per item. A damaged one is reported and kept, never overwritten. */
import { createCipheriv, createDecipheriv, createHash, randomBytes } from 'node:crypto'
import { constants } from 'node:fs'
import { copyFile, readdir, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { BrokerError, isBrokerError } from '../base/errors.js'
import { syncDirectory, writeFileAtomic } from '../os/atomic-file.js'
import { requireKnownFormat } from '../os/document.js'
import { diskFailed, ignoreMissing } from '../os/system-error.js'
import { createSerial, createSingleFlight } from '../std/async.js'
import { type Clock, SECOND_MS, sleep } from '../std/clock.js'
import { Secret } from '../std/secret.js'
import { createKeyHolder, type DataKeyFile, type KeyWrap, type RecordFiles } from './data-key.js'
import { proveVault, requireItemName, requireSmallValue, type Vault } from './vault.js'

const VERSION = 1

const envelope = z.strictObject({
  version: z.literal(VERSION),
  store: z.string(),
  item: z.string(),
  nonce: z.base64().length(16),
  sealed: z.base64(),
  tag: z.base64().length(24),
})
type Envelope = z.infer<typeof envelope>

interface RecordFilesDependencies {
  readonly dir: string
  readonly store: string
  readonly clock: Clock
  /** Reads a private file; `undefined` if there is none. */
  readonly readFile: (path: string) => Promise<Buffer | undefined>
}

export function createRecordFiles({ dir, store, clock, readFile }: RecordFilesDependencies): RecordFiles {
  const pathOf = (item: string) => join(dir, createHash('sha256').update(item).digest('hex'))

  async function read(item: string, key: Uint8Array): Promise<string | undefined> {
    const path = pathOf(item)
    const content = await readFile(path)
    if (content === undefined) return undefined
    try {
      const raw: unknown = JSON.parse(content.toString())
      requireKnownFormat(path, raw, VERSION)
      return unseal(envelope.parse(raw), store, item, key)
    } catch (cause) {
      if (isBrokerError(cause)) throw cause
      throw new BrokerError(
        'vault_corrupt',
        `cannot read '${item}' from the vault: the record ${path} is damaged`,
        {
          hint: `restore ${path} from a backup, or log in again: prefect-auth login`,
          cause,
        },
      )
    }
  }

  return {
    read,
    async write(item, text, key) {
      const path = pathOf(item)
      const isDamaged = await read(item, key).then(
        () => false,
        (error: unknown) => {
          if (isBrokerError(error, 'vault_corrupt')) return true
          throw error
        },
      )
      try {
        if (isDamaged) await keepCopy(path, clock.now())
        await writeFileAtomic(path, `${JSON.stringify(seal(text, store, item, key))}\n`)
      } catch (cause) {
        throw diskFailed('write', path, cause)
      }
    },
    async remove(item) {
      const path = pathOf(item)
      try {
        await unlink(path).catch(ignoreMissing)
        await syncDirectory(dir)
      } catch (cause) {
        throw diskFailed('delete', path, cause)
      }
    },
  }
}

/** Whether the vault's directory holds a record. */
export async function hasRecords(dir: string): Promise<boolean> {
  return (await readdir(dir)).some((name) => /^[0-9a-f]{64}$/.test(name))
}

/** Binds a record to its name and store: one that was renamed, or comes from another store, does not open. */
function additionalData(store: string, item: string): Buffer {
  return Buffer.from(JSON.stringify(['prefect-auth record', VERSION, store, item]))
}

function seal(text: string, store: string, item: string, key: Uint8Array): Envelope {
  const nonce = randomBytes(12)
  const cipher = createCipheriv('aes-256-gcm', key, nonce).setAAD(additionalData(store, item))
  // JSON, unlike UTF-8 alone, keeps lone surrogates.
  const sealed = Buffer.concat([cipher.update(JSON.stringify(text)), cipher.final()])
  return {
    version: VERSION,
    store,
    item,
    nonce: nonce.toString('base64'),
    sealed: sealed.toString('base64'),
    tag: cipher.getAuthTag().toString('base64'),
  }
}

function unseal(record: Envelope, store: string, item: string, key: Uint8Array): string {
  const nonce = Buffer.from(record.nonce, 'base64')
  const decipher = createDecipheriv('aes-256-gcm', key, nonce, { authTagLength: 16 })
  decipher.setAAD(additionalData(store, item)).setAuthTag(Buffer.from(record.tag, 'base64'))
  const opened = Buffer.concat([decipher.update(Buffer.from(record.sealed, 'base64')), decipher.final()])
  return z.string().parse(JSON.parse(opened.toString()))
}

/** A copy, not a rename: after a crash before the new record is written, the damaged one still has its name. */
async function keepCopy(path: string, now: number): Promise<void> {
  const stamp = new Date(now).toISOString().replace(/[-:]/g, '').replace('.', '')
  const kept = `${path}.corrupt-${stamp}-${randomBytes(3).toString('hex')}`
  await copyFile(path, kept, constants.COPYFILE_EXCL)
}

interface FileVaultDependencies {
  readonly records: RecordFiles
  readonly dataKey: DataKeyFile
  readonly wrap: KeyWrap
  readonly because: string
  readonly clock: Clock
}

/** How long a start waits for what wraps the data key. */
const FIRST_OPEN_MS = SECOND_MS
const PROBE_ITEM = 'probe'

/**
 * Opens the vault if that needs no person, and waits a second for that. A vault that stays locked or unavailable is not an error here: every later call
 * rejects. Rejects with `vault_corrupt`, `disk_failed` or `state_dir_unsafe`. Besides the codes of {@link Vault}, calls
 * reject with `disk_failed`, and with `state_dir_unsafe` if others can reach a file.
 */
export async function openFileVault(dependencies: FileVaultDependencies): Promise<Vault> {
  const { records, dataKey, wrap, because, clock } = dependencies
  const holder = createKeyHolder(dataKey, wrap, clock)
  // One at a time: writes to one item keep their order, and scrypt takes 128 MiB per passphrase.
  const serial = createSerial()
  // All have one item: two at once would each find the other's value.
  const proofs = createSingleFlight<void>()

  const withKey = <T>(item: string, work: (key: Uint8Array) => Promise<T>): Promise<T> =>
    serial.run(async () => {
      requireItemName(item)
      return work(await holder.require())
    })

  const lockable = (work: () => void | Promise<void>): Promise<void> =>
    serial.run(async () => {
      if (wrap.kind === 'passphrase') return work()
      throw new BrokerError('vault_not_lockable', `the vault has no passphrase (at rest: ${wrap.atRest})`)
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
        await records.write(item, value.reveal(), key) // to be sealed
      }),
    delete: (item) => withKey(item, () => records.remove(item)),
    prove: () =>
      proofs.run(PROBE_ITEM, () =>
        proveVault(vault, PROBE_ITEM, new Secret(randomBytes(16).toString('hex'))),
      ),
    unlock: (passphrase) => lockable(() => holder.unlock(passphrase)),
    lock: () => lockable(() => holder.lock()),
    close: () => serial.run(async () => holder.forget()),
  }

  const first = serial.run(holder.require).catch((error: unknown) => {
    if (!isBrokerError(error, 'vault_locked', 'vault_unavailable', 'vault_passphrase_wrong')) throw error
  })
  // Whatever comes later, every call says it.
  first.catch(() => undefined)
  await Promise.race([first, sleep(clock, FIRST_OPEN_MS)])
  return vault
}
