/** Which tokens are given up so that one more fits. */

import type { TokenList, TokenRecord } from './issue.js'

const MAX_JOB_TOKENS = 256
/**
 * Expired tokens that are kept. No clock of ours is believed so far that it may erase them for good: set right, it revives
 * them. Past this number, those that expired first go, so that the list does not grow.
 */
const MAX_EXPIRED_TOKENS = 1000

interface Ages {
  isActive(record: TokenRecord): boolean
  /** Milliseconds without use. */
  idleMs(record: TokenRecord): number
}

/** The list with `record` in it. */
export function withRoom({ tokens }: TokenList, record: TokenRecord, { isActive, idleMs }: Ages): TokenList {
  // A job's age is counted in awake time, which no clock that is set wrong can change: that one is over.
  const kept = tokens.filter((one) => one.job === undefined || isActive(one))
  const jobs = record.job === undefined ? [] : kept.filter(({ job }) => job !== undefined)
  const removed = [...surplus(jobs, idleMs), ...longExpired(kept.filter((one) => !isActive(one)))]
  return { tokens: [...kept.filter((one) => !removed.includes(one)), record] }
}

/** The tokens to remove so that one more fits: those unused for longest. */
function surplus(jobs: readonly TokenRecord[], idleMs: Ages['idleMs']): readonly TokenRecord[] {
  const over = jobs.length - (MAX_JOB_TOKENS - 1)
  return over <= 0 ? [] : [...jobs].sort((a, b) => idleMs(b) - idleMs(a)).slice(0, over)
}

/** The expired tokens to remove. */
function longExpired(expired: readonly TokenRecord[]): readonly TokenRecord[] {
  const over = expired.length - MAX_EXPIRED_TOKENS
  return over <= 0 ? [] : [...expired].sort((a, b) => a.expiresAt - b.expiresAt).slice(0, over)
}
