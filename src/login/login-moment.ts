/** Deadlines that hold on two clocks: whichever says first that the time is over is right. */
import type { Clock } from '../std/clock.js'

/**
 * One moment on both clocks. A wall clock set back would make a deadline wait for ever, and a monotonic clock that
 * stops in a sleeping laptop would let a login live through the night: a deadline is over when either says so.
 */
export interface Moment {
  /** Epoch ms. */
  readonly wall: number
  readonly mono: number
}

export function momentOf(clock: Clock): Moment {
  return { wall: clock.now(), mono: clock.monotonic() }
}

/** `ms` after `moment`, on both clocks. */
export function later(moment: Moment, ms: number): Moment {
  return { wall: moment.wall + ms, mono: moment.mono + ms }
}

/** What is left until `deadline`, in whole milliseconds, by the clock that is nearer to it; zero when it is over. */
export function msUntil(deadline: Moment, now: Moment): number {
  return Math.max(0, Math.ceil(Math.min(deadline.wall - now.wall, deadline.mono - now.mono)))
}
