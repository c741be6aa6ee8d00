/** `data-key.json`: which store this is, what the data key is wrapped by, and the wrapped key. Written once. */
import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto'
import { join } from 'node:path'
import { z } from 'zod'
import { BrokerError } from '../base/errors.js'
import { writeFileAtomic } from '../os/atomic-file.js'
import { quoteWord } from '../std/text.js'
import { DATA_KEY_BYTES, type DataKeyFile, KEY_WRAPS, type KeyWrap } from './data-key-part.js'

const envelope = z.strictObject({
  version: z.literal(1),
  /** Goes into every record's additional data: records of two stores are never mixed up. */
  store: z.uuid(),
  wrap: z.enum(KEY_WRAPS),
  sealed: z.unknown(),
  /** HMAC of the store under the data key: tells a damaged key from damaged records. */
  check: z.string(),
})

/** What the file says, without opening anything. */
export type DataKeyEnvelope = z.infer<typeof envelope>

type ReadFile = (path: string) => Promise<Buffer | undefined>

export function dataKeyPath(dir: string): string {
  return join(dir, 'data-key.json')
}

/** `undefined` where no data key was made. Rejects with `vault_corrupt`, and leaves a damaged file where it is. */
export async function readDataKey(dir: string, readFile: ReadFile): Promise<DataKeyEnvelope | undefined> {
  const content = await readFile(dataKeyPath(dir))
  if (content === undefined) return undefined
  try {
    return envelope.parse(JSON.parse(content.toString()))
  } catch (cause) {
    throw damaged(dir, cause)
  }
}

export interface DataKeyDependencies {
  readonly dir: string
  readonly store: string
  readonly wrap: KeyWrap
  readonly found: DataKeyEnvelope | undefined
}

export function createDataKeyFile({ dir, store, wrap, found }: DataKeyDependencies): DataKeyFile {
  let current = found
  return {
    isMade: () => current !== undefined,
    async make(passphrase) {
      const key = randomBytes(DATA_KEY_BYTES)
      const sealed = await wrap.seal(key, store, passphrase)
      const made: DataKeyEnvelope = { version: 1, store, wrap: wrap.kind, sealed, check: checkOf(key, store) }
      // What cannot be opened must not be written: the first record would be lost with it.
      await openEnvelope(made, passphrase)
      await writeFileAtomic(dataKeyPath(dir), `${JSON.stringify(made, undefined, 2)}\n`).catch(
        (cause: unknown) => {
          throw new BrokerError('disk_failed', `writing the data key to ${dataKeyPath(dir)}`, { cause })
        },
      )
      current = made
      return key
    },
    async open(passphrase) {
      if (current === undefined) throw new BrokerError('internal', 'the vault has no data key to open')
      return openEnvelope(current, passphrase)
    },
  }

  async function openEnvelope(from: DataKeyEnvelope, passphrase: Parameters<DataKeyFile['open']>[0]) {
    const key = await wrap.open(from.sealed, store, passphrase)
    const check = Buffer.from(checkOf(key, store))
    const written = Buffer.from(from.check)
    if (check.length === written.length && timingSafeEqual(check, written)) return key
    throw damaged(dir)
  }
}

function checkOf(key: Uint8Array, store: string): string {
  return createHmac('sha256', key).update(`prefect-auth data key of ${store}`).digest('base64')
}

function damaged(dir: string, cause?: unknown): BrokerError {
  const path = dataKeyPath(dir)
  return new BrokerError('vault_corrupt', `opening the vault: its data key ${path} is damaged`, {
    hint: `restore ${path} from a backup, or start anew: mv ${quoteWord(dir)} ${quoteWord(`${dir}.damaged`)}`,
    cause,
  })
}
