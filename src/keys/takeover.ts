/** What becomes of a ledger that an older version wrote, or that is older than what was lost. Pure. */

import { defined } from '../std/defined.js'
import type { Journal, JournalEntry } from './journal.js'
import type { KeyRecord, Ledger } from './ledger.js'

/** A ledger of the first version with its journal, which was a file of its own: one document, one change. */
export function takenOver(ledger: Ledger, entries: Journal['entries']): Ledger {
  const changes = { ...entries, ...ledger.changes }
  return withSharedFacts(Object.keys(changes).length === 0 ? ledger : { ...ledger, changes })
}

/**
 * The first version kept one key in several records. Those in use get all that is known of the key; the others keep nothing
 * through which it could be deleted at Prefect.
 */
function withSharedFacts(ledger: Ledger): Ledger {
  const inUse = new Set(Object.values(ledger.profiles).flatMap(({ currentItem }) => currentItem ?? []))
  const keys = Object.entries(ledger.keys).map(([item, record]): [string, KeyRecord] => {
    const same = Object.values(ledger.keys).filter((other) => isSameKey(other, record))
    if (same.length < 2 || !same.some((other) => inUse.has(other.item))) return [item, record]
    return [item, inUse.has(item) ? withFactsOf(record, same) : withoutId(record)]
  })
  return { ...ledger, keys: Object.fromEntries(keys) }
}

function isSameKey(one: KeyRecord, other: KeyRecord): boolean {
  return one.fingerprint === other.fingerprint && one.cloudApiUrl === other.cloudApiUrl
}

const BY_WORTH: readonly KeyRecord['origin'][] = ['minted', 'service_account', 'browser', 'pasted', 'profile']

function withFactsOf(record: KeyRecord, same: readonly KeyRecord[]): KeyRecord {
  const known = record.cloudId === undefined ? same.find(({ cloudId }) => cloudId !== undefined) : record
  // What Prefect said counts more than what we assumed.
  const dated = [record, ...same].filter(({ expiresAt }) => expiresAt !== undefined)
  const source = dated.find(({ isExpiryAssumed }) => isExpiryAssumed !== true) ?? dated[0]
  const { isExpiryAssumed: _, expiresAt: __, ...rest } = record
  const expiry = { expiresAt: source?.expiresAt, isExpiryAssumed: source?.isExpiryAssumed }
  return {
    ...rest,
    ...defined(expiry),
    ...defined({ cloudId: known?.cloudId, userId: known?.userId, name: record.name ?? known?.name }),
    origin: BY_WORTH.find((origin) => same.some((other) => other.origin === origin)) ?? record.origin,
    issuedAt: Math.min(...same.map(({ issuedAt }) => issuedAt)),
    handedOut: same.some(({ handedOut }) => handedOut),
  }
}

function withoutId({ cloudId: _, userId: __, ...rest }: KeyRecord): KeyRecord {
  return rest
}

/**
 * A ledger restored from an older copy may name changes that were decided since. They are marked; the first version's, which
 * cannot be compared with what they found, are dropped.
 */
export function recheckedChanges(ledger: Ledger): { ledger: Ledger; dropped: readonly string[] } {
  const all = Object.entries(ledger.changes ?? {})
  const kept = all.filter(([, { kind }]) => kind !== 'login' && kind !== 'rename')
  const dropped = all
    .filter((one) => !kept.includes(one))
    .map(([, { kind, profile }]) => `${kind} of '${profile}'`)
  if (all.length === 0) return { ledger, dropped }
  const changes = kept.map(([id, entry]): [string, JournalEntry] => [
    id,
    entry.kind === 'change' ? { ...entry, isRestored: true } : entry,
  ])
  return { ledger: { ...ledger, changes: Object.fromEntries(changes) }, dropped }
}
