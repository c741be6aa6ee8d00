/** Records of a document that this version does not understand: kept word for word, each alone. Pure. */

import type { z } from 'zod'

/** How the records of one list of the document, a map or an array, are checked. */
export interface RecordKind {
  readonly schema: z.ZodType
  /** What can be used of a record that is not understood as a whole. */
  readonly salvage?: (raw: unknown) => unknown
}

export type RecordKinds = Readonly<Record<string, RecordKind>>

/** By list: what was set aside, in the shape of the list. */
export type Aside = Readonly<Record<string, Readonly<Record<string, unknown>> | readonly unknown[]>>

interface Sifted {
  /** The document, without what was set aside. */
  readonly known: Readonly<Record<string, unknown>>
  readonly aside: Aside
  /** Names every record that is set aside: `keys 'key-1'`. */
  readonly names: readonly string[]
}

/** Where a document keeps what was set aside. */
export const ASIDE = 'unknown'

/**
 * Sets records aside that their schema rejects. Those that were set aside before come back once they are understood, unless
 * another record has taken their place.
 */
export function siftRecords(raw: Readonly<Record<string, unknown>>, kinds: RecordKinds): Sifted {
  const { [ASIDE]: before, ...rest } = raw
  const known: Record<string, unknown> = rest
  const aside: Record<string, Record<string, unknown> | unknown[]> = {}
  const names: string[] = []
  for (const [list, kind] of Object.entries(kinds)) {
    const kept = isObject(before) ? before[list] : undefined
    const found = known[list]
    if (Array.isArray(found)) {
      const all = [...found, ...(Array.isArray(kept) ? kept : [])]
      const [good, bad] = split(all, (record) => kind.schema.safeParse(record).success)
      known[list] = good
      if (bad.length > 0) aside[list] = bad
      names.push(...bad.map((record) => `${list} ${nameOf(record)}`))
    } else if (isObject(found) || isObject(kept)) {
      const { good, bad } = siftMap(isObject(found) ? found : {}, isObject(kept) ? kept : {}, kind)
      known[list] = good
      if (Object.keys(bad).length > 0) aside[list] = bad
      names.push(...Object.keys(bad).map((name) => `${list} '${name}'`))
    }
  }
  return { known, aside, names }
}

function siftMap(
  found: Readonly<Record<string, unknown>>,
  kept: Readonly<Record<string, unknown>>,
  { schema, salvage }: RecordKind,
): { good: Record<string, unknown>; bad: Record<string, unknown> } {
  const good: [string, unknown][] = []
  const bad: [string, unknown][] = []
  for (const [name, record] of Object.entries(found)) {
    if (schema.safeParse(record).success) good.push([name, record])
    else {
      bad.push([name, record])
      const usable = salvage?.(record)
      if (usable !== undefined) good.push([name, usable])
    }
  }
  const taken = new Set([...good, ...bad].map(([name]) => name))
  for (const [name, record] of Object.entries(kept)) {
    const isUnderstood = schema.safeParse(record).success
    if (isUnderstood && !taken.has(name)) good.push([name, record])
    else if (!bad.some(([other]) => other === name)) bad.push([name, record])
  }
  // Not by assignment: a profile may be named `__proto__`.
  return { good: Object.fromEntries(good), bad: Object.fromEntries(bad) }
}

function split<T>(all: readonly T[], isGood: (one: T) => boolean): [T[], T[]] {
  return [all.filter(isGood), all.filter((one) => !isGood(one))]
}

function nameOf(record: unknown): string {
  return isObject(record) && typeof record.id === 'string' ? `'${record.id}'` : 'without an id'
}

export function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
