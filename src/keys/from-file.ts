/** Plain-text keys of the profile file as keys of ours: kept before they leave the file, and found again there. Pure. */

import { keyClass } from '../prefect/cloud.js'
import type { ProfileFile, ResolvedProfile } from '../profiles/profile.js'
import type { PlannedKey } from './intent.js'
import type { KeyRecord } from './ledger.js'

/** The profiles other than `name` whose tables contain one of these keys, by item. */
export function heirsOf(
  { profiles }: ProfileFile,
  name: string,
  keys: readonly KeyRecord[],
): Readonly<Record<string, string>> {
  const written = [...profiles.values()].filter((entry) => entry.name !== name)
  return Object.fromEntries(
    keys.flatMap(({ item, fingerprint }) => {
      const heir = written.find(({ apiKey }) => apiKey?.fingerprint() === fingerprint)
      return heir === undefined ? [] : [[item, heir.name] as const]
    }),
  )
}

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
