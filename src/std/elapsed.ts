/** Time that counts in sleep and never goes back: what was allowed for ten minutes must not be allowed in the morning. */
import type { Clock } from './clock.js'

/** Milliseconds. Of the wall clock and the monotonic one, the one that has moved further since the last look counts. */
export function createElapsed(clock: Clock): () => number {
  let wall = clock.now()
  let monotonic = clock.monotonic()
  let total = 0
  return () => {
    const moved = Math.max(clock.now() - wall, clock.monotonic() - monotonic, 0)
    wall = clock.now()
    monotonic = clock.monotonic()
    total += moved
    return total
  }
}
