/**
 * How a value lies in the OS keychain (text without NUL, never empty, bound to the name it was written under), and what
 * is said between us and the process that asks for it.
 */

import { BrokerError } from '../base/errors.js'
import { Secret } from '../std/secret.js'

/** The service under which the keychain lists what is ours. */
export const KEYCHAIN_SERVICE = 'prefect-auth-broker'

/** What goes to the process: one line of JSON. */
export type KeychainRequest =
  | { readonly verb: 'get'; readonly service: string; readonly account: string }
  | { readonly verb: 'set'; readonly service: string; readonly account: string; readonly value: string }
  | { readonly verb: 'delete'; readonly service: string; readonly account: string }

/** What comes back: one line of JSON. */
export type KeychainReply =
  | { readonly kind: 'value'; readonly value: string }
  /** Nothing there, or locked: keytar cannot tell. */
  | { readonly kind: 'nothing' }
  | { readonly kind: 'done' }
  | { readonly kind: 'no_module'; readonly message: string }
  | { readonly kind: 'failed'; readonly message: string }

/**
 * Rejects with `vault_timeout` when the deadline passed (the process is dead then; what it asked for may still happen in
 * the keychain), with `vault_unavailable` when it crashed, never started or said something else.
 */
export type AskKeychain = (request: KeychainRequest) => Promise<KeychainReply>

/** keytar cuts values at a NUL and refuses empty ones. */
const PREFIX = 'pab1:'

export function encodeItem(item: string, value: Secret): string {
  return PREFIX + Buffer.from(JSON.stringify([item, value.reveal()])).toString('base64')
}

/** Throws `vault_corrupt` for what somebody else wrote, and for one item's value under another one's name. */
export function decodeItem(item: string, text: string): Secret {
  const content = text.startsWith(PREFIX) ? parse(text.slice(PREFIX.length)) : undefined
  if (Array.isArray(content) && content.length === 2) {
    const [name, value]: readonly unknown[] = content
    if (name === item && typeof value === 'string') return new Secret(value)
  }
  throw new BrokerError(
    'vault_corrupt',
    `reading '${item}' from the keychain: it holds what we did not write there`,
    {
      hint: 'prefect-auth login',
    },
  )
}

function parse(base64: string): unknown {
  try {
    return JSON.parse(Buffer.from(base64, 'base64').toString())
  } catch {
    return undefined
  }
}
