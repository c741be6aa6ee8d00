/** The key that is served for a profile and is ours to renew, with the plan for it. */

import type { KeyKeeper } from '../keys/keeper.js'
import type { KeyRecord, LastRenewal } from '../keys/ledger.js'
import type { Owner } from '../prefect/cloud.js'
import type { Credentials } from '../serve/credentials.js'
import type { Secret } from '../std/secret.js'
import { jitterOf, planRenewal, type RenewalPlan } from './plan.js'

export interface CurrentKey {
  readonly record: KeyRecord
  readonly key: Secret
  readonly owner?: Owner
  readonly last?: LastRenewal
  readonly plan: RenewalPlan
}

/**
 * `undefined` where nothing is served out of the vault: no key, a rejected one, a locked vault, a key that stands in the
 * file, a profile that points at another host. What is not served is not renewed.
 */
export function findCurrentKey(
  { keeper, credentials }: { readonly keeper: KeyKeeper; readonly credentials: Credentials },
  profile: string,
): CurrentKey | undefined {
  const { currentItem, owner, lastRenewal } = keeper.profile(profile)
  const record = currentItem === undefined ? undefined : keeper.ledger().keys[currentItem]
  const key = currentItem === undefined ? undefined : keeper.keyOf(currentItem)
  if (record === undefined || key === undefined || record.rejectedAt !== undefined) return undefined
  const state = credentials.states().find(({ resolved }) => resolved.name === profile)
  if (state?.resolved.kind !== 'cloud' || state.keySource !== 'vault') return undefined
  if (state.resolved.cloudApiUrl !== record.cloudApiUrl) return undefined
  return {
    record,
    key,
    ...(owner === undefined ? {} : { owner }),
    ...(lastRenewal === undefined ? {} : { last: lastRenewal }),
    plan: planFor(keeper, record),
  }
}

/** The plan for any key that we hold, served or not. */
export function planFor(keeper: KeyKeeper, record: KeyRecord): RenewalPlan {
  const { owner, lastRenewal } = keeper.profile(record.profile)
  return planRenewal({
    record,
    jitter: jitterOf(record.item),
    ...(owner === undefined ? {} : { owner }),
    ...(lastRenewal === undefined ? {} : { last: lastRenewal }),
  })
}

/** When the key under this item is going to be renewed, epoch ms; `undefined` where it is not. */
export function renewalMoment(keeper: KeyKeeper, item: string): number | undefined {
  const record = keeper.ledger().keys[item]
  const plan = record === undefined ? undefined : planFor(keeper, record)
  return plan?.kind === 'renew' ? plan.at : undefined
}
