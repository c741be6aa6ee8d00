/** How a key of ours ends: deleted at Prefect. */

import type { CloudApi, CloudTarget } from '../prefect/cloud.js'
import type { ProfileStore } from '../profiles/profile.js'
import { fingerprintsIn } from './file-edits.js'
import { isInUse, type KeyIdentity } from './identity.js'
import type { KeyKeeper } from './keeper.js'
import type { KeyRecord } from './ledger.js'

/**
 * `in_use`: some profile uses this very key, or the file has it. `no_key`: there is no key to ask with. `no_id`: Prefect never told us the key's id. `other_host`: the asking key belongs
 * to another host and may not be sent to this one.
 */
type Deletion = 'deleted' | 'already_gone' | 'in_use' | 'no_key' | 'no_id' | 'other_host'

/** The one way by which a key of ours is deleted at Prefect. */
export interface Disposal {
  /** Whether the key must live on: see `isInUse` of `identity`; or it is in the profile file. */
  isInUse(key: KeyIdentity & { readonly item?: string }): boolean
  /** Deletes `doomed` at Prefect with the key of `by`; the ledger stays as it is. Rejects as `CloudApi.deleteKey` does. */
  delete(doomed: KeyRecord, by: CloudTarget | undefined): Promise<Deletion>
}

export function createDisposal({
  cloud,
  keeper,
  store,
}: {
  readonly cloud: Pick<CloudApi, 'deleteKey'>
  readonly keeper: Pick<KeyKeeper, 'ledger'>
  readonly store: Pick<ProfileStore, 'reading'>
}): Disposal {
  const isUsed: Disposal['isInUse'] = (key) => {
    if (isInUse(keeper.ledger(), key)) return true
    const { file, isUnread } = store.reading()
    // A file that nobody could read yet may name any key.
    if (isUnread === true) return true
    return key.fingerprint !== undefined && fingerprintsIn(file).has(key.fingerprint)
  }
  return {
    isInUse: isUsed,
    async delete(doomed, by) {
      const { cloudApiUrl, userId, cloudId } = doomed
      if (by === undefined) return 'no_key'
      if (cloudId === undefined || userId === undefined) return 'no_id'
      if (by.cloudApiUrl !== cloudApiUrl) return 'other_host'
      return isUsed(doomed) ? 'in_use' : cloud.deleteKey(by, userId, cloudId)
    },
  }
}

/** The key that `record` describes, with its host; undefined if there is none or memory does not have it. */
export function targetOf(
  keeper: Pick<KeyKeeper, 'keyOf'>,
  record: KeyRecord | undefined,
): CloudTarget | undefined {
  const key = record === undefined ? undefined : keeper.keyOf(record.item)
  if (record === undefined || key === undefined) return undefined
  return { cloudApiUrl: record.cloudApiUrl, key, profile: record.profile }
}
