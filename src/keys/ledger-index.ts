/** The ledger by fingerprint, item, profile and user: nothing looks through all keys once for every profile. Pure. */

import type { Owner } from '../prefect/cloud.js'
import { remembering } from '../std/remembering.js'
import type { KeyRecord, Ledger } from './ledger.js'

export interface LedgerIndex {
  /** In the order of the ledger, at any host. */
  keysWith(fingerprint: string): readonly KeyRecord[]
  /** The keys that are this profile's own; its current one may be another profile's. */
  ownKeys(profile: string): readonly KeyRecord[]
  /** The profiles that are served this item. */
  profilesServing(item: string): readonly string[]
  /** Whose key it is, if a profile tells: one that is served it, or another one of the same user. */
  ownerOf(key: KeyRecord): Owner | undefined
}

interface KeyMaps {
  readonly byFingerprint: ReadonlyMap<string, readonly KeyRecord[]>
  readonly byProfile: ReadonlyMap<string, readonly KeyRecord[]>
}

interface ProfileMaps {
  readonly byItem: ReadonlyMap<string, readonly string[]>
  readonly users: ReadonlyMap<string, Owner>
}

/** Each half of the index is made once for what it is made of: a ledger is replaced by every change, and never changed. */
export function createLedgerIndex(): (ledger: Ledger) => LedgerIndex {
  const keyMaps = remembering(mapKeys)
  const profileMaps = remembering(mapProfiles)
  return ({ keys, profiles }) => ({
    keysWith: (fingerprint) => keyMaps(keys).byFingerprint.get(fingerprint) ?? [],
    ownKeys: (profile) => keyMaps(keys).byProfile.get(profile) ?? [],
    profilesServing: (item) => profileMaps(profiles).byItem.get(item) ?? [],
    ownerOf({ item, userId }) {
      const { byItem, users } = profileMaps(profiles)
      const [serving] = byItem.get(item) ?? []
      return serving === undefined ? users.get(userId ?? '') : profiles[serving]?.owner
    },
  })
}

function mapKeys(keys: Ledger['keys']): KeyMaps {
  const records = Object.values(keys)
  return {
    byFingerprint: grouped(records.map((record) => [record.fingerprint, record])),
    byProfile: grouped(records.map((record) => [record.profile, record])),
  }
}

function mapProfiles(profiles: Ledger['profiles']): ProfileMaps {
  const users = new Map<string, Owner>()
  for (const { owner } of Object.values(profiles)) {
    if (owner?.kind === 'user' && !users.has(owner.id)) users.set(owner.id, owner)
  }
  const served = Object.entries(profiles).flatMap(([name, { currentItem }]) =>
    currentItem === undefined ? [] : [[currentItem, name] as const],
  )
  return { byItem: grouped(served), users }
}

function grouped<T>(pairs: readonly (readonly [string, T])[]): ReadonlyMap<string, readonly T[]> {
  const groups = new Map<string, T[]>()
  for (const [name, value] of pairs) {
    const group = groups.get(name)
    if (group === undefined) groups.set(name, [value])
    else group.push(value)
  }
  return groups
}
