/** Asks Prefect about the key in use: whether it is good, whose it is, what it reaches; and, by the way, what time it is. */

import { BrokerError, isBrokerError } from '../base/errors.js'
import type { KeyKeeper } from '../keys/keeper.js'
import type { CloudApi } from '../prefect/cloud.js'
import { verifyKey } from '../prefect/cloud.js'
import type { ServerTime } from '../prefect/server-time.js'
import { shownName } from '../profiles/bundled.js'
import type { CurrentKey } from './due.js'

export interface AskAboutKeyDeps {
  readonly keeper: KeyKeeper
  readonly cloud: CloudApi
  readonly time: ServerTime
}

/**
 * `rejected`: Prefect said 401 twice, or could not say but told a time past the key's expiry. Rejects with everything that
 * says nothing about the key, and with `owner_mismatch` where it is another's than before.
 */
export async function askAboutKey(deps: AskAboutKeyDeps, current: CurrentKey): Promise<'good' | 'rejected'> {
  const { cloud } = deps
  const target = { cloudApiUrl: current.record.cloudApiUrl, key: current.key }
  try {
    const { owner, workspaces } = await verifyKey(cloud, target)
    requireSameOwner(current, owner.id)
    // An empty list may be a moment's: the names we know are worth more.
    if (workspaces.length > 0) await deps.keeper.note(current.record.profile, { workspaces })
    return 'good'
  } catch (error) {
    if (!isBrokerError(error, 'key_rejected')) {
      if (isPastExpiry(deps, current, error)) return 'rejected'
      throw error
    }
  }
  // One 401 may be a hiccup: the next call proves it, or says what else is wrong.
  try {
    await cloud.workspaces(target)
  } catch (error) {
    if (isBrokerError(error, 'key_rejected')) return 'rejected'
    throw error
  }
  throw new BrokerError('prefect_failed', 'Prefect refused the key, and accepted it a moment later')
}

function requireSameOwner({ owner, record }: CurrentKey, id: string): void {
  if (owner === undefined || owner.id === id) return
  throw new BrokerError(
    'owner_mismatch',
    `Prefect says that the key of profile ${shownName(record.profile)} belongs to somebody else than before`,
    { hint: 'prefect-auth login --switch-owner' },
  )
}

/** Prefect's own time says that it is over, although Prefect could not say so itself just now. */
function isPastExpiry({ time }: AskAboutKeyDeps, { record }: CurrentKey, error: unknown): boolean {
  const isAnswer = isBrokerError(error, 'prefect_failed', 'prefect_rate_limited', 'prefect_forbidden')
  const told = time.toldAt()
  if (!isAnswer || told === undefined || record.expiresAt === undefined) return false
  return record.isExpiryAssumed !== true && told > record.expiresAt
}
