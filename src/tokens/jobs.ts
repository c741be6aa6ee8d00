/** Pure: how long the token of a job lives. What counts is time without use while the daemon is awake. */

export interface JobRecord {
  readonly pid?: number
  /** Tells the process from a later one of the same pid. */
  readonly process?: string
  /** Ms without use, as last written down. */
  readonly idleMs: number
}

const DAY_MS = 86_400_000
export const IDLE_WITH_JOB_MS = 14 * DAY_MS
const IDLE_WITHOUT_JOB_MS = DAY_MS
const MAX_JOB_TOKENS = 256

export function isJobOver({
  idleMs,
  isGone,
}: {
  readonly idleMs: number
  readonly isGone: boolean
}): boolean {
  return idleMs >= (isGone ? IDLE_WITHOUT_JOB_MS : IDLE_WITH_JOB_MS)
}

/** What must go so that one more fits: the ones unused for longest. */
export function surplus<T>(jobs: readonly T[], idleMs: (job: T) => number): readonly T[] {
  const over = jobs.length - (MAX_JOB_TOKENS - 1)
  return over <= 0 ? [] : [...jobs].sort((a, b) => idleMs(b) - idleMs(a)).slice(0, over)
}
