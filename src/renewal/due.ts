/** The key that is served for a profile, with its renewal plan; and when something is due next. */

import type { KeyKeeper } from '../keys/keeper.js'
import { type KeyRecord, type LastRenewal, type Ledger, profileRecord } from '../keys/ledger.js'
import { shareOf } from '../keys/shared.js'
import type { Owner } from '../prefect/cloud.js'
import type { ServerTimes } from '../prefect/server-time.js'
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

interface Holders {
  readonly keeper: Pick<KeyKeeper, 'current' | 'keyOf' | 'profile' | 'index' | 'ledger'>
  readonly credentials: Pick<Credentials, 'listed'>
}

/** As `findHeldKey`, but undefined for a rejected one: what is not served is not renewed. */
export function findCurrentKey(holders: Holders, profile: string): CurrentKey | undefined {
  const current = findHeldKey(holders, profile)
  return current?.record.rejectedAt === undefined ? current : undefined
}

/**
 * Undefined if Prefect could not be asked about a key from the vault: no key, a locked vault, a key in the file, a profile
 * that points at another host.
 */
export function findHeldKey({ keeper, credentials }: Holders, profile: string): CurrentKey | undefined {
  const record = keeper.current(profile)
  const key = record === undefined ? undefined : keeper.keyOf(record.item)
  if (record === undefined || key === undefined) return undefined
  const state = credentials.listed(profile)
  if (state?.resolved.kind !== 'cloud' || state.keySource !== 'vault') return undefined
  if (state.resolved.cloudApiUrl !== record.cloudApiUrl) return undefined
  const { owner, lastRenewal: last } = keeper.profile(profile)
  return { record, key, ...defined({ owner, last }), plan: planFor(keeper.ledger(), profile, record) }
}

/**
 * The profile in whose name the profile's key is renewed: one for all that share it, so that it is renewed once. The one that
 * it was made for, if Prefect can be asked there.
 */
export function renewerOf(holders: Holders, profile: string): string {
  const { currentItem = '' } = holders.keeper.profile(profile)
  const sharing = holders.keeper.index().profilesServing(currentItem)
  if (sharing.length < 2) return profile
  const made = holders.keeper.ledger().keys[currentItem]?.profile
  const ordered = [...sharing.filter((name) => name === made), ...sharing]
  return ordered.find((name) => findHeldKey(holders, name) !== undefined) ?? profile
}

/** The plan for any key that we hold, served or not, as a key of this profile. */
export function planFor(ledger: Ledger, profile: string, record: KeyRecord): RenewalPlan {
  const { owner, lastRenewal: last } = profileRecord(ledger, profile)
  const share = shareOf(ledger, profile)
  return planRenewal({ record, jitter: jitterOf(record.item), ...defined({ owner, last, share }) })
}

/** `now`: epoch ms, corrected by Prefect's. */
export function isDue(plan: RenewalPlan | undefined, now: number): boolean {
  return plan?.kind === 'renew' && now >= plan.at
}

/** When the key under this item will be renewed, epoch ms; undefined if it will not. */
export function renewalMoment(keeper: Pick<KeyKeeper, 'ledger'>, item: string): number | undefined {
  const record = keeper.ledger().keys[item]
  const plan = record === undefined ? undefined : planFor(keeper.ledger(), record.profile, record)
  return plan?.kind === 'renew' ? plan.at : undefined
}

export interface NextDutyDeps {
  readonly keeper: KeyKeeper
  readonly credentials: Credentials
  readonly times: ServerTimes
  /** `renewal.retire_after`; absent: never. */
  readonly retireAfterMs?: number
}

/** What was due a moment ago is done by the next tick: until then it still counts as ahead. */
const JUST_NOW_MS = MINUTE_MS

/** In how many ms the daemon has something to do without being asked; negative if a renewal is overdue. */
export function nextDutyInMs({
  keeper,
  credentials,
  times,
  retireAfterMs,
}: NextDutyDeps): number | undefined {
  const { profiles, keys } = keeper.ledger()
  const nowFor = ({ cloudApiUrl }: KeyRecord) => times.of(cloudApiUrl).clock.now()
  const waits = [
    ...Object.keys(profiles).flatMap((profile) => {
      const current = findCurrentKey({ keeper, credentials }, profile)
      return current === undefined ? [] : renewalOrWarning(current, nowFor(current.record))
    }),
    ...Object.values(keys).flatMap((record) => deletion(record, retireAfterMs, nowFor(record))),
  ]
  return waits.length === 0 ? undefined : Math.min(...waits)
}

function renewalOrWarning({ plan, record }: CurrentKey, now: number): readonly number[] {
  switch (plan.kind) {
    case 'renew':
      return [plan.at - now]
    case 'not_renewable':
      return warningsAfter(record, now - JUST_NOW_MS).map((at) => at - now)
    case 'not_needed':
      return []
  }
}

/** An overdue deletion is tried at every start and may be refused each time: it keeps no daemon running. */
function deletion(
  { retiredAt, cloudId, handedOut }: KeyRecord,
  retireAfterMs: number | undefined,
  now: number,
): readonly number[] {
  if (retireAfterMs === undefined || retiredAt === undefined || cloudId === undefined || !handedOut) return []
  const wait = retiredAt + retireAfterMs - now
  return wait > -JUST_NOW_MS ? [wait] : []
}
