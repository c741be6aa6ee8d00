/** The key that is served for a profile and is ours to renew, with the plan for it. */

import type { KeyKeeper } from '../keys/keeper.js'
import type { KeyRecord, LastRenewal } from '../keys/ledger.js'
import type { Owner } from '../prefect/cloud.js'
import type { Credentials } from '../serve/credentials.js'
import { defined } from '../std/defined.js'
import type { Secret } from '../std/secret.js'
import { jitterOf, planRenewal, type RenewalPlan, warningsAfter } from './plan.js'

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
    ...defined({ owner, last: lastRenewal }),
    plan: planFor(keeper, record),
  }
}

/** The plan for any key that we hold, served or not. */
export function planFor(keeper: KeyKeeper, record: KeyRecord): RenewalPlan {
  const { owner, lastRenewal } = keeper.profile(record.profile)
  return planRenewal({
    record,
    jitter: jitterOf(record.item),
    ...defined({ owner, last: lastRenewal }),
  })
}

/** When the key under this item is going to be renewed, epoch ms; `undefined` where it is not. */
export function renewalMoment(keeper: KeyKeeper, item: string): number | undefined {
  const record = keeper.ledger().keys[item]
  const plan = record === undefined ? undefined : planFor(keeper, record)
  return plan?.kind === 'renew' ? plan.at : undefined
}

export interface NextDutyDeps {
  readonly keeper: KeyKeeper
  readonly credentials: Credentials
  /** Epoch ms, set right by Prefect's. */
  readonly now: () => number
  /** `renewal.retire_after`; absent: never. */
  readonly retireAfterMs?: number
}

/** What was due a moment ago is done by the next tick: nobody leaves before that. */
const JUST_NOW_MS = 60_000

/** Epoch ms, in the past for a renewal that is overdue; `undefined`: never. */
export function nextDutyAt(deps: NextDutyDeps): number | undefined {
  const { profiles, keys } = deps.keeper.ledger()
  const moments = [
    ...Object.keys(profiles).flatMap((profile) => dutyOf(deps, profile)),
    ...Object.values(keys).flatMap((record) => deletionOf(deps, record)),
  ]
  return moments.length === 0 ? undefined : Math.min(...moments)
}

function dutyOf(deps: NextDutyDeps, profile: string): readonly number[] {
  const current = findCurrentKey(deps, profile)
  if (current === undefined) return []
  const { plan, record } = current
  switch (plan.kind) {
    case 'renew':
      return [plan.at]
    case 'not_renewable':
      return warningsAfter(record, deps.now() - JUST_NOW_MS)
    case 'not_needed':
      return []
  }
}

/** What is overdue is tried at every start, and may be refused for ever: nobody waits for it. */
function deletionOf({ now, retireAfterMs }: NextDutyDeps, record: KeyRecord): readonly number[] {
  const { retiredAt, cloudId, handedOut } = record
  if (retireAfterMs === undefined || retiredAt === undefined || cloudId === undefined || !handedOut) return []
  const at = retiredAt + retireAfterMs
  return at > now() - JUST_NOW_MS ? [at] : []
}
