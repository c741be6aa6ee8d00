/** What can go wrong between a person and the daemon, as data: a code, whose turn it is, and what to do now. */
import { ERROR_KINDS, type ErrorKind } from '../wire/kinds.js'

/** The daemon's kinds, and those that only a client has. */
type FailureKind = ErrorKind | 'usage' | 'not_running' | 'no_answer' | 'cancelled'

export interface Failure {
  /** One of docs/errors.md, or one of the client's own: `daemon_not_running`, `usage`, … */
  readonly code: string
  readonly kind: FailureKind
  /** What we were doing and what failed; from the daemon, so not to be trusted with control characters. */
  readonly detail: string
  /** A command where one helps. */
  readonly hint?: string
}

/** Throws. The failure travels as the error's cause: `failureOf` finds it again. */
export function failWith(failure: Failure): never {
  throw failed(failure)
}

/** The error that `failWith` throws, for promises and streams that have to be rejected with one. */
export function failed(failure: Failure): Error {
  return new Error(failure.detail, { cause: failure })
}

/** The failure inside an error, or `undefined` where the error is a fault of the program. */
export function failureOf(error: unknown): Failure | undefined {
  const cause = error instanceof Error ? error.cause : undefined
  return isFailure(cause) ? cause : undefined
}

function isFailure(value: unknown): value is Failure {
  return (
    typeof value === 'object' && value !== null && 'code' in value && 'kind' in value && 'detail' in value
  )
}

/** Reads a problem document, or makes one of an answer that is none. Without zod: the fast path loads this. */
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
  return { code, kind, detail, ...(typeof hint === 'string' ? { hint } : {}) }
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
