/** Deletes keys at Prefect that their owner wants gone, as far as Prefect lets us. */

import { BrokerError } from '../base/errors.js'
import type { Clock } from '../std/clock.js'
import { type Disposal, targetOf } from './disposal.js'
import type { KeyKeeper } from './keeper.js'
import type { KeyRecord } from './ledger.js'

/** One key; `reason`: why it may still live at Prefect. */
export interface Revoked {
  readonly fingerprint: string
  readonly reason?: string
}

export interface Revocation {
  /** `asking`: the item whose key deletes the others, then itself. Never rejects; nothing is forgotten here. */
  run(wanted: {
    readonly profile: string
    readonly items: readonly string[]
    readonly asking?: string
  }): Promise<readonly Revoked[]>
}

export const NO_ID =
  'its id at Prefect is not known; delete it on the API keys page of Prefect Cloud (/my/api-keys)'

export function createRevocation({
  keeper,
  disposal,
  clock,
}: {
  readonly keeper: KeyKeeper
  readonly disposal: Disposal
  readonly clock: Clock
}): Revocation {
  /** Returns why the key could not be deleted; undefined if it is gone. */
  async function revokeOne(key: KeyRecord, asking: KeyRecord | undefined): Promise<string | undefined> {
    try {
      switch (await disposal.delete(key, targetOf(keeper, asking))) {
        case 'deleted':
        case 'already_gone':
          return undefined
        case 'no_key':
          return 'there is no key in the vault to delete it with'
        case 'no_id':
          return NO_ID
        case 'in_use':
          return 'another profile uses it'
        case 'other_host':
          return `it belongs to ${key.cloudApiUrl}, and the current key may not be sent there`
      }
    } catch (error) {
      return error instanceof BrokerError ? error.message : 'an unexpected error'
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
        const { fingerprint, expiresAt, isExpiryAssumed } = key
        if (expiresAt !== undefined && isExpiryAssumed !== true && expiresAt < clock.now()) continue
        const reason = await revokeOne(key, by)
        outcome.push(reason === undefined ? { fingerprint } : { fingerprint, reason })
      }
      return outcome
    },
  }
}
