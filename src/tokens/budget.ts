/** What a token may use up: requests a minute and writes an hour, counted in memory; the writes also outlive a restart. */

import { BrokerError } from '../base/errors.js'
import { type Clock, HOUR_MS, MINUTE_MS } from '../std/clock.js'
import { defined } from '../std/defined.js'
import { createElapsed } from '../std/elapsed.js'
import { cleanText } from '../std/text.js'
import type { TokenRecord } from './records.js'
import type { BudgetUse, Spent } from './tokens.js'

export interface Spending {
  /** Counts a request, before it is sent. Returns what takes it back. Throws `budget_spent`. */
  spend(record: TokenRecord, isWrite: boolean): () => void
  /** `undefined` for a token without a budget. */
  used(record: TokenRecord): BudgetUse | undefined
  /** All records, with the writes of each, to be written now; the counts of other tokens are forgotten. */
  into(records: readonly TokenRecord[]): readonly TokenRecord[]
  /** Whether there is something to write, and it is time. */
  isDue(): boolean
  isUnwritten(): boolean
}

/** How often counting may cause a write. */
const WRITE_MS = MINUTE_MS

export function createSpending(clock: Clock): Spending {
  const elapsed = createElapsed(clock)
  const byToken = new Map<string, { readonly writes: Span; readonly requests: Span }>()
  let isUnwritten = false
  let writtenAt = clock.monotonic()

  const spansOf = ({ id, writes = [] }: TokenRecord) => {
    const known = byToken.get(id)
    if (known !== undefined) return known
    const spans = { writes: createSpan(HOUR_MS), requests: createSpan(MINUTE_MS) }
    for (const { at, count } of writes) {
      // Of the future, by a clock that was set meanwhile: it counts as of now.
      const ago = Math.max(clock.now() - at, 0)
      if (ago <= HOUR_MS) spans.writes.add(elapsed() - ago, count)
    }
    byToken.set(id, spans)
    return spans
  }

  return {
    spend(record, isWrite) {
      const { budget } = record
      if (budget === undefined) return () => undefined
      const { writes, requests } = spansOf(record)
      const now = elapsed()
      const require = (span: Span, most: number | undefined, one: string, time: string) => {
        if (most === undefined || span.count(now) < most) return
        const what = `${most} ${one}${most === 1 ? '' : 's'} in ${time}`
        throw budgetSpent(record, what, clock.now() + span.freeIn(now))
      }
      require(requests, budget.requestsPerMinute, 'request', 'a minute')
      if (isWrite) require(writes, budget.writesPerHour, 'write', 'an hour')
      const spans = isWrite ? [requests, writes] : [requests]
      for (const span of spans) span.add(now, 1)
      isUnwritten ||= isWrite
      return () => {
        for (const span of spans) span.add(now, -1)
      }
    },
    used(record) {
      if (record.budget === undefined) return undefined
      const { writes, requests } = spansOf(record)
      return { writes: writes.count(elapsed()), requests: requests.count(elapsed()) }
    },
    into(records) {
      isUnwritten = false
      writtenAt = clock.monotonic()
      const ids = new Set(records.map(({ id }) => id))
      for (const id of byToken.keys()) if (!ids.has(id)) byToken.delete(id)
      return records.map((record) => {
        if (record.budget === undefined) return record
        const { writes: _, ...rest } = record
        const now = elapsed()
        const since = clock.now() - now
        const writes = spansOf(record).writes.list(now)
        const moved = writes.map(({ at, count }) => ({ at: since + at, count }))
        return { ...rest, ...defined({ writes: moved.length > 0 ? moved : undefined }) }
      })
    },
    isDue: () => isUnwritten && clock.monotonic() - writtenAt >= WRITE_MS,
    isUnwritten: () => isUnwritten,
  }
}

/** What was counted in the last `ms`, in a bounded number of slots. */
interface Span {
  add(at: number, count: number): void
  count(now: number): number
  /** Milliseconds until one more has room; there is something in it. */
  freeIn(now: number): number
  list(now: number): readonly Spent[]
}

const SLOTS = 60

function createSpan(ms: number): Span {
  const slotMs = ms / SLOTS
  /** By the number of the slot, in the order of time. */
  const slots = new Map<number, number>()
  /** What is in a slot counts until the last moment of that slot is `ms` ago: never for too short a time. */
  const endOf = (slot: number) => (slot + 1 + SLOTS) * slotMs
  const forget = (now: number) => {
    for (const [slot, count] of slots) if (endOf(slot) <= now || count <= 0) slots.delete(slot)
  }
  return {
    add(at, count) {
      const slot = Math.floor(at / slotMs)
      if (count < 0 && !slots.has(slot)) return
      slots.set(slot, (slots.get(slot) ?? 0) + count)
    },
    count(now) {
      forget(now)
      return [...slots.values()].reduce((sum, count) => sum + count, 0)
    },
    freeIn(now) {
      forget(now)
      const [oldest = Math.floor(now / slotMs)] = slots.keys()
      return endOf(oldest) - now
    },
    list(now) {
      forget(now)
      // As late as it may have been.
      return [...slots].map(([slot, count]) => ({ at: Math.min((slot + 1) * slotMs, now), count }))
    },
  }
}

function budgetSpent({ id, name }: TokenRecord, what: string, retryAt: number): BrokerError {
  return new BrokerError('budget_spent', `token '${cleanText(name, 60)}' has used up its budget of ${what}`, {
    hint: `prefect-auth token show ${id}`,
    retryAt,
  })
}
