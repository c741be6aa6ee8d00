/** Notices that the wall clock moved against the monotonic one: sleep, or a clock that was set. */

import { type Clock, SECOND_MS } from '../std/clock.js'

interface ClockWatch {
  /** How far the wall clock moved against the monotonic one since the last call, ms; 0 for a little drift. */
  look(): number
}

/** More than any drift between two calls, less than any sleep that matters. */
const TOLERANCE_MS = 5 * SECOND_MS

export function createClockWatch(clock: Clock): ClockWatch {
  let wall = clock.now()
  let mono = clock.monotonic()
  return {
    look() {
      const nowWall = clock.now()
      const nowMono = clock.monotonic()
      const jump = nowWall - wall - (nowMono - mono)
      wall = nowWall
      mono = nowMono
      return Math.abs(jump) > TOLERANCE_MS ? jump : 0
    },
  }
}
