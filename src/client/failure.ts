/** Failures as clients report them: a code, a kind, what failed and what to do about it. */
import { defined } from '../std/defined.js'
import { ERROR_KINDS, type ErrorKind } from '../wire/kinds.js'

/** The daemon's kinds, and those of the client alone. */
type FailureKind = ErrorKind | 'usage' | 'not_running' | 'no_answer' | 'cancelled'

export interface Failure {
  /** One of docs/errors.md, or one of the client's own: `daemon_not_running`, `usage`, … */
  readonly code: string
  readonly kind: FailureKind
  /** What failed. Text of the daemon: it may contain control characters. */
  readonly detail: string
  /** A command to run, or what to check. */
  readonly hint?: string
}

/** Throws an error with the failure as its cause, where `failureOf` finds it. */
export function failWith(failure: Failure): never {
  throw failed(failure)
}

/** The error that `failWith` throws, to reject a promise or destroy a stream with. */
export function failed(failure: Failure): Error {
  return new Error(failure.detail, { cause: failure })
}

/** The failure inside an error; `undefined` if the error is a bug. */
export function failureOf(error: unknown): Failure | undefined {
  const cause = error instanceof Error ? error.cause : undefined
  return isFailure(cause) ? cause : undefined
}

function isFailure(value: unknown): value is Failure {
  return (
    typeof value === 'object' && value !== null && 'code' in value && 'kind' in value && 'detail' in value
  )
}

// Without zod: the fast path loads this.
/** The failure in a problem document; `not_understood` if the response is not one. */
export function parseProblem(status: number, text: string): Failure {
  const answer = parseObject(text)
  const { code, kind, detail, hint } = answer
  if (typeof code !== 'string' || !isErrorKind(kind) || typeof detail !== 'string') {
    return {
      code: 'not_understood',
      kind: 'no_answer',
      detail: `the daemon answered ${status} without a reason`,
    }
  }
  return { code, kind, detail, ...defined({ hint: typeof hint === 'string' ? hint : undefined }) }
}

function isErrorKind(kind: unknown): kind is ErrorKind {
  return ERROR_KINDS.some((known) => known === kind)
}

function parseObject(text: string): { readonly [name: string]: unknown } {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null ? { ...value } : {}
  } catch {
    return {}
  }
}
