/** A plain-text key of the profile file as a key of ours: kept before it leaves the file. Pure. */

import { keyClass } from '../prefect/cloud.js'
import type { ResolvedProfile } from '../profiles/profile.js'
import type { PlannedKey } from './intent.js'

/** Undefined if the profile's table has no key, or a token of ours instead of one. Every process can read the file. */
export function plannedFromFile(
  { name, fileKey, cloudApiUrl }: ResolvedProfile,
  { item, now }: { readonly item: string; readonly now: number },
): PlannedKey | undefined {
  if (fileKey === undefined || fileKey.length === 0) return undefined
  const origin = keyClass(fileKey) === 'service_account' ? 'service_account' : 'profile'
  const about = {
    item,
    profile: name,
    cloudApiUrl,
    origin,
    issuedAt: now,
    handedOut: true,
    retiredAt: now,
  } as const
  return { key: fileKey, about, isInFile: true }
}
