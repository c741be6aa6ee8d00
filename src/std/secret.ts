/**
 * A string that must never be printed: it prints as `[secret]`, and `.reveal()` is the only way out.
 */

import { createHmac, hash, randomBytes } from 'node:crypto'
import { inspect } from 'node:util'

const PRINTED = '[secret]'

/** What Prefect, and we, make: never chosen by a person. */
const IS_RANDOM = /^(?:pn[a-z]|pab)_/

/** Of this process, until the installation's own is known. */
let fingerprintKey: Uint8Array = randomBytes(32)

/** Makes the fingerprints of passwords last from run to run. Call it before the first secret is read. */
export function keyFingerprints(key: Uint8Array): void {
  fingerprintKey = key
}

/** Holds one secret string. Equality and identity go by `fingerprint()`, never by the text. */
export class Secret {
  readonly #text: string

  constructor(text: string) {
    this.#text = text
  }

  /** The text itself. Every call is a place where a secret leaves; a house test wants the reason on its line. */
  reveal(): string {
    return this.#text
  }

  /**
   * Identifies a secret without revealing it. Of a key, which is random: `sha256:` and the first 12 hex digits of its SHA-256.
   * Of anything that a person may have thought of, such as `user:password`: `hmac:` and 12 digits, with the key of
   * `keyFingerprints`. Whoever reads a log cannot try out passwords against it.
   */
  fingerprint(): string {
    if (IS_RANDOM.test(this.#text)) return `sha256:${sha256Hex(this.#text).slice(0, 12)}`
    return `hmac:${createHmac('sha256', fingerprintKey).update(this.#text).digest('hex').slice(0, 12)}`
  }

  equals(other: Secret): boolean {
    return this.#text === other.#text
  }

  /** Whether the text begins with `prefix`: the class of a key, without the key. */
  startsWith(prefix: string): boolean {
    return this.#text.startsWith(prefix)
  }

  get length(): number {
    return this.#text.length
  }

  toString(): string {
    return PRINTED
  }

  toJSON(): string {
    return PRINTED
  }

  [Symbol.toPrimitive](): string {
    return PRINTED
  }

  [inspect.custom](): string {
    return PRINTED
  }
}

/** SHA-256 in lower-case hex. */
export function sha256Hex(text: string): string {
  return hash('sha256', text, 'hex')
}
