/**
 * Deletes replaced keys at Prefect, where that is allowed: one that never left us at once, one that did only when
 * `renewal.retire_after` says so. All others are left to expire.
 */

import type { Events } from '../base/events.js'
import type { KeyKeeper } from '../keys/keeper.js'
import type { KeyRecord } from '../keys/ledger.js'
import type { CloudApi } from '../prefect/cloud.js'
import type { Clock } from '../std/clock.js'
import type { Log } from '../std/log.js'
import type { RenewalHolds } from './backoff.js'

interface RetireKeysDeps {
  readonly keeper: KeyKeeper
  readonly cloud: Pick<CloudApi, 'deleteKey'>
  readonly events: Events
  /** Its wall time set right by Prefect's: a clock that jumps must not delete a key under a running job. */
  readonly clock: Clock
  /** Whether that wall time was compared with Prefect's lately. */
  readonly isTimeSure: () => boolean
  readonly holds: RenewalHolds
  readonly log: Log
  /** `renewal.retire_after`; absent: never. */
  readonly retireAfterMs?: number
}

const HOUR_MS = 3_600_000

interface KeyRetirer {
  /** Deletes what is due. Never rejects; what can't be deleted now is tried again, ever more seldom. */
  run(): Promise<void>
}

export function createKeyRetirer(deps: RetireKeysDeps): KeyRetirer {
  const { keeper, log, holds } = deps
  return {
    async run() {
      const due = Object.values(keeper.ledger().keys).filter((record) => isDue(deps, record))
      for (const record of due) {
        if (!holds.isOver(record.item)) continue
        try {
          await deleteOne(deps, record)
        } catch (error) {
          const lifeMs = (record.expiresAt ?? record.issuedAt + 24 * HOUR_MS) - record.issuedAt
          holds.set(record.item, { setback: 'not_now', lifeMs, error })
          log.warn({ key: record.cloudId, error }, 'a replaced key could not be deleted at Prefect yet')
        }
      }
    },
  }
}

function isDue({ clock, isTimeSure, retireAfterMs }: RetireKeysDeps, record: KeyRecord): boolean {
  const { retiredAt, cloudId, userId, handedOut } = record
  if (retiredAt === undefined || cloudId === undefined || userId === undefined) return false
  if (!handedOut) return true
  return retireAfterMs !== undefined && isTimeSure() && clock.now() >= retiredAt + retireAfterMs
}

/** The key that took its place deletes it: both are the same user's, at the same host, or it is left alone. */
async function deleteOne({ keeper, cloud, events, log }: RetireKeysDeps, old: KeyRecord): Promise<void> {
  const { currentItem, owner } = keeper.profile(old.profile)
  const current = currentItem === undefined ? undefined : keeper.ledger().keys[currentItem]
  const key = currentItem === undefined ? undefined : keeper.keyOf(currentItem)
  if (current === undefined || key === undefined || current.rejectedAt !== undefined) return
  if (current.cloudApiUrl !== old.cloudApiUrl || owner?.id !== old.userId) return
  if (old.cloudId === undefined || old.userId === undefined) return
  await cloud.deleteKey({ cloudApiUrl: old.cloudApiUrl, key }, old.userId, old.cloudId)
  await keeper.forget(old.item)
  const { profile, fingerprint } = old
  events.emit('key.deleted', { profile, facts: { fingerprint } })
  log.info({ profile, fingerprint }, 'a replaced key was deleted at Prefect')
}
