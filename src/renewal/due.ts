/** The key that is served for a profile, with its renewal plan; and when something is due next. */

import type { KeyKeeper } from '../keys/keeper.js'
import type { KeyRecord, LastRenewal, ProfileRecord } from '../keys/ledger.js'
import type { Owner } from '../prefect/cloud.js'
import type { Credentials } from '../serve/credentials.js'
import { MINUTE_MS } from '../std/clock.js'
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
 * Undefined if nothing is served from the vault: no key, a rejected one, a locked vault, a key in the file, a profile that
 * points at another host. What is not served is not renewed.
 */
export function findCurrentKey(
  {
    keeper,
    credentials,
  }: {
    readonly keeper: Pick<KeyKeeper, 'current' | 'keyOf' | 'profile'>
    readonly credentials: Pick<Credentials, 'states'>
  },
  profile: string,
): CurrentKey | undefined {
  const record = keeper.current(profile)
  const key = record === undefined ? undefined : keeper.keyOf(record.item)
  if (record === undefined || key === undefined || record.rejectedAt !== undefined) return undefined
  const state = credentials.states().find(({ resolved }) => resolved.name === profile)
  if (state?.resolved.kind !== 'cloud' || state.keySource !== 'vault') return undefined
  if (state.resolved.cloudApiUrl !== record.cloudApiUrl) return undefined
  const known = keeper.profile(profile)
  const { owner, lastRenewal: last } = known
  return { record, key, ...defined({ owner, last }), plan: planFor(record, known) }
}

/** The plan for any key that we hold, served or not, of the profile that `known` is about. */
export function planFor(record: KeyRecord, { owner, lastRenewal }: ProfileRecord): RenewalPlan {
  return planRenewal({
    record,
    jitter: jitterOf(record.item),
    ...defined({ owner, last: lastRenewal }),
  })
}

/** `now`: epoch ms, corrected by Prefect's. */
export function isDue(plan: RenewalPlan | undefined, now: number): boolean {
  return plan?.kind === 'renew' && now >= plan.at
}

/** When the key under this item will be renewed, epoch ms; undefined if it will not. */
export function renewalMoment(
  keeper: Pick<KeyKeeper, 'ledger' | 'profile'>,
  item: string,
): number | undefined {
  const record = keeper.ledger().keys[item]
  const plan = record === undefined ? undefined : planFor(record, keeper.profile(record.profile))
  return plan?.kind === 'renew' ? plan.at : undefined
}

export interface NextDutyDeps {
  readonly keeper: KeyKeeper
  readonly credentials: Credentials
  /** Epoch ms, corrected by Prefect's. */
  readonly now: () => number
  /** `renewal.retire_after`; absent: never. */
  readonly retireAfterMs?: number
}

/** What was due a moment ago is done by the next tick: until then it still counts as ahead. */
const JUST_NOW_MS = MINUTE_MS

/** When the daemon next has something to do without being asked, epoch ms; in the past if a renewal is overdue. */
export function nextDutyAt({ keeper, credentials, now, retireAfterMs }: NextDutyDeps): number | undefined {
  const { profiles, keys } = keeper.ledger()
  const after = now() - JUST_NOW_MS
  const moments = [
    ...Object.keys(profiles).flatMap((profile) =>
      renewalOrWarning(findCurrentKey({ keeper, credentials }, profile), after),
    ),
    ...Object.values(keys).flatMap((record) => deletion(record, retireAfterMs, after)),
  ]
  return moments.length === 0 ? undefined : Math.min(...moments)
}

function renewalOrWarning(current: CurrentKey | undefined, after: number): readonly number[] {
  switch (current?.plan.kind) {
    case 'renew':
      return [current.plan.at]
    case 'not_renewable':
      return warningsAfter(current.record, after)
    case 'not_needed':
    case undefined:
      return []
  }
}

/** An overdue deletion is tried at every start and may be refused each time: it keeps no daemon running. */
function deletion(
  { retiredAt, cloudId, handedOut }: KeyRecord,
  retireAfterMs: number | undefined,
  after: number,
): readonly number[] {
  if (retireAfterMs === undefined || retiredAt === undefined || cloudId === undefined || !handedOut) return []
  const at = retiredAt + retireAfterMs
  return at > after ? [at] : []
}
