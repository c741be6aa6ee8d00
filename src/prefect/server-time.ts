/**
 * The third clock: what Prefect's `Date` says. Where ours is off by more than five minutes, times that decide about keys go
 * by Prefect's. What was measured before the wall clock moved says nothing after it.
 */
import type { Clock } from '../std/clock.js'

export interface ServerTime {
  /** Prefect's time in an answer, and ours when it came. Epoch ms. */
  note(serverAt: number, receivedAt: number): void
  /** Our wall clock minus Prefect's; `undefined` until Prefect was asked, since the start or since `forget`. */
  skewMs(): number | undefined
  /** Prefect's time as its last answer told it. Epoch ms. */
  toldAt(): number | undefined
  /** Whether Prefect was asked less than twelve (awake) hours ago, and the wall clock has not moved since. */
  isFresh(): boolean
  /** The wall clock was moved, or the machine slept. */
  forget(): void
  /** Our clock, its wall time set right. */
  readonly clock: Clock
}

const MAX_SKEW_MS = 5 * 60_000
const FRESH_MS = 12 * 3_600_000

export function createServerTime(clock: Clock): ServerTime {
  let skew: number | undefined
  let told: number | undefined
  let measuredAt = Number.NEGATIVE_INFINITY
  const correction = () => (skew !== undefined && Math.abs(skew) > MAX_SKEW_MS ? skew : 0)
  return {
    note(serverAt, receivedAt) {
      skew = receivedAt - serverAt
      told = serverAt
      measuredAt = clock.monotonic()
    },
    skewMs: () => skew,
    toldAt: () => told,
    isFresh: () => skew !== undefined && clock.monotonic() - measuredAt < FRESH_MS,
    forget() {
      skew = undefined
    },
    clock: {
      now: () => clock.now() - correction(),
      monotonic: () => clock.monotonic(),
      after: (ms, run) => clock.after(ms, run),
    },
  }
}
