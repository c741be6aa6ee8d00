/** Prefect's time, one per origin, from the `Date` of its answers; it corrects a clock of ours that is off by minutes. */
import { type Clock, HOUR_MS, MINUTE_MS, SECOND_MS } from '../std/clock.js'
import type { CloudKey } from './cloud.js'

/** The time at one origin. */
export interface ServerTime {
  /** The server's time in an answer of its own, and ours when it arrived: by default just now. Epoch ms. */
  note(serverAt: number, receivedAt?: number): void
  /** Our wall clock minus the server's; `undefined` before the first answer since the start or `forget`. */
  skewMs(): number | undefined
  /** The server's time in its last answer. Epoch ms. */
  toldAt(): number | undefined
  /**
   * The end to ask for, so that a key that is made now lives for `lifeMs` and no longer: counted from the last time that the
   * server told, which has certainly passed there, or from a tenth of the life ago if it told none since. Whole seconds.
   */
  endOfLife(lifeMs: number): number
  /** Whether the server answered less than twelve (awake) hours ago, and the wall clock has not moved since. */
  isFresh(): boolean
  /** The wall clock was moved, or the machine slept: the measured difference is void. */
  forget(): void
  /** Our clock, with the server's wall time if ours is off by more than five minutes. */
  readonly clock: Clock
}

/** A server tells the time for its own keys only: a staging host in 2035 says nothing about the real Cloud. */
export interface ServerTimes {
  /** `url`: any URL of the origin. */
  of(url: string): ServerTime
  /** Whether any of them is fresh. */
  isAnyFresh(): boolean
  /** The same for each origin: see `ServerTime.forget`. */
  forget(): void
}

const MAX_SKEW_MS = 5 * MINUTE_MS
const FRESH_MS = 12 * HOUR_MS

export function createServerTimes(clock: Clock): ServerTimes {
  const times = new Map<string, ServerTime>()
  return {
    of(url) {
      const origin = URL.canParse(url) ? new URL(url).origin : url
      const known = times.get(origin)
      if (known !== undefined) return known
      const time = createServerTime(clock)
      times.set(origin, time)
      return time
    },
    isAnyFresh: () => [...times.values()].some((time) => time.isFresh()),
    forget() {
      for (const time of times.values()) time.forget()
    },
  }
}

export function createServerTime(clock: Clock): ServerTime {
  let skew: number | undefined
  let told: number | undefined
  let measuredAt = Number.NEGATIVE_INFINITY
  const correction = () => (skew !== undefined && Math.abs(skew) > MAX_SKEW_MS ? skew : 0)
  return {
    note(serverAt, receivedAt = clock.now()) {
      skew = receivedAt - serverAt
      told = serverAt
      measuredAt = clock.monotonic()
    },
    skewMs: () => skew,
    toldAt: () => told,
    endOfLife(lifeMs) {
      // Each may be ahead of the server: our clock if it runs fast, the corrected one by the smaller differences that it keeps.
      const now = clock.now() - Math.max(correction(), skew ?? 0)
      const start = Math.min(now, Math.max(told ?? now, now - lifeMs / 10))
      return Math.floor((start + lifeMs) / SECOND_MS) * SECOND_MS
    },
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

/** Whether the server's own time is past `at`, as far as its answers tell. Our clock alone never says so. */
export function isPast({ toldAt, isFresh, clock }: ServerTime, at: number): boolean {
  const told = toldAt()
  return (told !== undefined && told > at) || (isFresh() && clock.now() > at)
}

/**
 * Whether the server made a key that lives longer than asked, by its own two times: then what it had told of its time was wrong.
 * Machines of one server differ by less than five minutes.
 */
export function livesTooLong({ createdAt, expiresAt }: CloudKey, lifeMs: number): boolean {
  return createdAt !== undefined && expiresAt !== undefined && expiresAt - createdAt > lifeMs + MAX_SKEW_MS
}
