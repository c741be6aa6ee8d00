/** Deletes keys at Prefect that their owner wants gone, as far as Prefect lets us. */

import { BrokerError } from '../base/errors.js'
import { isPast, type ServerTimes } from '../prefect/server-time.js'
import { type Disposal, targetOf } from './disposal.js'
import type { KeyKeeper } from './keeper.js'
import type { KeyRecord } from './ledger.js'
import { findMade } from './made.js'

/** One key; `reason`: why it may still live at Prefect. */
export interface Revoked {
  readonly fingerprint: string
  readonly reason?: string
  /** Whether asking again may help. */
  readonly isTemporary?: boolean
}

export interface Revocation {
  /** `asking`: the item whose key deletes the others, then itself. Never rejects; nothing is forgotten here. */
  run(wanted: {
    readonly profile: string
    readonly items: readonly string[]
    readonly asking?: string
  }): Promise<readonly Revoked[]>
}

export const USED_ELSEWHERE = 'another profile uses it'
export const NO_ID =
  'its id at Prefect is not known; delete it on the API keys page of Prefect Cloud (/my/api-keys)'

export function createRevocation({
  keeper,
  disposal,
  times,
}: {
  readonly keeper: KeyKeeper
  readonly disposal: Disposal
  readonly times: ServerTimes
}): Revocation {
  /** A key that was created here and pasted again has the id that it was created with. */
  function withKnownId(key: KeyRecord): KeyRecord {
    const made = key.cloudId === undefined ? findMade(keeper.ledger(), key) : undefined
    return made?.id === undefined ? key : { ...key, cloudId: made.id, userId: made.userId }
  }

  /** Returns why the key could not be deleted; undefined if it is gone. */
  async function revokeOne(
    key: KeyRecord,
    asking: KeyRecord | undefined,
  ): Promise<Omit<Revoked, 'fingerprint'> | undefined> {
    try {
      switch (await disposal.delete(withKnownId(key), targetOf(keeper, asking))) {
        case 'deleted':
        case 'already_gone':
          return undefined
        case 'no_key':
          return { reason: 'there is no key in the vault to delete it with' }
        case 'no_id':
          return { reason: NO_ID }
        case 'in_use':
          return { reason: USED_ELSEWHERE }
        case 'other_host':
          return { reason: `it belongs to ${key.cloudApiUrl}, and the current key may not be sent there` }
      }
    } catch (error) {
      if (!(error instanceof BrokerError)) return { reason: 'an unexpected error' }
      return { reason: error.message, isTemporary: error.retry === 'soon' }
    }
  }

  return {
    async run({ items, asking }) {
      const { keys } = keeper.ledger()
      const by = asking === undefined ? undefined : keys[asking]
      const last = by !== undefined && items.includes(by.item) ? [by] : []
      const others = items.flatMap((item) => (item === asking ? [] : (keys[item] ?? [])))
      const outcome: Revoked[] = []
      for (const key of [...others, ...last]) {
        const { fingerprint, expiresAt, isExpiryAssumed, cloudApiUrl } = key
        // Only by Prefect's time: a clock of ours that runs ahead must not leave keys alive.
        const isCertain = expiresAt !== undefined && isExpiryAssumed !== true
        if (isCertain && isPast(times.of(cloudApiUrl), expiresAt)) continue
        // One that an earlier log-out has left can delete itself.
        outcome.push({ fingerprint, ...(await revokeOne(key, by ?? key)) })
      }
      return outcome
    },
  }
}

/** Fingerprints of keys that may still live at Prefect. */
export function unrevoked(outcome: readonly Revoked[]): readonly string[] {
  return outcome.flatMap(({ fingerprint, reason }) => (reason === undefined ? [] : [fingerprint]))
}
