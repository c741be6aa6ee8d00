/** How a key of ours ends: deleted at Prefect. */

import type { CloudApi, CloudTarget } from '../prefect/cloud.js'
import type { KeyKeeper } from './keeper.js'
import type { KeyRecord } from './ledger.js'

/**
 * `no_key`: there is no key to ask with. `no_id`: Prefect never told us the key's id. `other_host`: the asking key belongs
 * to another host and may not be sent to this one.
 */
type Deletion = 'deleted' | 'already_gone' | 'no_key' | 'no_id' | 'other_host'

/** Deletes `doomed` at Prefect with the key of `by`; the ledger stays as it is. Rejects as `CloudApi.deleteKey` does. */
export async function deleteKeyAtPrefect(
  cloud: Pick<CloudApi, 'deleteKey'>,
  { cloudApiUrl, userId, cloudId }: KeyRecord,
  by: CloudTarget | undefined,
): Promise<Deletion> {
  if (by === undefined) return 'no_key'
  if (cloudId === undefined || userId === undefined) return 'no_id'
  if (by.cloudApiUrl !== cloudApiUrl) return 'other_host'
  return cloud.deleteKey(by, userId, cloudId)
}

/** The key that `record` describes, with its host; undefined if there is none or memory does not have it. */
export function targetOf(
  keeper: Pick<KeyKeeper, 'keyOf'>,
  record: KeyRecord | undefined,
): CloudTarget | undefined {
  const key = record === undefined ? undefined : keeper.keyOf(record.item)
  if (record === undefined || key === undefined) return undefined
  return { cloudApiUrl: record.cloudApiUrl, key }
}
