/**
 * A string that must never be printed: it prints as `[secret]`, and `.reveal()` is the only way out.
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

  /** The text itself. Every call is a place where a secret leaves; a house test wants the reason on its line. */
  reveal(): string {
    return this.#text
  }

  /** `sha256:` and the first 12 hex digits of the text's SHA-256: identifies a secret without revealing it. */
  fingerprint(): string {
    return `sha256:${sha256Hex(this.#text).slice(0, 12)}`
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
