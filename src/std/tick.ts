/** A heartbeat: runs something at regular intervals, never twice at once. */
import type { Clock, Timer } from './clock.js'
import type { Log } from './log.js'

interface Ticking {
  /** No run begins after this. Resolves when the current one is over. */
  close(): Promise<void>
}

/** A timer may fire a little early; that must not cause a second run. */
const EARLY_MS = 100

/** Runs `run` every `everyMs` of timer time. What it rejects with is logged. */
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
        .catch((error: unknown) => log.error({ error }, 'tick failed'))
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

/** Tickers of one interval run at the same moments: an idle machine wakes once for all of them. */
function untilNext(now: number, everyMs: number): number {
  const wait = Math.ceil(everyMs - (now % everyMs))
  return wait < Math.min(EARLY_MS, everyMs / 2) ? wait + everyMs : wait
}
