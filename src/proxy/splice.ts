/** Two sockets become one: what one side says the other hears, ends and errors included. */
import type { Duplex } from 'node:stream'
import type { Clock } from '../std/clock.js'

/** The two ends of a WebSocket. */
export interface Pair {
  readonly client: Duplex
  readonly upstream: Duplex
}

/** How long the rest of what was said may take to arrive after one side has gone. Milliseconds. */
const LINGER_MS = 2_000

/** `onClose` is called once, when both are closed. */
export function splice(one: Duplex, other: Duplex, clock: Clock, onClose: () => void): void {
  let open = 2
  const cut = () => {
    one.destroy()
    other.destroy()
  }
  const join = (from: Duplex, to: Duplex) => {
    from.pipe(to)
    from.on('error', cut)
    from.on('close', () => {
      open -= 1
      if (open === 0) return onClose()
      // Already written bytes still go out; a side that never hangs up does not keep its place.
      to.end()
      clock.after(LINGER_MS, cut)
    })
  }
  join(one, other)
  join(other, one)
}
