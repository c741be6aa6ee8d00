/** The first message of a WebSocket: whose it is, and what Prefect gets in its place. Pure. */
import { BrokerError } from '../base/errors.js'
import { tokenRequired } from '../http/guard.js'
import { tokenInFrame } from '../prefect/proxied.js'
import type { Tokens } from '../tokens/tokens.js'
import { invalidToken, type Visitor } from './admission.js'
import { isParked } from './parking.js'

export interface AuthMessage {
  readonly token: unknown
  /** The same message with another token. */
  withToken(token: string | null): string
}

/** `other`: not an auth message. `odd`: one that no client of Prefect sends. */
type FirstMessageText =
  | { readonly kind: 'auth'; readonly message: AuthMessage }
  | { readonly kind: 'odd' | 'other' }

/** Reads the text of a first message; `undefined` if it has none. */
export function readFirst(text: string | undefined): FirstMessageText {
  const fields = fieldsOf(text)
  if (fields?.type !== 'auth') return { kind: 'other' }
  const { token } = fields
  // A value inside a value inside a value would be taken apart by recursion.
  if (Object.values(fields).some((value) => typeof value === 'object' && value !== null))
    return { kind: 'odd' }
  return {
    kind: 'auth',
    message: { token, withToken: (other) => JSON.stringify({ ...fields, token: other }) },
  }
}

function fieldsOf(text = ''): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null ? { ...value } : undefined
  } catch {
    return undefined
  }
}

/**
 * Who sent an auth message: without a token in it, whoever the handshake was from. Throws `token_required`,
 * `token_invalid`.
 */
export function senderOf(
  { token }: Pick<AuthMessage, 'token'>,
  visitor: Visitor,
  tokens: Pick<Tokens, 'recognise'>,
): Visitor {
  if (typeof token !== 'string') {
    if (visitor.isStranger) throw tokenRequired()
    return visitor
  }
  const text = tokenInFrame(token)
  const known = text === undefined ? undefined : tokens.recognise(text)
  if (known === undefined) throw invalidToken()
  return { caller: { door: visitor.caller.door, token: known }, token: known, isStranger: false }
}

/** Prefect's own words for a message that does not authenticate. */
export function authExpected(): BrokerError {
  return new BrokerError('token_required', "Expected 'auth' message")
}

export interface Close {
  readonly code: number
  readonly reason: string
}

/** To Prefect's clients 1008 is final, and after 1011 they try again. */
const POLICY_VIOLATION = 1008
const INTERNAL_ERROR = 1011

/** How a WebSocket ends on which an error cannot be answered otherwise. */
export function closeFor(error: BrokerError): Close {
  const isTemporary = isParked(error) || error.retry === 'soon' || error.kind === 'internal'
  return { code: isTemporary ? INTERNAL_ERROR : POLICY_VIOLATION, reason: WORDS[error.code] ?? error.code }
}

/** As Prefect says them. */
const WORDS: Readonly<Record<string, string>> = {
  token_required: "Expected 'auth' message",
  token_invalid: 'Invalid token',
}

/** Reasons of Prefect's for which no other key helps. */
const NOT_THE_KEY: ReadonlySet<string> = new Set([
  'authorization_failed',
  'unsupported_version',
  "Expected 'auth' message",
])

/** Whether Prefect's close, in place of an answer to the auth message that we wrote, says that our key is no good. */
export function isKeyRefusal({ code, reason }: Close): boolean {
  return code === POLICY_VIOLATION && !NOT_THE_KEY.has(reason)
}

/** How a WebSocket ends whose upstream refused the handshake, after the client's was accepted. */
export function closeForStatus(status: number): Close {
  const isTemporary = status >= 500 || status === 408 || status === 425 || status === 429
  return { code: isTemporary ? INTERNAL_ERROR : POLICY_VIOLATION, reason: `Prefect answered ${status}` }
}
