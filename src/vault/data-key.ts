/** The data key of a file vault: `data-key.json`, what it is wrapped by, and who holds the open key. */
import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto'
import { join } from 'node:path'
import { z } from 'zod'
import { BrokerError, isBrokerError } from '../base/errors.js'
import { writeFileAtomic } from '../os/atomic-file.js'
import { requireKnownFormat } from '../os/document.js'
import { diskFailed } from '../os/system-error.js'
import { type Clock, SECOND_MS } from '../std/clock.js'
import type { Secret } from '../std/secret.js'
import { quoteWord } from '../std/text.js'
import type { VaultDescription } from './vault.js'

export const KEY_WRAPS = ['systemd-creds', 'passphrase', 'key-file'] as const
export type KeyWrapKind = (typeof KEY_WRAPS)[number]

/** The data key: 256 random bits. */
export const DATA_KEY_BYTES = 32

/** Wraps the data key into JSON that may be written to the disk, and unwraps it. */
export interface KeyWrap {
  readonly kind: KeyWrapKind
  readonly atRest: VaultDescription['atRest']
  /**
   * `passphrase` is for the wrap that needs one; without it, that wrap looks for one. Rejects with `vault_locked` (no
   * passphrase) or `vault_unavailable`.
   */
  seal(key: Uint8Array, store: string, passphrase?: Secret): Promise<unknown>
  /** Rejects like `seal`, and with `vault_passphrase_wrong` or `vault_corrupt`. */
  open(sealed: unknown, store: string, passphrase?: Secret): Promise<Uint8Array>
}

/** The data key's file: written once, opened at every start. */
export interface DataKeyFile {
  /** Whether there is a data key. */
  isMade(): boolean
  /** Creates the data key, durable when it resolves. */
  make(passphrase?: Secret): Promise<Uint8Array>
  open(passphrase?: Secret): Promise<Uint8Array>
}

/** One file per item. The data key is passed to every call, so that a locked vault holds none. */
export interface RecordFiles {
  read(item: string, key: Uint8Array): Promise<string | undefined>
  write(item: string, text: string, key: Uint8Array): Promise<void>
  remove(item: string): Promise<void>
}

const VERSION = 1

const envelope = z.strictObject({
  version: z.literal(VERSION),
  /** Part of every record's additional data, so that records of two stores are never mixed up. */
  store: z.uuid(),
  wrap: z.enum(KEY_WRAPS),
  sealed: z.unknown(),
  /** HMAC of the store under the data key: distinguishes a damaged key from damaged records. */
  check: z.string(),
})

/** The content of the file, still sealed. */
type DataKeyEnvelope = z.infer<typeof envelope>

type ReadFile = (path: string) => Promise<Buffer | undefined>

export function dataKeyPath(dir: string): string {
  return join(dir, 'data-key.json')
}

/** `undefined` if there is no data key yet. Rejects with `vault_corrupt`, and leaves a damaged file in place. */
export async function readDataKey(dir: string, readFile: ReadFile): Promise<DataKeyEnvelope | undefined> {
  const content = await readFile(dataKeyPath(dir))
  if (content === undefined) return undefined
  try {
    const raw: unknown = JSON.parse(content.toString())
    requireKnownFormat(dataKeyPath(dir), raw, VERSION)
    return envelope.parse(raw)
  } catch (cause) {
    if (isBrokerError(cause)) throw cause
    throw damaged(dir, cause)
  }
}

interface DataKeyDependencies {
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
      const made: DataKeyEnvelope = {
        version: VERSION,
        store,
        wrap: wrap.kind,
        sealed,
        check: checkOf(key, store),
      }
      // What cannot be opened must not be written: the first record would be lost with it.
      await openEnvelope(made, passphrase)
      await writeFileAtomic(dataKeyPath(dir), `${JSON.stringify(made, undefined, 2)}\n`).catch(
        (cause: unknown) => {
          throw diskFailed('write', dataKeyPath(dir), cause)
        },
      )
      current = made
      return key
    },
    async open(passphrase) {
      if (current === undefined) throw new BrokerError('internal', 'the vault has no data key')
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
  return new BrokerError('vault_corrupt', `cannot open the vault: its data key ${path} is damaged`, {
    hint: `restore ${path} from a backup, or start over: mv ${quoteWord(dir)} ${quoteWord(`${dir}.damaged`)}`,
    cause,
  })
}

interface KeyHolder {
  /** The key; opens the vault if that needs no person. Rejects with `vault_locked`, `vault_unavailable`, … */
  require(): Promise<Uint8Array>
  /** Rejects with `vault_passphrase_wrong`. The very first passphrase becomes the vault's. */
  unlock(passphrase: Secret): Promise<void>
  /** Locked until `unlock`, even if a passphrase file could open it. */
  lock(): void
  /** Wipes the key from memory. */
  forget(): void
  standing(): Pick<VaultDescription, 'state' | 'problem' | 'opensAlone'>
}

type Problem = NonNullable<VaultDescription['problem']>

/** A vault that could not be opened a moment ago is not tried again for each item that is asked for. */
const SAME_MOMENT_MS = SECOND_MS

/** Calls must come one at a time. */
export function createKeyHolder(dataKey: DataKeyFile, wrap: KeyWrap, clock: Clock): KeyHolder {
  let key: Uint8Array | undefined
  let failure: { readonly error: unknown; readonly at: number } | undefined
  let problem: Problem | undefined
  let isLockedByHand = false
  let isUnlockedByHand = false

  async function open(passphrase?: Secret): Promise<Uint8Array> {
    try {
      key = await (dataKey.isMade() ? dataKey.open(passphrase) : dataKey.make(passphrase))
      problem = undefined
      return key
    } catch (error) {
      // A typing error must not change the description of an open vault.
      if (key === undefined) problem = problemOf(error, dataKey.isMade())
      throw error
    }
  }

  function forget(): void {
    key?.fill(0)
    key = undefined
  }

  return {
    async require() {
      if (key !== undefined) return key
      if (isLockedByHand) throw vaultLocked()
      if (failure !== undefined && clock.monotonic() - failure.at < SAME_MOMENT_MS) throw failure.error
      try {
        return await open()
      } catch (error) {
        failure = { error, at: clock.monotonic() }
        throw error
      }
    },
    async unlock(passphrase) {
      if (passphrase.length === 0) throw new BrokerError('bad_request', 'the passphrase is empty')
      await open(passphrase)
      isLockedByHand = false
      isUnlockedByHand = true
    },
    lock() {
      forget()
      isLockedByHand = true
      const { message, hint = '' } = vaultLocked()
      problem = { message, hint }
    },
    forget,
    standing() {
      if (key !== undefined)
        return isUnlockedByHand ? { state: 'ready' } : { state: 'ready', opensAlone: true }
      const state = wrap.kind === 'passphrase' ? 'locked' : 'unavailable'
      return problem === undefined ? { state } : { state, problem }
    },
  }
}

function problemOf(error: unknown, isMade: boolean): Problem {
  if (isBrokerError(error, 'vault_locked') && !isMade) {
    return { message: 'the vault has no passphrase yet', hint: 'prefect-auth unlock' }
  }
  const { message, hint } =
    error instanceof BrokerError ? error : { message: 'cannot open the vault', hint: undefined }
  return { message, hint: hint ?? 'prefect-auth doctor' }
}

/** One wording for a vault that waits for its passphrase. */
export function vaultLocked(): BrokerError {
  return new BrokerError('vault_locked', 'the vault is locked', { hint: 'prefect-auth unlock' })
}

/** One wording for a sealed data key that is not what we wrote. */
export function dataKeyDamaged(): BrokerError {
  return new BrokerError('vault_corrupt', 'cannot open the vault: its data key is damaged')
}
