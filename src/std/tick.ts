/**
 * A heartbeat: runs something every so often, never twice at once, never waiting longer than a laptop may sleep. Those of
 * the same length beat at the same moments: an idle machine wakes once for all.
 */
import type { Clock, Timer } from './clock.js'
import type { Log } from './log.js'

interface Ticking {
  /** No run begins after this; resolves when the one under way is over. */
  close(): Promise<void>
}

/** A timer may be a little early; that is no reason to beat twice. */
const EARLY_MS = 100

export function startTicking({
  clock,
  everyMs,
  log,
  run,
}: {
  readonly clock: Clock
  readonly everyMs: number
  readonly log: Log
  readonly run: () => Promise<void>
}): Ticking {
  let isClosed = false
  let running: Promise<void> = Promise.resolve()
  let timer: Timer | undefined
  const arm = () => {
    timer = clock.after(untilNext(clock.monotonic(), everyMs), () => {
      running = run()
        .catch((error: unknown) => log.error({ error }, 'a tick failed'))
        .then(() => {
          if (!isClosed) arm()
        })
    })
  }
  arm()
  return {
    async close() {
      isClosed = true
      timer?.cancel()
      await running
    },
  }
}

function untilNext(now: number, everyMs: number): number {
  const wait = Math.ceil(everyMs - (now % everyMs))
  return wait < Math.min(EARLY_MS, everyMs / 2) ? wait + everyMs : wait
}
