/** When something must be done for the keys although nobody asks: a renewal, a deletion, a warning. */

import type { KeyKeeper } from '../keys/keeper.js'
import type { KeyRecord } from '../keys/ledger.js'
import type { Credentials } from '../serve/credentials.js'
import { findCurrentKey } from './due.js'
import { warningsAfter } from './plan-warning.js'

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
