/**
 * A string that must never be printed. It prints as `[secret]` wherever a program might print it;
 * `.reveal()` is the only way out, and a house test wants a reason on every line that calls it.
 */

import { hash } from 'node:crypto'
import { inspect } from 'node:util'

const PRINTED = '[secret]'

/** Holds one secret string. Equality and identity go by `fingerprint()`, never by the text. */
export class Secret {
  readonly #text: string

  constructor(text: string) {
    this.#text = text
  }

  /** The text itself. Every call is a place where a secret leaves: see `test/house/rooms.ts`. */
  reveal(): string {
    return this.#text
  }

  /** `sha256:` and the first 12 hex digits of the text's SHA-256: names a secret without telling it. */
  fingerprint(): string {
    return `sha256:${sha256Hex(this.#text).slice(0, 12)}`
  }

  equals(other: Secret): boolean {
    return this.#text === other.#text
  }

  /** Whether the text begins so: tells a class of keys without letting the key out. */
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
