/**
 * Pure: when a daemon that its manager starts again after every failure stays down. launchd does so for ever; systemd counts
 * by itself.
 */

export interface StartBook {
  /** Starts that have not ended well, the one that runs among them. Epoch ms, oldest first. */
  readonly starts: readonly number[]
  /** Epoch ms; absent: it was not given up. */
  readonly givenUpAt?: number
}

export type StartPlan =
  | { readonly kind: 'start'; readonly book: StartBook }
  | { readonly kind: 'give_up'; readonly book: StartBook; readonly failures: number }

export const MOST_FAILURES = 5
/** So long a time with so many failures; a start that lasts longer was a good one. */
export const FAILURES_WITHIN_MS = 10 * 60_000

/** The book is to be written down before anything else is tried. */
export function planStart({ starts, givenUpAt }: StartBook, now: number): StartPlan {
  // Nobody starts what ended with code 0 but a person, or a login: they may have mended it.
  if (givenUpAt !== undefined) return { kind: 'start', book: { starts: [now] } }
  // What lies in the future was written while the clock was wrong.
  const recent = starts.filter((at) => at <= now && now - at < FAILURES_WITHIN_MS)
  if (recent.length < MOST_FAILURES) return { kind: 'start', book: { starts: [...recent, now] } }
  return { kind: 'give_up', book: { starts: recent, givenUpAt: now }, failures: recent.length }
}
