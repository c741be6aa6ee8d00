/** Whether Prefect takes a key, judged by every answer it gives: good, doubted, rejected. Pure. */

import type { ServerTime } from '../prefect/server-time.js'
import { isPast } from '../prefect/server-time.js'
import { HOUR_MS, MINUTE_MS, SECOND_MS } from '../std/clock.js'
import type { KeyRecord } from './ledger.js'

/**
 * The rule. A refusal is evidence, not a verdict: a key is doubted from the first one, and rejected by the fifth, if each was
 * the answer to a question put at least 90 s after the one before was heard, and nothing was accepted in between. So no outage
 * of less than six minutes rejects a key, however often it is asked about; one examination is one question.
 */
export const REFUSALS = 5
export const APART_MS = 90 * SECOND_MS

/** Times in ms of one clock. */
export type Standing =
  | { readonly kind: 'good' }
  /** `since`: the first refusal; `last`: the last one that counted. */
  | { readonly kind: 'doubted'; readonly since: number; readonly last: number; readonly refusals: number }
  | { readonly kind: 'rejected' }

export type Heard =
  /** Prefect's own, well-formed answer to a call with this key. */
  | { readonly kind: 'accepted' }
  /** Prefect's own 401. `askedAt`: when the call began; `at`: when it was answered. */
  | { readonly kind: 'refused'; readonly askedAt: number; readonly at: number }
  /** Prefect's own time is past the key's expiry, and it does not accept the key. */
  | { readonly kind: 'ended' }

export const GOOD: Standing = { kind: 'good' }

/** Returns `before` itself if nothing changed. */
export function judge(before: Standing, heard: Heard): Standing {
  if (heard.kind === 'accepted') return before.kind === 'good' ? before : GOOD
  if (before.kind === 'rejected') return before
  if (heard.kind === 'ended') return { kind: 'rejected' }
  const { askedAt, at } = heard
  if (before.kind === 'good') return { kind: 'doubted', since: at, last: at, refusals: 1 }
  if (askedAt - before.last < APART_MS) return before
  const refusals = before.refusals + 1
  return refusals >= REFUSALS ? { kind: 'rejected' } : { ...before, last: at, refusals }
}

/** The record of a key that is worth `standing`. `offset`: from the clock of `standing` to epoch ms; `now`: epoch ms. */
export function stood(
  { doubt: _, rejectedAt, ...record }: KeyRecord,
  standing: Standing,
  { offset, now }: { readonly offset: number; readonly now: number },
): KeyRecord {
  switch (standing.kind) {
    case 'good':
      return record
    case 'doubted': {
      const { refusals, since, last } = standing
      return { ...record, doubt: { since: since + offset, last: last + offset, refusals } }
    }
    case 'rejected':
      return { ...record, rejectedAt: rejectedAt ?? now }
  }
}

/** How often Prefect is asked about a key in use, in awake time: a revoked one is found before a job finds it. */
const ASK_GOOD_MS = 12 * HOUR_MS
/** At every tick. */
const ASK_DOUBTED_MS = 20 * SECOND_MS
/** Less than a dozen times in the first hour. */
const ASK_REJECTED_MS = 5.5 * MINUTE_MS
const ASK_LATER_MS = HOUR_MS

/** How long to wait between two questions about the key, ms. `now`: epoch ms, as `rejectedAt` was noted. */
export function askAgainMs(
  { doubt, rejectedAt }: { readonly doubt?: unknown; readonly rejectedAt?: number },
  now: number,
): number {
  if (rejectedAt !== undefined) {
    const age = now - rejectedAt
    return age >= 0 && age < HOUR_MS ? ASK_REJECTED_MS : ASK_LATER_MS
  }
  return doubt === undefined ? ASK_GOOD_MS : ASK_DOUBTED_MS
}

/** Whether the key's life is over by the time of its own server; a guessed end, or our clock alone, ends nothing. */
export function isEnded(
  { expiresAt, isExpiryAssumed }: Pick<KeyRecord, 'expiresAt' | 'isExpiryAssumed'>,
  time: ServerTime,
): boolean {
  return expiresAt !== undefined && isExpiryAssumed !== true && isPast(time, expiresAt)
}
