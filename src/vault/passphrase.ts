/** The least that a new passphrase must be. Pure. */
import { BrokerError } from '../base/errors.js'
import type { Secret } from '../std/secret.js'

const MIN_LENGTH = 12
const MIN_DIFFERENT = 6

/** Throws `passphrase_weak`, which says the rule and nothing of the passphrase. */
export function requireStrong(passphrase: Secret): void {
  const characters = [...passphrase.reveal().normalize('NFC')] // only counted
  if (characters.length >= MIN_LENGTH && new Set(characters).size >= MIN_DIFFERENT) return
  throw new BrokerError(
    'passphrase_weak',
    `this passphrase is too weak: it needs at least ${MIN_LENGTH} characters, ${MIN_DIFFERENT} of them different`,
    { hint: 'use four or more random words' },
  )
}
