/** Wraps the data key with a passphrase: scrypt stretches it, AES-256-GCM seals. Finds passphrases, too. */
import { createCipheriv, createDecipheriv, randomBytes, scrypt } from 'node:crypto'
import { isAbsolute, join } from 'node:path'
import { z } from 'zod'
import { BrokerError } from '../base/errors.js'
import { readPlainFile } from '../os/private-files.js'
import { Secret } from '../std/secret.js'
import { dataKeyDamaged, type KeyWrap, vaultLocked } from './data-key.js'

interface PassphraseWrapDependencies {
  /** Looks for a passphrase that needs no person: a file, a systemd credential. */
  readonly findPassphrase: () => Promise<Secret | undefined>
  /** scrypt's N for new seals: 2^17 takes 0.4 s and 128 MiB. Opening uses the N of the seal. */
  readonly cost?: number
  /** Default scrypt. */
  readonly stretch?: typeof stretchWithScrypt
}

const COST = 2 ** 17
const BLOCK_SIZE = 8
/** Four times what we write; a seal that asks for more is damaged or an attack. */
const MAX_COST = 2 ** 19

const sealedKey = z.strictObject({
  kdf: z.literal('scrypt'),
  n: z.int().min(2).max(MAX_COST),
  salt: z.base64().length(24),
  nonce: z.base64().length(16),
  sealed: z.base64(),
  tag: z.base64().length(24),
})

export function createPassphraseWrap({
  findPassphrase,
  cost = COST,
  stretch = stretchWithScrypt,
}: PassphraseWrapDependencies): KeyWrap {
  /** The last wrong passphrase, and the salt it was tried with: for each item and retry it would be stretched again. */
  let wrong: { readonly passphrase: Secret; readonly salt: string } | undefined

  async function require(passphrase: Secret | undefined): Promise<Secret> {
    const found = passphrase ?? (await findPassphrase())
    if (found !== undefined && found.length > 0) return found
    throw vaultLocked()
  }

  return {
    kind: 'passphrase',
    atRest: 'passphrase',
    async seal(key, store, passphrase) {
      const salt = randomBytes(16)
      const nonce = randomBytes(12)
      const wrapping = await stretch(await require(passphrase), salt, cost)
      const cipher = createCipheriv('aes-256-gcm', wrapping, nonce).setAAD(additionalData(store))
      const sealed = Buffer.concat([cipher.update(key), cipher.final()])
      const text = (bytes: Buffer) => bytes.toString('base64')
      return {
        kdf: 'scrypt',
        n: cost,
        salt: text(salt),
        nonce: text(nonce),
        sealed: text(sealed),
        tag: text(cipher.getAuthTag()),
      }
    },
    async open(sealed, store, passphrase) {
      const parsed = sealedKey.safeParse(sealed)
      if (!parsed.success) throw dataKeyDamaged()
      const { n, ...rest } = parsed.data
      const used = await require(passphrase)
      if (wrong?.salt === rest.salt && wrong.passphrase.equals(used)) throw wrongPassphrase()
      const wrapping = await stretch(used, bytesOf(rest.salt), n)
      try {
        const decipher = createDecipheriv('aes-256-gcm', wrapping, bytesOf(rest.nonce), { authTagLength: 16 })
        decipher.setAAD(additionalData(store)).setAuthTag(bytesOf(rest.tag))
        return Buffer.concat([decipher.update(bytesOf(rest.sealed)), decipher.final()])
      } catch (cause) {
        wrong = { passphrase: used, salt: rest.salt }
        throw wrongPassphrase(cause)
      }
    },
  }
}

/** A damaged seal looks the same, but a wrong passphrase is far more likely. */
function wrongPassphrase(cause?: unknown): BrokerError {
  return new BrokerError('vault_passphrase_wrong', 'cannot open the vault: the passphrase is wrong', {
    hint: 'prefect-auth unlock',
    cause,
  })
}

function additionalData(store: string): Buffer {
  return Buffer.from(JSON.stringify(['prefect-auth data key', 1, store]))
}

/** 32 bytes. NFC, because another system may type the same passphrase in another Unicode form. */
export function stretchWithScrypt(passphrase: Secret, salt: Buffer, n: number): Promise<Buffer> {
  const text = passphrase.reveal().normalize('NFC') // to be stretched into a key
  const parameters = { N: n, r: BLOCK_SIZE, p: 1, maxmem: 256 * n * BLOCK_SIZE }
  return new Promise((resolve, reject) => {
    scrypt(text, salt, 32, parameters, (error, key) => (error === null ? resolve(key) : reject(error)))
  })
}

function bytesOf(base64: string): Buffer {
  return Buffer.from(base64, 'base64')
}

interface PassphraseSources {
  /** Absolute path of a private file. */
  readonly passphraseFile: string | undefined
  /** `$CREDENTIALS_DIRECTORY`, which systemd protects. */
  readonly credentialsDirectory: string | undefined
  /** Reads a private file; `undefined` if there is none. */
  readonly readPrivate: (path: string) => Promise<Buffer | undefined>
}

/**
 * The first line of the first source that exists. Rejects with `vault_unavailable` if a passphrase file is set but missing:
 * that must never look like a vault without a passphrase.
 */
export async function findPassphrase(sources: PassphraseSources): Promise<Secret | undefined> {
  const { passphraseFile, credentialsDirectory, readPrivate } = sources
  if (passphraseFile !== undefined) {
    const content = await readPrivate(passphraseFile)
    if (content !== undefined) return firstLine(content)
    throw new BrokerError(
      'vault_unavailable',
      `cannot open the vault: the passphrase file ${passphraseFile} is missing`,
      {
        hint: 'set vault.passphrase_file to a file of mode 0600; or unset it, then run: prefect-auth unlock',
      },
    )
  }
  if (credentialsDirectory === undefined || !isAbsolute(credentialsDirectory)) return undefined
  const content = await readPlainFile(join(credentialsDirectory, 'passphrase')).catch(() => undefined)
  return content && firstLine(content)
}

/** An empty first line is no passphrase. */
function firstLine(content: Buffer): Secret | undefined {
  const line = content.toString().split(/\r?\n/, 1)[0]
  return line ? new Secret(line) : undefined
}
