/** What the proxy refused to each token: counted by operation in memory, and written with the token now and then. */

import { type Clock, MINUTE_MS } from '../std/clock.js'
import { defined } from '../std/defined.js'
import type { TokenRecord } from './records.js'
import type { RefusedBy, RefusedOperation } from './tokens.js'

/** The caller chooses what it asks for: beyond this many operations, the one refused longest ago goes. */
const MOST = 30

/** How often a job that tries everything may cause a write. */
const WRITE_MS = MINUTE_MS

export interface Refusals {
  note(record: TokenRecord, operation: string, by: RefusedBy): void
  /** The newest first; `undefined` if there are none. */
  of(record: TokenRecord): readonly RefusedOperation[] | undefined
  /** All records, with what each was refused, to be written now; what other tokens were refused is forgotten. */
  into(records: readonly TokenRecord[]): readonly TokenRecord[]
  /** Whether there is something to write, and it is time. */
  isDue(): boolean
  isUnwritten(): boolean
}

export function createRefusals(clock: Clock): Refusals {
  const byToken = new Map<string, readonly RefusedOperation[]>()
  let isUnwritten = false
  let writtenAt = clock.monotonic()
  const of = (record: TokenRecord) => byToken.get(record.id) ?? record.refused
  return {
    of,
    note(record, operation, by) {
      byToken.set(record.id, withOne(of(record) ?? [], { operation, count: 1, at: clock.now(), by }))
      isUnwritten = true
    },
    into(records) {
      isUnwritten = false
      writtenAt = clock.monotonic()
      const ids = new Set(records.map(({ id }) => id))
      for (const id of byToken.keys()) if (!ids.has(id)) byToken.delete(id)
      return records.map((record) => ({ ...record, ...defined({ refused: of(record) }) }))
    },
    isDue: () => isUnwritten && clock.monotonic() - writtenAt >= WRITE_MS,
    isUnwritten: () => isUnwritten,
  }
}

/** `list` with `one` in front, counted together with what is equal in it. */
function withOne(list: readonly RefusedOperation[], one: RefusedOperation): readonly RefusedOperation[] {
  const isSame = ({ operation, by }: RefusedOperation) => operation === one.operation && by === one.by
  const before = list.find(isSame)?.count ?? 0
  const count = Math.min(before + 1, Number.MAX_SAFE_INTEGER)
  return [{ ...one, count }, ...list.filter((other) => !isSame(other))].slice(0, MOST)
}
