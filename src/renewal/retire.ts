/**
 * Deletes replaced keys at Prefect: at once if never handed out, else after `renewal.retire_after`. Of a replaced key that other
 * machines share, only the copy in our vault is forgotten.
 */

import type { Events } from '../base/events.js'
import { type Disposal, targetOf } from '../keys/disposal.js'
import type { KeyKeeper } from '../keys/keeper.js'
import type { KeyRecord } from '../keys/ledger.js'
import { sharedBy, shareKeeping } from '../keys/shared.js'
import type { Turns } from '../keys/turns.js'
import type { ServerTimes } from '../prefect/server-time.js'
import { DAY_MS } from '../std/clock.js'
import type { Log } from '../std/log.js'
import type { RenewalHolds } from './backoff.js'

interface KeyRetirer {
  /** Deletes what is due. Never rejects; what cannot be deleted now is retried, less and less often. */
  run(): Promise<void>
}

export function createKeyRetirer({
  keeper,
  disposal,
  turns,
  events,
  times,
  holds,
  log,
  retireAfterMs,
}: {
  readonly keeper: KeyKeeper
  readonly disposal: Disposal
  readonly turns: Turns
  readonly events: Events
  /** A clock of ours that jumps must not delete a key under a running job. */
  readonly times: ServerTimes
  readonly holds: Pick<RenewalHolds, 'isOver' | 'set'>
  readonly log: Log
  /** `renewal.retire_after`; absent: never. */
  readonly retireAfterMs?: number
}): KeyRetirer {
  const shareOfKey = (record: KeyRecord) => sharedBy(keeper.ledger(), record)

  function isDue(record: KeyRecord): boolean {
    const { retiredAt, cloudId, userId, handedOut, cloudApiUrl } = record
    const isShared = shareOfKey(record) !== undefined
    if (retiredAt === undefined || cloudId === undefined) return false
    if (isShared ? shareKeeping(keeper.ledger(), record.item) !== undefined : userId === undefined)
      return false
    if (!handedOut) return true
    const { isFresh, clock } = times.of(cloudApiUrl)
    return retireAfterMs !== undefined && isFresh() && clock.now() >= retiredAt + retireAfterMs
  }

  /** The key that replaced it deletes it. Only if both are the same user's; at another host it is left alone. */
  async function remove(old: KeyRecord): Promise<void> {
    const { profile, item, fingerprint } = old
    const current = keeper.current(profile)
    // The old key may be the one that still works.
    if (current?.rejectedAt !== undefined || current?.doubt !== undefined) return
    const share = shareOfKey(old)
    if (share !== undefined) {
      await keeper.forget(item)
      log.info({ profile, fingerprint, share }, 'replaced shared key forgotten')
      return
    }
    if (keeper.profile(profile).owner?.id !== old.userId) return
    const outcome = await disposal.delete(old, targetOf(keeper, current))
    if (outcome !== 'deleted' && outcome !== 'already_gone') return
    await keeper.forget(item)
    events.emit('key.deleted', { profile, facts: { fingerprint } })
    log.info({ profile, fingerprint }, 'replaced key deleted at Prefect')
  }

  return {
    async run() {
      for (const record of Object.values(keeper.ledger().keys).filter(isDue)) {
        if (!holds.isOver(record.item)) continue
        try {
          await turns.run([record.profile], async () => {
            const now = keeper.ledger().keys[record.item]
            if (now !== undefined && isDue(now)) await remove(now)
          })
        } catch (error) {
          const lifeMs = (record.expiresAt ?? record.issuedAt + DAY_MS) - record.issuedAt
          holds.set(record.item, { setback: 'not_now', lifeMs, error })
          log.warn({ key: record.cloudId, error }, 'replaced key not deleted at Prefect; will retry')
        }
      }
    },
  }
}
