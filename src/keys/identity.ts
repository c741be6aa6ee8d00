/** One key, one record: which records are of the same key, what is kept of each, and whether the key is in use. Pure. */

import { defined } from '../std/defined.js'
import { itemsNeeded } from './journal.js'
import { type KeyOrigin, type KeyRecord, type Ledger, profilesServing } from './ledger.js'

/** What makes two records the same key. */
export type KeyIdentity = Pick<KeyRecord, 'cloudApiUrl' | 'cloudId'> & Partial<Pick<KeyRecord, 'fingerprint'>>

function isSameKey(one: KeyIdentity, other: KeyRecord): boolean {
  if (one.cloudApiUrl !== other.cloudApiUrl) return false
  if (one.fingerprint === other.fingerprint) return true
  return one.cloudId !== undefined && one.cloudId === other.cloudId
}

/**
 * Whether the key must live on: under this record or another it is a profile's current key, waits to become one, or is named
 * by a change that is under way.
 */
export function isInUse(ledger: Ledger, record: KeyIdentity & { readonly item?: string }): boolean {
  const named = new Set(Object.values(ledger.changes ?? {}).flatMap(itemsNeeded))
  return Object.values(ledger.keys).some((other) => {
    if (!isSameKey(record, other)) return false
    if (profilesServing(ledger, other.item).length > 0 || named.has(other.item)) return true
    return other.item !== record.item && other.retiredAt === undefined
  })
}

/** How much an origin says: a key that we minted stays one, wherever else it is found. */
const ORIGINS: readonly KeyOrigin[] = ['profile', 'pasted', 'browser', 'service_account', 'minted']

/** Two records of one key: nothing that is known of it is lost to a source that knows less. */
export function mergedKey(known: KeyRecord | undefined, fresh: KeyRecord): KeyRecord {
  if (known === undefined) return fresh
  // What Prefect said of it stays: only Prefect's own yes takes a refusal back.
  const { warned: _, expiresAt: __, isExpiryAssumed: ___, ...kept } = known
  const { cloudId, userId, name } = fresh
  const isSurer = known.expiresAt === undefined || (known.isExpiryAssumed === true && !fresh.isExpiryAssumed)
  const { expiresAt, isExpiryAssumed } = isSurer && fresh.expiresAt !== undefined ? fresh : known
  return {
    ...defined({ cloudId, userId, name, expiresAt, isExpiryAssumed }),
    ...kept,
    origin: ORIGINS.indexOf(fresh.origin) > ORIGINS.indexOf(known.origin) ? fresh.origin : known.origin,
    handedOut: known.handedOut || fresh.handedOut,
  }
}
