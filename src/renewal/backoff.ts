/** How long each key is left alone after something failed with it: in memory, counted in awake time. */

import { BrokerError } from '../base/errors.js'
import type { Clock } from '../std/clock.js'
import { type Setback, setbackDelay } from './renewal-setbacks.js'

export interface Hold {
  readonly setback: Setback
  /** How many attempts have failed so in a row. */
  readonly attempts: number
  readonly error: unknown
  /** Monotonic ms before which nothing is tried. */
  readonly until: number
  /** Monotonic ms of the failure. */
  readonly since: number
}

export interface RenewalHolds {
  isOver(item: string): boolean
  get(item: string): Hold | undefined
  /** Notes a failure; answers the milliseconds until the next attempt. */
  set(
    item: string,
    failure: { readonly setback: Setback; readonly lifeMs: number; readonly error: unknown },
  ): number
  clear(item: string): void
  /** The wall clock went ahead by this much, asleep or set: so much of the waiting is over, but never all of it at once. */
  skip(ms: number): void
}

/** Whatever the clocks do, a failure is not followed by another attempt before this. */
const LEAST_AFTER_SKIP_MS = 60_000

export function createRenewalHolds({
  clock,
  random,
}: {
  readonly clock: Clock
  readonly random: () => number
}): RenewalHolds {
  const holds = new Map<string, Hold>()
  return {
    isOver(item) {
      const hold = holds.get(item)
      return hold === undefined || clock.monotonic() >= hold.until
    },
    get: (item) => holds.get(item),
    set(item, { setback, lifeMs, error }) {
      const before = holds.get(item)
      const attempts = before?.setback === setback ? before.attempts + 1 : 1
      const since = clock.monotonic()
      const asked =
        error instanceof BrokerError && error.retryAt !== undefined ? error.retryAt - clock.now() : 0
      const delay = Math.max(setbackDelay({ setback, attempt: attempts, lifeMs, random }), asked)
      holds.set(item, { setback, attempts, error, since, until: since + delay })
      return delay
    },
    clear: (item) => void holds.delete(item),
    skip(ms) {
      for (const [item, hold] of holds) {
        const least = Math.min(hold.until, hold.since + LEAST_AFTER_SKIP_MS)
        holds.set(item, { ...hold, until: Math.max(least, hold.until - ms) })
      }
    },
  }
}
