/** An encrypted export: JSON text sealed by a passphrase with scrypt and AES-256-GCM. The format is in docs/vault.md. */
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto'
import { BrokerError } from '../base/errors.js'
import { Secret } from '../std/secret.js'
import { stretchWithScrypt } from './wrap-passphrase.js'

/** What is written to the file. */
export interface SealedExport {
  readonly format: 'prefect-auth-export'
  readonly version: 1
  readonly kdf: 'scrypt'
  /** scrypt's N; r is 8 and p is 1. */
  readonly n: number
  /** Base64: 16, 12, any number of, and 16 bytes. */
  readonly salt: string
  readonly nonce: string
  readonly sealed: string
  readonly tag: string
}

const COST = 2 ** 17
const TAG_BYTES = 16

/** 0.4 s and 128 MiB, off the event loop. */
export async function sealExport(text: Secret, passphrase: Secret, cost = COST): Promise<SealedExport> {
  const salt = randomBytes(16)
  const nonce = randomBytes(12)
  const key = await stretchWithScrypt(passphrase, salt, cost)
  const cipher = createCipheriv('aes-256-gcm', key, nonce).setAAD(additionalData(cost))
  const sealed = Buffer.concat([cipher.update(text.reveal()), cipher.final()]) // to be sealed
  key.fill(0)
  return {
    format: 'prefect-auth-export',
    version: 1,
    kdf: 'scrypt',
    n: cost,
    salt: salt.toString('base64'),
    nonce: nonce.toString('base64'),
    sealed: sealed.toString('base64'),
    tag: cipher.getAuthTag().toString('base64'),
  }
}

/** Rejects with `vault_passphrase_wrong`; a damaged file looks the same. */
export async function openExport(document: SealedExport, passphrase: Secret): Promise<Secret> {
  const bytes = (text: string) => Buffer.from(text, 'base64')
  let key: Buffer | undefined
  try {
    // Scrypt refuses an N that is no power of two.
    key = await stretchWithScrypt(passphrase, bytes(document.salt), document.n)
    const decipher = createDecipheriv('aes-256-gcm', key, bytes(document.nonce), { authTagLength: TAG_BYTES })
    decipher.setAAD(additionalData(document.n)).setAuthTag(bytes(document.tag))
    return new Secret(Buffer.concat([decipher.update(bytes(document.sealed)), decipher.final()]).toString())
  } catch (cause) {
    throw new BrokerError(
      'vault_passphrase_wrong',
      'cannot open the export: the passphrase is wrong, or the file is damaged',
      { hint: 'try again; nothing was changed', cause },
    )
  } finally {
    key?.fill(0)
  }
}

function additionalData(n: number): Buffer {
  return Buffer.from(JSON.stringify(['prefect-auth-export', 1, 'scrypt', n, 8, 1]))
}
