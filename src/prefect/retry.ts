/** Whether a call to Prefect is tried again, and when; `Retry-After` and HTTP dates. */
import { DAY_MS, SECOND_MS } from '../std/clock.js'
import { type BackoffPolicy, backoffMs } from '../std/time.js'

/** Statuses that mean "not now". */
const RETRY_STATUSES: ReadonlySet<number> = new Set([408, 429, 502, 503, 504])

const MAX_TRIES = 3
const POLICY: BackoffPolicy = { firstMs: 300, maxMs: 3 * SECOND_MS }

/** A server that asks for more is not believed. */
const MAX_RETRY_AFTER_MS = DAY_MS

export function isRetryStatus(status: number): boolean {
  return RETRY_STATUSES.has(status)
}

/**
 * `Retry-After` in milliseconds from now, from a number of seconds or an HTTP date; `undefined` for neither. A date is
 * counted from the server's own `Date`, because our clock may be wrong.
 */
export function parseRetryAfter(
  value: string | undefined,
  { serverAt, now }: { readonly serverAt: number | undefined; readonly now: number },
): number | undefined {
  const text = value?.trim() ?? ''
  const at = parseHttpDate(text)
  const ms = /^\d{1,12}(\.\d+)?$/.test(text)
    ? Number(text) * SECOND_MS
    : at === undefined
      ? undefined
      : at - (serverAt ?? now)
  return ms === undefined ? undefined : Math.min(Math.max(Math.round(ms), 0), MAX_RETRY_AFTER_MS)
}

/** `Sun, 06 Nov 1994 08:49:37 GMT` as epoch ms; `undefined` for anything else. */
export function parseHttpDate(text: string | undefined): number | undefined {
  if (text === undefined || !/^[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} GMT$/.test(text))
    return undefined
  const at = Date.parse(text)
  return Number.isNaN(at) ? undefined : at
}

/** Milliseconds to wait before the next try, or `undefined` to give up. `attempt` is the one that failed, from 1. */
export function planRetry({
  attempt,
  retryAfterMs,
  remainingMs,
  random,
}: {
  readonly attempt: number
  readonly retryAfterMs: number | undefined
  readonly remainingMs: number
  readonly random: () => number
}): number | undefined {
  if (attempt >= MAX_TRIES) return undefined
  const wait = Math.max(backoffMs(attempt, POLICY, random), retryAfterMs ?? 0)
  return wait < remainingMs ? wait : undefined
}
