/** How long each key is left alone after a failure: in memory, counted in awake time. */
import { BrokerError, isBrokerError } from '../base/errors.js'
import { type Clock, DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS } from '../std/clock.js'
import { type BackoffPolicy, backoffMs } from '../std/time.js'

/**
 * `not_now`: temporary, retried soon. `refused`: Prefect does not allow it, retried rarely. `lost`: a key may have been
 * minted that nobody knows, so as few more as possible are made. `overtaken`: a login or log-out came in between.
 */
export type Setback = 'not_now' | 'refused' | 'lost' | 'overtaken'

const POLICIES: Readonly<Record<Setback, BackoffPolicy>> = {
  not_now: { firstMs: SECOND_MS, maxMs: HOUR_MS },
  overtaken: { firstMs: SECOND_MS, maxMs: 5 * MINUTE_MS },
  lost: { firstMs: 5 * MINUTE_MS, maxMs: 6 * HOUR_MS },
  refused: { firstMs: HOUR_MS, maxMs: DAY_MS },
}
const LEAST_MS = SECOND_MS

/** `isLost`: the attempt left a key in the journal that may live at Prefect and that we do not hold. */
export function classifySetback(error: unknown, isLost: boolean): Setback {
  if (isBrokerError(error, 'login_state', 'login_required')) return 'overtaken'
  if (isBrokerError(error) && error.retry === 'seldom') return 'refused'
  return isLost ? 'lost' : 'not_now'
}

/**
 * Milliseconds before attempt `attempt + 1`; `attempt` counts from 1. Exponential with full jitter, or half of it if asking
 * often does harm. At most 1/20 of the key's life, so that a key of one hour is renewed in time, too.
 */
export function setbackDelay({
  setback,
  attempt,
  lifeMs,
  random,
}: {
  readonly setback: Setback
  readonly attempt: number
  readonly lifeMs: number
  /** In [0, 1). */
  readonly random: () => number
}): number {
  const cap = Math.max(LEAST_MS, lifeMs / 20)
  const { firstMs, maxMs } = POLICIES[setback]
  const policy = { firstMs: Math.min(firstMs, cap), maxMs: Math.min(maxMs, cap) }
  const isHalfSure = setback === 'lost' || setback === 'refused'
  return Math.max(LEAST_MS, backoffMs(attempt, policy, isHalfSure ? () => 0.5 + random() / 2 : random))
}

/** The error's message, with what to check if Prefect refused. */
export function describeSetback(setback: Setback, error: BrokerError): string {
  if (setback !== 'refused') return error.message
  return `${error.message} (check the account's IP allow list, the role of the key's owner, and the network: VPN, PrivateLink)`
}

interface Hold {
  readonly setback: Setback
  /** How many attempts in a row have failed like this. */
  readonly attempts: number
  readonly error: unknown
  /** Monotonic ms of the next attempt. */
  readonly until: number
  /** Monotonic ms of the failure. */
  readonly since: number
}

export interface RenewalHolds {
  isOver(item: string): boolean
  get(item: string): Hold | undefined
  /** Notes a failure; returns the milliseconds until the next attempt. */
  set(
    item: string,
    failure: { readonly setback: Setback; readonly lifeMs: number; readonly error: unknown },
  ): number
  clear(item: string): void
  /** The wall clock moved ahead by this much: it counts as waiting, but `LEAST_AFTER_SKIP_MS` always remains. */
  skip(ms: number): void
}

/** The least time between a failure and the next attempt, whatever the clocks do. */
const LEAST_AFTER_SKIP_MS = MINUTE_MS

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
