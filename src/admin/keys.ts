/** Keys at Prefect: listed as far as its API allows, created with a name and an expiry, deleted by id. */

import { BrokerError, isBrokerError } from '../base/errors.js'
import type { Disposal } from '../keys/disposal.js'
import type { KeyKeeper } from '../keys/keeper.js'
import { type KeyFacts, type KeyRecord, keyFacts, profilesServing } from '../keys/ledger.js'
import type { Turns } from '../keys/turns.js'
import type { CloudApi, CloudKey } from '../prefect/cloud.js'
import { shownName } from '../profiles/bundled.js'
import { type Credentials, type Served, target } from '../serve/credentials.js'
import { defined } from '../std/defined.js'
import type { Secret } from '../std/secret.js'

/** A key that only Prefect lists has no fingerprint and no origin. Times in epoch ms. */
export interface KeyEntry
  extends Omit<KeyFacts, 'fingerprint' | 'origin'>,
    Partial<Pick<KeyFacts, 'fingerprint' | 'origin'>> {
  readonly profile: string
  readonly state: 'current' | 'retired' | 'at_prefect'
  readonly isHandedOut?: boolean
  readonly retiredAt?: number
}

export interface KeyAdmin {
  /** The keys in the vault, and those that Prefect lists; `notices` say what cannot be listed. */
  list(profile?: string): Promise<{ readonly keys: readonly KeyEntry[]; readonly notices: readonly string[] }>
  create(wanted: { readonly profile?: string; readonly name: string; readonly expiresAt?: number }): Promise<{
    readonly profile: string
    readonly id: string
    readonly name: string
    readonly key: Secret
    readonly expiresAt?: number
  }>
  /** Rejects with `profile_in_use` for a key that is being served. */
  delete(id: string, profile?: string): Promise<'deleted' | 'already_gone'>
}

interface KeyAdminParts {
  readonly credentials: Credentials
  readonly cloud: CloudApi
  readonly keeper: KeyKeeper
  readonly disposal: Pick<Disposal, 'isInUse'>
  readonly turns: Turns
}

export function createKeyAdmin(parts: KeyAdminParts): KeyAdmin {
  const { credentials, cloud, keeper, disposal, turns } = parts
  return {
    async list(profile) {
      const { resolved, outcome } = credentials.state(profile)
      const { name } = resolved
      const records = Object.values(keeper.ledger().keys).filter(
        (record) => profile === undefined || record.profile === name,
      )
      const ours = records.map((record) => entryOf(keeper, record))
      const atPrefect = outcome.kind === 'served' ? await listAtPrefect(parts, outcome.served) : []
      if (atPrefect === undefined) return { keys: ours, notices: [NO_LIST] }
      const others = atPrefect.filter(({ id }) => !records.some(({ cloudId }) => cloudId === id))
      return { keys: [...ours, ...others.map((key) => foreignEntry(name, key))], notices: [] }
    },
    async create({ profile, name, expiresAt }) {
      const served = credentials.serve(profile)
      const userId = await userIdOf(parts, served)
      const minted = await cloud.createKey(target(credentials, served), userId, {
        name,
        ...defined({ expiresAt }),
      })
      return {
        profile: served.profile,
        id: minted.id,
        name: minted.name,
        key: minted.key,
        ...defined({ expiresAt: minted.expiresAt }),
      }
    },
    async delete(id, profile) {
      const served = credentials.serve(profile)
      const asked = target(credentials, served)
      const { cloudApiUrl } = asked
      const userId = await userIdOf(parts, served)
      const records = () =>
        Object.values(keeper.ledger().keys).filter(
          (record) => record.cloudId === id && record.cloudApiUrl === cloudApiUrl,
        )
      const names = [served.profile, ...records().map((record) => record.profile)]
      return turns.run(names, async () => {
        for (const record of records()) {
          if (!disposal.isInUse(record)) continue
          throw new BrokerError(
            'profile_in_use',
            `key ${id} is the one being served for profile ${shownName(record.profile)}`,
            { hint: 'prefect-auth logout --revoke' },
          )
        }
        const outcome = await cloud.deleteKey(asked, userId, id)
        for (const { item } of records()) await keeper.forget(item)
        return outcome
      })
    },
  }
}

const NO_LIST =
  'Prefect Cloud has no documented way to list keys: only those known to this machine are shown; see all of them at /my/api-keys in the Prefect UI'

/** Keys belong to users; the owner of a key from the file is not known yet. */
async function userIdOf({ keeper, cloud, credentials }: KeyAdminParts, served: Served): Promise<string> {
  const { owner } = keeper.profile(served.profile)
  if (owner?.kind === 'user' && served.item !== undefined) return owner.id
  try {
    return (await cloud.me(target(credentials, served))).id
  } catch (error) {
    if (!isBrokerError(error, 'prefect_forbidden')) throw error
    throw new BrokerError(
      'key_minting_refused',
      "the key of this profile is a service account's; only users can manage their keys",
      { hint: 'manage service account keys in the Prefect UI', cause: error },
    )
  }
}

/** Undefined if Prefect cannot be asked, or does not list keys. */
async function listAtPrefect(parts: KeyAdminParts, served: Served): Promise<readonly CloudKey[] | undefined> {
  if (served.kind !== 'cloud') return []
  try {
    return await parts.cloud.listKeys(target(parts.credentials, served), await userIdOf(parts, served))
  } catch (error) {
    // Our own keys can be shown without Prefect.
    if (error instanceof BrokerError) return undefined
    throw error
  }
}

function entryOf(keeper: KeyKeeper, record: KeyRecord): KeyEntry {
  const isCurrent = profilesServing(keeper.ledger(), record.item).length > 0
  return {
    ...keyFacts(record),
    profile: record.profile,
    state: isCurrent ? 'current' : 'retired',
    isHandedOut: record.handedOut,
    ...defined({ retiredAt: record.retiredAt }),
  }
}

function foreignEntry(profile: string, { id, name, createdAt, expiresAt }: CloudKey): KeyEntry {
  return {
    profile,
    state: 'at_prefect',
    id,
    name,
    ...defined({ issuedAt: createdAt, expiresAt }),
  }
}
