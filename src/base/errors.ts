/** The one error class and the catalogue of its codes. docs/errors.md has every code. */
import type { ErrorKind } from '../wire/kinds.js'

/**
 * Whether trying the same again can help without anybody's doing.
 * - `soon`: temporary, and it says nothing about the request or the key;
 * - `seldom`: Prefect refuses it until somebody changes a policy or a role: every few hours at most;
 * - `never`: not before the caller or a person changes something.
 */
type Retry = 'soon' | 'seldom' | 'never'

interface CodeFacts {
  /** Who has to act. */
  readonly kind: ErrorKind
  readonly retry: Retry
}

/** Codes are never reused for another meaning. */
export const ERROR_CODES = {
  // the request
  bad_request: { kind: 'invalid', retry: 'never' },
  body_too_large: { kind: 'too_large', retry: 'never' },
  media_type_unsupported: { kind: 'unsupported', retry: 'never' },
  method_not_allowed: { kind: 'invalid', retry: 'never' },
  not_found: { kind: 'not_found', retry: 'never' },
  too_many_requests: { kind: 'too_many', retry: 'soon' },
  // the caller
  host_refused: { kind: 'misdirected', retry: 'never' },
  browser_refused: { kind: 'denied', retry: 'never' },
  token_required: { kind: 'unauthorized', retry: 'never' },
  token_invalid: { kind: 'unauthorized', retry: 'never' },
  power_missing: { kind: 'denied', retry: 'never' },
  profile_not_allowed: { kind: 'denied', retry: 'never' },
  token_parked: { kind: 'unavailable', retry: 'soon' },
  token_not_found: { kind: 'not_found', retry: 'never' },
  proxy_path_refused: { kind: 'denied', retry: 'never' },
  policy_refused: { kind: 'denied', retry: 'never' },
  budget_spent: { kind: 'too_many', retry: 'soon' },
  agent_refused: { kind: 'denied', retry: 'never' },
  policy_unknown: { kind: 'invalid', retry: 'never' },
  operation_unknown: { kind: 'invalid', retry: 'never' },
  // questions
  ask_waiting: { kind: 'unavailable', retry: 'soon' },
  ask_refused: { kind: 'denied', retry: 'never' },
  ask_not_found: { kind: 'not_found', retry: 'never' },
  ask_answer_refused: { kind: 'denied', retry: 'never' },
  // settings and this machine
  setting_invalid: { kind: 'invalid', retry: 'never' },
  state_dir_unsafe: { kind: 'unavailable', retry: 'never' },
  state_corrupt: { kind: 'unavailable', retry: 'never' },
  state_newer: { kind: 'unavailable', retry: 'never' },
  already_running: { kind: 'conflict', retry: 'never' },
  socket_path_too_long: { kind: 'invalid', retry: 'never' },
  disk_failed: { kind: 'unavailable', retry: 'soon' },
  tcp_unavailable: { kind: 'unavailable', retry: 'never' },
  page_unavailable: { kind: 'unavailable', retry: 'never' },
  // profiles
  profile_not_found: { kind: 'not_found', retry: 'never' },
  profile_name_invalid: { kind: 'invalid', retry: 'never' },
  profile_exists: { kind: 'conflict', retry: 'never' },
  profile_in_use: { kind: 'conflict', retry: 'never' },
  profile_not_cloud: { kind: 'conflict', retry: 'never' },
  profile_has_no_key: { kind: 'conflict', retry: 'never' },
  profiles_file_invalid: { kind: 'conflict', retry: 'never' },
  profiles_file_unreadable: { kind: 'unavailable', retry: 'never' },
  profiles_file_changed: { kind: 'conflict', retry: 'soon' },
  profiles_file_mismatch: { kind: 'conflict', retry: 'never' },
  api_url_invalid: { kind: 'invalid', retry: 'never' },
  // kept files
  file_path_unsafe: { kind: 'conflict', retry: 'never' },
  file_path_read_only: { kind: 'unavailable', retry: 'never' },
  file_exists: { kind: 'conflict', retry: 'never' },
  file_not_found: { kind: 'not_found', retry: 'never' },
  // workspaces and owners
  workspace_required: { kind: 'conflict', retry: 'never' },
  workspace_not_found: { kind: 'not_found', retry: 'never' },
  workspace_none: { kind: 'conflict', retry: 'never' },
  owner_mismatch: { kind: 'denied', retry: 'seldom' },
  // logins and keys
  login_required: { kind: 'login', retry: 'never' },
  login_not_found: { kind: 'not_found', retry: 'never' },
  login_state: { kind: 'conflict', retry: 'never' },
  login_expired: { kind: 'conflict', retry: 'never' },
  login_port_unavailable: { kind: 'unavailable', retry: 'never' },
  service_account_exists: { kind: 'conflict', retry: 'never' },
  key_not_found: { kind: 'not_found', retry: 'never' },
  address_malformed: { kind: 'invalid', retry: 'never' },
  address_mismatch: { kind: 'conflict', retry: 'never' },
  key_malformed: { kind: 'invalid', retry: 'never' },
  key_rejected: { kind: 'login', retry: 'never' },
  key_host_mismatch: { kind: 'login', retry: 'never' },
  key_minting_refused: { kind: 'denied', retry: 'seldom' },
  // vault
  vault_locked: { kind: 'unavailable', retry: 'soon' },
  vault_unavailable: { kind: 'unavailable', retry: 'soon' },
  vault_timeout: { kind: 'unavailable', retry: 'soon' },
  vault_corrupt: { kind: 'unavailable', retry: 'never' },
  vault_value_too_large: { kind: 'invalid', retry: 'never' },
  vault_passphrase_wrong: { kind: 'denied', retry: 'never' },
  vault_not_movable: { kind: 'conflict', retry: 'never' },
  passphrase_weak: { kind: 'invalid', retry: 'never' },
  vault_not_lockable: { kind: 'conflict', retry: 'never' },
  // shared keys
  share_store_unreachable: { kind: 'unavailable', retry: 'soon' },
  share_store_sealed: { kind: 'unavailable', retry: 'soon' },
  share_store_login: { kind: 'unavailable', retry: 'soon' },
  share_store_denied: { kind: 'denied', retry: 'seldom' },
  share_store_refused: { kind: 'conflict', retry: 'seldom' },
  share_document_deleted: { kind: 'conflict', retry: 'seldom' },
  share_not_found: { kind: 'not_found', retry: 'never' },
  share_not_ready: { kind: 'conflict', retry: 'seldom' },
  share_exists: { kind: 'conflict', retry: 'never' },
  share_mismatch: { kind: 'conflict', retry: 'never' },
  share_pace_invalid: { kind: 'invalid', retry: 'never' },
  share_rotation_refused: { kind: 'conflict', retry: 'never' },
  share_document_invalid: { kind: 'conflict', retry: 'never' },
  share_document_newer: { kind: 'unavailable', retry: 'never' },
  // Prefect
  prefect_unreachable: { kind: 'upstream', retry: 'soon' },
  prefect_forbidden: { kind: 'denied', retry: 'seldom' },
  prefect_not_found: { kind: 'not_found', retry: 'never' },
  prefect_rate_limited: { kind: 'upstream', retry: 'soon' },
  prefect_failed: { kind: 'upstream', retry: 'soon' },
  prefect_unexpected: { kind: 'upstream', retry: 'never' },
  prefect_refused: { kind: 'invalid', retry: 'never' },
  // the daemon
  shutting_down: { kind: 'unavailable', retry: 'soon' },
  internal: { kind: 'internal', retry: 'never' },
} as const satisfies Record<string, CodeFacts>

export type ErrorCode = keyof typeof ERROR_CODES

export interface BrokerErrorDetails {
  /** What to do now: a command, or "check …". */
  readonly hint?: string
  readonly cause?: unknown
  /** Epoch ms; trying again earlier is useless (a server's `Retry-After`). */
  readonly retryAt?: number
}

/** An expected failure. `message`: what could not be done, and the cause; no full stop, no secrets. */
export class BrokerError extends Error {
  override readonly name = 'BrokerError'
  readonly code: ErrorCode
  readonly kind: ErrorKind
  readonly hint: string | undefined
  readonly retryAt: number | undefined

  constructor(code: ErrorCode, message: string, { hint, cause, retryAt }: BrokerErrorDetails = {}) {
    super(message, cause === undefined ? undefined : { cause })
    this.code = code
    this.kind = ERROR_CODES[code].kind
    this.hint = hint
    this.retryAt = retryAt
  }

  get retry(): Retry {
    return retryOf(this.code)
  }
}

/** Whether a failure with this code is worth another try; `never` for a code that is not in the catalogue. */
export function retryOf(code: string): Retry {
  return isErrorCode(code) ? ERROR_CODES[code].retry : 'never'
}

function isErrorCode(code: string): code is ErrorCode {
  return Object.hasOwn(ERROR_CODES, code)
}

/** Whether `error` is a BrokerError, with one of `codes` if any are given. */
export function isBrokerError(error: unknown, ...codes: readonly ErrorCode[]): error is BrokerError {
  return error instanceof BrokerError && (codes.length === 0 || codes.includes(error.code))
}

/** The daemon is stopping: the caller has to ask the next one. */
export function shuttingDown(): BrokerError {
  return new BrokerError('shutting_down', 'prefect-authd is shutting down', {
    hint: 'try again once it is back: prefect-auth status',
  })
}
