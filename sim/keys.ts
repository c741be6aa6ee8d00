/** The API keys of the simulated Prefect Cloud, and which of them are valid now. */
import { randomBytes, randomUUID } from 'node:crypto'
import type { SimClock } from './clock.js'
import { fingerprint } from './fingerprint.js'

/** An issued key. Times in epoch ms; `text` is only sent in the response that created it. */
export interface IssuedKey {
  readonly id: string
  /** The user's or service account's id. */
  readonly ownerId: string
  readonly name: string
  readonly fingerprint: string
  readonly createdAt: number
  /** Fingerprint of the key that a user made it with; absent if a browser did. */
  readonly mintedWith?: string
  /** Absent if it never expires. */
  readonly expiresAt?: number
  /** `expiration` as the caller wrote it: Prefect echoes it unchanged (research/prefect.md 2.2). */
  readonly expirationText?: string
  /** Rejected from this moment on, whatever its expiry. */
  readonly rejectedFrom?: number
  /** When it was deleted: no longer listed, but accepted for the grace period. */
  readonly deletedAt?: number
  /** When it was last presented and accepted. */
  readonly usedAt?: number
}

interface WantedKey {
  readonly ownerId: string
  readonly prefix: 'pnu_' | 'pnb_'
  readonly name: string
  readonly mintedWith?: string
  readonly expiresAt?: number
  readonly expirationText?: string
}

export interface KeyStore {
  issue(wanted: WantedKey): { readonly key: IssuedKey; readonly text: string }
  /** Returns the valid key with this text and marks it as used; `undefined` means 401. */
  authenticate(text: string): IssuedKey | undefined
  /** All keys ever issued, including deleted and expired ones, oldest first. */
  all(): IssuedKey[]
  /** The owner's keys that are not deleted, oldest first. */
  ofOwner(ownerId: string): IssuedKey[]
  find(text: string): IssuedKey | undefined
  /** Deletes as the API does: accepted for the grace period. Returns false if there is no such key. */
  delete(keyId: string): boolean
  /** Rejects it from now on, without a grace period. */
  revoke(text: string): void
  /** Rejects it from that moment (epoch ms) on. */
  rejectFrom(keyId: string, at: number): void
}

interface KeyStoreOptions {
  readonly clock: SimClock
  /** How long a deleted key is still accepted, ms. research/prefect.md 2.3: up to 5 minutes. */
  readonly deletedKeyGrace: number
  /** How long a new key is not yet accepted, ms. */
  readonly newKeyDelay: number
}

/** Creates a store that keeps keys in memory. */
export function createKeyStore({ clock, deletedKeyGrace, newKeyDelay }: KeyStoreOptions): KeyStore {
  const byText = new Map<string, IssuedKey>()

  const textOf = (keyId: string) => [...byText].find(([, key]) => key.id === keyId)?.[0]
  const change = (text: string | undefined, changes: Partial<IssuedKey>) => {
    const key = text === undefined ? undefined : byText.get(text)
    if (text === undefined || key === undefined) return false
    byText.set(text, { ...key, ...changes })
    return true
  }
  const good = (key: IssuedKey, now: number) =>
    now >= key.createdAt + newKeyDelay &&
    now < (key.expiresAt ?? Number.POSITIVE_INFINITY) &&
    now < (key.rejectedFrom ?? Number.POSITIVE_INFINITY)

  return {
    issue({ prefix, ...wanted }) {
      const text = `${prefix}${alphanumerics(36)}`
      const key = { id: randomUUID(), fingerprint: fingerprint(text), createdAt: clock.now(), ...wanted }
      byText.set(text, key)
      return { key, text }
    },
    authenticate(text) {
      const now = clock.now()
      const key = byText.get(text)
      if (key === undefined || !good(key, now)) return undefined
      change(text, { usedAt: now })
      return key
    },
    all: () => [...byText.values()],
    ofOwner: (ownerId) =>
      [...byText.values()].filter((key) => key.ownerId === ownerId && key.deletedAt === undefined),
    find: (text) => byText.get(text),
    delete(keyId) {
      const now = clock.now()
      const text = textOf(keyId)
      const key = text === undefined ? undefined : byText.get(text)
      if (key === undefined || key.deletedAt !== undefined) return false
      const rejectedFrom = Math.min(key.rejectedFrom ?? Number.POSITIVE_INFINITY, now + deletedKeyGrace)
      return change(text, { deletedAt: now, rejectedFrom })
    },
    revoke(text) {
      change(text, { deletedAt: clock.now(), rejectedFrom: clock.now() })
    },
    rejectFrom(keyId, at) {
      change(textOf(keyId), { rejectedFrom: at })
    },
  }
}

const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789'

/** research/prefect.md 1.7: `pnu_` and 36 alphanumerics. The small modulo bias does not matter here. */
function alphanumerics(length: number): string {
  return [...randomBytes(length)].map((byte) => ALPHABET.charAt(byte % ALPHABET.length)).join('')
}
