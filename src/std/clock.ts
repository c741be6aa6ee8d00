/** Time as a dependency: wall time, monotonic time and timers, so that tests can skip a night. */

export const SECOND_MS = 1000
export const MINUTE_MS = 60 * SECOND_MS
export const HOUR_MS = 60 * MINUTE_MS
export const DAY_MS = 24 * HOUR_MS

/** A timer that is set. `cancel` may be called any number of times. */
export interface Timer {
  cancel(): void
}

export interface Clock {
  /** Wall time, epoch milliseconds. May jump in both directions. */
  now(): number
  /** Milliseconds since some fixed moment. Never goes back; may stop while the machine sleeps. */
  monotonic(): number
  /** Calls `run` once after `ms` of timer time. Does not keep the process alive. */
  after(ms: number, run: () => void): Timer
}

/** Node clamps longer delays to 1 ms, which turns a long wait into a storm (nodejs/node#3512). */
const MAX_TIMER_MS = 2 ** 31 - 1

/** The machine's own clock. `monotonic`: as `Clock` has it. */
export function systemClock(monotonic: Clock['monotonic'] = () => performance.now()): Clock {
  return {
    now: () => Date.now(),
    monotonic,
    after(ms, run) {
      const timer = setTimeout(run, Math.min(Math.max(ms, 0), MAX_TIMER_MS))
      timer.unref()
      return { cancel: () => clearTimeout(timer) }
    },
  }
}

/** Resolves after `ms`, or rejects with the signal's reason if it is aborted first. */
export function sleep(clock: Clock, ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason)
    const onAbort = () => {
      timer.cancel()
      reject(signal?.reason)
    }
    const timer = clock.after(ms, () => {
      signal?.removeEventListener('abort', onAbort)
      resolve()
    })
    signal?.addEventListener('abort', onAbort, { once: true })
  })
}
