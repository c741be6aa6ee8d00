/**
 * The one error class, and the closed list of codes. A code says what is wrong, its kind says whose turn it is;
 * http maps kinds to statuses, the cli maps them to exit codes. Every code stands in docs/errors.md.
 */

/** Whose turn it is. The same list stands in `wire/error.ts`; a house test keeps the two equal. */
export const ERROR_KINDS = [
  'invalid',
  'unauthorized',
  'login',
  'denied',
  'misdirected',
  'not_found',
  'conflict',
  'too_large',
  'unsupported',
  'too_many',
  'unavailable',
  'upstream',
  'internal',
] as const

export type ErrorKind = (typeof ERROR_KINDS)[number]

/** Code to kind. Codes are never reused for another meaning. */
export const ERROR_CODES = {
  // what was asked
  bad_request: 'invalid',
  body_too_large: 'too_large',
  media_type_unsupported: 'unsupported',
  method_not_allowed: 'invalid',
  not_found: 'not_found',
  too_many_requests: 'too_many',
  // who asks
  host_refused: 'misdirected',
  browser_refused: 'denied',
  token_required: 'unauthorized',
  token_invalid: 'unauthorized',
  power_missing: 'denied',
  profile_not_allowed: 'denied',
  token_not_found: 'not_found',
  proxy_path_refused: 'denied',
  // settings and the machine
  setting_invalid: 'invalid',
  state_dir_unsafe: 'unavailable',
  state_corrupt: 'unavailable',
  already_running: 'conflict',
  socket_path_too_long: 'invalid',
  disk_failed: 'unavailable',
  tcp_unavailable: 'unavailable',
  // profiles
  profile_not_found: 'not_found',
  profile_name_invalid: 'invalid',
  profile_exists: 'conflict',
  profile_in_use: 'conflict',
  profile_not_cloud: 'conflict',
  profile_has_no_key: 'conflict',
  profiles_file_invalid: 'conflict',
  profiles_file_unreadable: 'unavailable',
  profiles_file_changed: 'conflict',
  api_url_invalid: 'invalid',
  // workspaces and owners
  workspace_required: 'conflict',
  workspace_not_found: 'not_found',
  workspace_none: 'conflict',
  owner_mismatch: 'denied',
  // logins and keys
  login_required: 'login',
  login_not_found: 'not_found',
  login_state: 'conflict',
  login_expired: 'conflict',
  login_port_unavailable: 'unavailable',
  key_malformed: 'invalid',
  key_rejected: 'login',
  key_host_mismatch: 'login',
  key_minting_refused: 'denied',
  // vault
  vault_locked: 'unavailable',
  vault_unavailable: 'unavailable',
  vault_timeout: 'unavailable',
  vault_corrupt: 'unavailable',
  vault_value_too_large: 'invalid',
  vault_passphrase_wrong: 'denied',
  vault_not_lockable: 'conflict',
  // Prefect
  prefect_unreachable: 'upstream',
  prefect_forbidden: 'denied',
  prefect_not_found: 'not_found',
  prefect_rate_limited: 'upstream',
  prefect_failed: 'upstream',
  prefect_unexpected: 'upstream',
  prefect_refused: 'invalid',
  // us
  shutting_down: 'unavailable',
  internal: 'internal',
} as const satisfies Record<string, ErrorKind>

export type ErrorCode = keyof typeof ERROR_CODES

export interface BrokerErrorDetails {
  /** What to do now: a command where one helps. */
  readonly hint?: string
  readonly cause?: unknown
  /** Epoch ms before which trying again is of no use (a server's `Retry-After`). */
  readonly retryAt?: number
}

/** Everything that we expect to go wrong. `message`: what we were doing and what failed, no full stop, no secrets. */
export class BrokerError extends Error {
  override readonly name = 'BrokerError'
  readonly code: ErrorCode
  readonly kind: ErrorKind
  readonly hint: string | undefined
  readonly retryAt: number | undefined

  constructor(code: ErrorCode, message: string, { hint, cause, retryAt }: BrokerErrorDetails = {}) {
    super(message, cause === undefined ? undefined : { cause })
    this.code = code
    this.kind = ERROR_CODES[code]
    this.hint = hint
    this.retryAt = retryAt
  }
}

/** Whether `error` is one of ours, with one of `codes` where any are given. */
export function isBrokerError(error: unknown, ...codes: readonly ErrorCode[]): error is BrokerError {
  return error instanceof BrokerError && (codes.length === 0 || codes.includes(error.code))
}
