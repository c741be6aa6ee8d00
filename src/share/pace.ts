/** How fast a fleet moves, and the least overlap that this takes. Pure. */

import { SECOND_MS } from '../std/clock.js'

/** Agreed once for all machines of a share: it is in the document. All in ms. */
export interface Pace {
  /** How often each machine reads the store. */
  readonly everyMs: number
  /** How long Prefect accepts the replaced key after a rotation. */
  readonly overlapMs: number
  /** Lifetime of a rotated key. */
  readonly lifeMs: number
}

/** How many rotations in a row may lose Prefect's answer before a job notices. */
export const LOST_IN_A_ROW = 5
/** Reads of the store are spread by this part of the interval, in both directions. */
export const JITTER = 0.2
/** The longest that a call to Prefect, or to the store, takes. */
export const REQUEST_MS = 30 * SECOND_MS

/** From just before the claim is written: later than this, its machine does not mint. */
export function turnMs({ everyMs }: Pick<Pace, 'everyMs'>): number {
  return everyMs
}

/** How long the document must have been the same, by the waiting machine's own clock, before it takes over a claim. */
export function waitMs({ everyMs }: Pick<Pace, 'everyMs'>): number {
  return 3 * everyMs + REQUEST_MS
}

/** Between the two readings that must agree before a key counts as lost or foreign. */
export function apartMs({ everyMs }: Pick<Pace, 'everyMs'>): number {
  return everyMs
}

/** How long after a publication the last machine may still serve the key before it. */
export function stalenessMs({ everyMs }: Pick<Pace, 'everyMs'>): number {
  return everyMs * (1 + JITTER) + 2 * REQUEST_MS
}

/** What one lost answer costs: noticed, waited for, and minted again. */
export function attemptMs(pace: Pick<Pace, 'everyMs'>): number {
  const tick = pace.everyMs * (1 + JITTER)
  return waitMs(pace) + apartMs(pace) + turnMs(pace) + 2 * tick + REQUEST_MS
}

/**
 * The least overlap. After a lost answer the overlap is running, and the next mint must come within a third of what is left of
 * it, also the last time: `(3 + lost) × attempt`, and then the last machine has to read it.
 */
export function leastOverlapMs(pace: Pick<Pace, 'everyMs'>): number {
  return (3 + LOST_IN_A_ROW) * attemptMs(pace) + stalenessMs(pace)
}

/** A key is rotated after two thirds of its life: what is left must be an overlap. */
export function leastLifeMs(pace: Pick<Pace, 'overlapMs'>): number {
  return 3 * pace.overlapMs
}
