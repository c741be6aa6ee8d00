/** Prefect's time, from the `Date` of its answers; it corrects a clock of ours that is off by minutes. */
import { type Clock, HOUR_MS, MINUTE_MS } from '../std/clock.js'

export interface ServerTime {
  /** Prefect's time in an answer, and ours when it arrived. Epoch ms. */
  note(serverAt: number, receivedAt: number): void
  /** Our wall clock minus Prefect's; `undefined` before the first answer since the start or `forget`. */
  skewMs(): number | undefined
  /** Prefect's time in its last answer. Epoch ms. */
  toldAt(): number | undefined
  /** Whether Prefect answered less than twelve (awake) hours ago, and the wall clock has not moved since. */
  isFresh(): boolean
  /** The wall clock was moved, or the machine slept: the measured difference is void. */
  forget(): void
  /** Our clock, with Prefect's wall time if ours is off by more than five minutes. */
  readonly clock: Clock
}

const MAX_SKEW_MS = 5 * MINUTE_MS
const FRESH_MS = 12 * HOUR_MS

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
