/** Tells time that passed from time that was jumped over: a laptop that slept, a wall clock that was set. */
import type { Clock } from '../std/clock.js'

export interface ClockWatch {
  /**
   * By how much the wall clock moved against the monotonic one since the last look, ms; 0 where both went along, as they do
   * but for a little drift.
   */
  look(): number
}

/** More than any drift between two looks, less than any sleep that matters. */
const TOLERANCE_MS = 5_000

export function createClockWatch(clock: Clock): ClockWatch {
  let wall = clock.now()
  let mono = clock.monotonic()
  return {
    look() {
      const [nowWall, nowMono] = [clock.now(), clock.monotonic()]
      const jump = nowWall - wall - (nowMono - mono)
      wall = nowWall
      mono = nowMono
      return Math.abs(jump) > TOLERANCE_MS ? jump : 0
    },
  }
}
