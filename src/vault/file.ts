/** The file vault's records: one AES-256-GCM sealed JSON file per item. A damaged one is told, kept, never overwritten. */
import { createCipheriv, createDecipheriv, createHash, randomBytes } from 'node:crypto'
import { constants } from 'node:fs'
import { copyFile, readdir, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { BrokerError } from '../base/errors.js'
import { syncDirectory, writeFileAtomic } from '../os/atomic-file.js'
import type { Clock } from '../std/clock.js'
import { quoteWord } from '../std/text.js'
import type { RecordFiles } from './data-key-part.js'

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

export interface RecordFilesDependencies {
  readonly dir: string
  readonly store: string
  readonly clock: Clock
  /** Reads a file that is ours alone; `undefined` where there is none. */
  readonly readFile: (path: string) => Promise<Buffer | undefined>
}

export function createRecordFiles({ dir, store, clock, readFile }: RecordFilesDependencies): RecordFiles {
  const pathOf = (item: string) => join(dir, createHash('sha256').update(item).digest('hex'))

  async function read(item: string, key: Uint8Array): Promise<string | undefined> {
    const path = pathOf(item)
    const content = await readFile(path)
    if (content === undefined) return undefined
    try {
      return unseal(envelope.parse(JSON.parse(content.toString())), store, item, key)
    } catch (cause) {
      throw new BrokerError(
        'vault_corrupt',
        `reading '${item}' from the vault: the record ${path} is damaged`,
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
          if (error instanceof BrokerError && error.code === 'vault_corrupt') return true
          throw error
        },
      )
      await orDiskFailed(`writing '${item}' to the vault`, dir, async () => {
        if (isDamaged) await keepCopy(path, clock.now())
        await writeFileAtomic(path, `${JSON.stringify(seal(text, store, item, key))}\n`)
      })
    },
    async remove(item) {
      await orDiskFailed(`deleting '${item}' from the vault`, dir, async () => {
        await unlink(pathOf(item)).catch((error: unknown) => {
          if (!(error instanceof Error && 'code' in error && error.code === 'ENOENT')) throw error
        })
        await syncDirectory(dir)
      })
    },
  }
}

/** Whether the vault's directory holds any record. */
export async function hasRecords(dir: string): Promise<boolean> {
  return (await readdir(dir)).some((name) => /^[0-9a-f]{64}$/.test(name))
}

/** A record renamed, or taken from another store, does not open: its name and store are part of what is sealed. */
function additionalData(store: string, item: string): Buffer {
  return Buffer.from(JSON.stringify(['prefect-auth record', VERSION, store, item]))
}

function seal(text: string, store: string, item: string, key: Uint8Array): Envelope {
  const nonce = randomBytes(12)
  const cipher = createCipheriv('aes-256-gcm', key, nonce).setAAD(additionalData(store, item))
  // JSON keeps every string whole, half surrogates too, which UTF-8 alone would not.
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

/** A copy, so that a crash before the new record is written leaves the damaged one under its own name too. */
async function keepCopy(path: string, now: number): Promise<void> {
  const stamp = new Date(now).toISOString().replace(/[-:]/g, '').replace('.', '')
  const kept = `${path}.corrupt-${stamp}-${randomBytes(3).toString('hex')}`
  await copyFile(path, kept, constants.COPYFILE_EXCL)
}

async function orDiskFailed<T>(doing: string, dir: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? String(cause.code) : 'it failed'
    throw new BrokerError('disk_failed', `${doing}: ${code}`, { hint: `df -h ${quoteWord(dir)}`, cause })
  }
}
