/** Deadlines that are hardly ever reached: one timer for all of them. */
import type { Clock, Timer } from './clock.js'
import { createRoll } from './roll.js'

export interface Deadlines {
  /** As `Clock.monotonic`. */
  now(): number
  /**
   * Calls `onLate` once, as soon as `msLeft` says that none is left. It is asked now, and each time that what it said last is
   * over: what moves a deadline costs nothing. `onLate` must not throw.
   */
  add(msLeft: (now: number) => number, onLate: () => void): Timer
}

interface Deadline {
  readonly msLeft: (now: number) => number
  readonly onLate: () => void
  /** Undefined once it is reached or cancelled. */
  leave: (() => void) | undefined
}

export function createDeadlines(clock: Clock): Deadlines {
  const open = createRoll<Deadline>()
  const now = () => clock.monotonic()
  let next: { readonly at: number; readonly timer: Timer } | undefined

  function lookIn(ms: number): void {
    const at = now() + ms
    if (next !== undefined && next.at <= at) return
    next?.timer.cancel()
    next = { at, timer: clock.after(ms, look) }
  }

  function look(): void {
    next = undefined
    const at = now()
    const late = open.members().filter((deadline) => {
      const ms = deadline.msLeft(at)
      if (ms > 0) lookIn(ms)
      return ms <= 0
    })
    for (const deadline of late) {
      // One may cancel another.
      if (cancel(deadline)) deadline.onLate()
    }
  }

  return {
    now,
    add(msLeft, onLate) {
      const deadline: Deadline = { msLeft, onLate, leave: undefined }
      deadline.leave = open.enter(deadline)
      lookIn(msLeft(now()))
      return { cancel: () => void cancel(deadline) }
    },
  }
}

/** Returns false if it was reached or cancelled before. */
function cancel(deadline: Deadline): boolean {
  const { leave } = deadline
  deadline.leave = undefined
  leave?.()
  return leave !== undefined
}
