/** Keys that several profiles have: whose they are, and what becomes of them when one profile gives them up. Pure. */

import type { Owner } from '../prefect/cloud.js'
import { type Ledger, profilesServing, withKey } from './ledger.js'

/** The key with the user who owns it, as far as that is known. */
export function withUser(ledger: Ledger, item: string, owner: Owner | undefined): Ledger {
  const record = ledger.keys[item]
  return record && owner?.kind === 'user' ? withKey(ledger, { userId: owner.id, ...record }) : ledger
}

/**
 * The profile gives up keys that other profiles' tables contain too (`heirs`, by item). The record passes to the heir; without
 * one, the key in that table would count as a stranger's.
 */
export function bequeathed(
  ledger: Ledger,
  name: string,
  heirs: Readonly<Record<string, string>>,
  now: number,
): Ledger {
  return Object.entries(heirs).reduce((next, [item, heir]) => {
    const record = next.keys[item]
    if (record === undefined) return next
    const isServed = profilesServing(next, item).some((one) => one !== name)
    return withKey(next, { ...(isServed ? {} : { retiredAt: now }), ...record, profile: heir })
  }, ledger)
}
