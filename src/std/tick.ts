/** A heartbeat: runs something every so often, never twice at once, never waiting longer than a laptop may sleep. */
import type { Clock, Timer } from './clock.js'
import type { Log } from './log.js'

export interface Ticking {
  /** No run begins after this; resolves when the one under way is over. */
  close(): Promise<void>
}

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
    timer = clock.after(everyMs, () => {
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
