/** Durations as people write them (`90s`, `15m`, `8h`, `30d`), in milliseconds inside, and backoff. */
import { DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS } from './clock.js'

const UNITS = { ms: 1, s: SECOND_MS, m: MINUTE_MS, h: HOUR_MS, d: DAY_MS } as const

/** Milliseconds of one number and one unit. `undefined` for anything else: the caller names the setting or flag. */
export function parseDuration(text: string): number | undefined {
  const match = /^(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)$/.exec(text.trim())
  const unit = match?.[2]
  if (unit !== 'ms' && unit !== 's' && unit !== 'm' && unit !== 'h' && unit !== 'd') return undefined
  const ms = Number(match?.[1]) * UNITS[unit]
  return Number.isSafeInteger(Math.round(ms)) ? Math.round(ms) : undefined
}

const MOMENT = /^(\d{4}-\d{2}-\d{2})(?:[Tt ](\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?)([Zz]|[+-]\d{2}:\d{2}))?$/

/** Epoch ms of an RFC 3339 time, or of the first moment (UTC) of a date. `undefined` for anything else, such as 30 February. */
export function parseMoment(text: string): number | undefined {
  const [, date, time = '00:00', offset = 'Z'] = MOMENT.exec(text.trim()) ?? []
  if (date === undefined) return undefined
  const midnight = Date.parse(`${date}T00:00:00Z`)
  const isReal = Number.isFinite(midnight) && new Date(midnight).toISOString().startsWith(date)
  const at = Date.parse(`${date}T${time}${offset.toUpperCase()}`)
  return isReal && Number.isFinite(at) ? at : undefined
}

/** In the largest unit that keeps it whole: `7776000000` is `90d`, `45000` is `45s`, `5400000` is `90m`. */
export function formatDuration(ms: number): string {
  for (const [unit, size] of [
    ['d', UNITS.d],
    ['h', UNITS.h],
    ['m', UNITS.m],
    ['s', UNITS.s],
  ] as const) {
    if (Math.abs(ms) >= size && Math.round(ms) % size === 0) return `${Math.round(ms) / size}${unit}`
  }
  return ms % SECOND_MS === 0 ? `${ms / SECOND_MS}s` : `${Math.round(ms)}ms`
}

/** What is left of a time, rounded down so that two digits say it: `6d`, `23h`, `59m`; never less than a minute. */
export function formatLeft(ms: number): string {
  const unit = [DAY_MS, HOUR_MS].find((size) => ms >= 2 * size) ?? MINUTE_MS
  return formatDuration(Math.max(MINUTE_MS, ms - (ms % unit)))
}

export interface BackoffPolicy {
  readonly firstMs: number
  readonly maxMs: number
}

/**
 * Milliseconds before attempt `attempt + 1`; `attempt` counts from 1. `random` is in [0, 1).
 */
export function backoffMs(attempt: number, policy: BackoffPolicy, random: () => number): number {
  // Full jitter keeps a fleet that failed together from retrying together.
  const ceiling = Math.min(policy.maxMs, policy.firstMs * 2 ** Math.min(attempt - 1, 40))
  return Math.round(ceiling * random())
}
