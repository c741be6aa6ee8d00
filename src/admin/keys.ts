/** Keys at Prefect: listed as far as the API allows, created with a name and an expiry, deleted by id. */

import { BrokerError, isBrokerError } from '../base/errors.js'
import type { KeyKeeper } from '../keys/keeper.js'
import type { KeyFacts, KeyRecord } from '../keys/ledger.js'
import { keyFacts } from '../keys/ledger.js'
import type { CloudApi, CloudKey } from '../prefect/cloud.js'
import { shownName } from '../profiles/bundled.js'
import type { Credentials, Served } from '../serve/credentials.js'
import { target } from '../serve/credentials.js'
import { defined } from '../std/defined.js'
import type { Secret } from '../std/secret.js'

interface AdministerKeysDeps {
  readonly credentials: Credentials
  readonly cloud: CloudApi
  readonly keeper: KeyKeeper
}

export function createKeyAdmin(deps: AdministerKeysDeps): KeyAdmin {
  const { credentials, cloud, keeper } = deps
  return {
    async list(profile) {
      const served = credentials.state(profile)
      const name = served.resolved.name
      const records = Object.values(keeper.ledger().keys).filter(
        (record) => profile === undefined || record.profile === name,
      )
      const ours = records.map((record) => entryOf(keeper, record))
      const atPrefect =
        served.outcome.kind === 'served' ? await listAtPrefect(deps, served.outcome.served) : []
      if (atPrefect === undefined) return { keys: ours, notices: [NO_LIST] }
      const others = atPrefect.filter(({ id }) => !records.some(({ cloudId }) => cloudId === id))
      return { keys: [...ours, ...others.map((key) => foreignEntry(name, key))], notices: [] }
    },
    async create({ profile, name, expiresAt }) {
      const served = credentials.serve(profile)
      const userId = await userIdOf(deps, served)
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
      const record = Object.values(keeper.ledger().keys).find(
        ({ cloudId, cloudApiUrl }) => cloudId === id && cloudApiUrl === asked.cloudApiUrl,
      )
      if (record !== undefined && keeper.profile(record.profile).currentItem === record.item) {
        throw new BrokerError(
          'profile_in_use',
          `the key ${id} is the one being served for profile ${shownName(record.profile)}`,
          {
            hint: 'prefect-auth logout --revoke',
          },
        )
      }
      const outcome = await cloud.deleteKey(asked, await userIdOf(deps, served), id)
      if (record !== undefined) await keeper.forget(record.item)
      return outcome
    },
  }
}

const NO_LIST =
  'Prefect Cloud offers no documented way to list keys: only those this machine knows are shown; all stand at /my/api-keys of the Prefect UI'

/** Keys are made under a user; a key out of the file has no known owner yet. */
async function userIdOf({ keeper, cloud, credentials }: AdministerKeysDeps, served: Served): Promise<string> {
  const { owner } = keeper.profile(served.profile)
  if (owner?.kind === 'user' && served.item !== undefined) return owner.id
  try {
    return (await cloud.me(target(credentials, served))).id
  } catch (error) {
    if (!isBrokerError(error, 'prefect_forbidden')) throw error
    throw new BrokerError(
      'key_minting_refused',
      "the key of this profile is a service account's; only users manage keys of their own",
      {
        hint: 'manage service account keys in the Prefect UI',
        cause: error,
      },
    )
  }
}

async function listAtPrefect(
  deps: AdministerKeysDeps,
  served: Served,
): Promise<readonly CloudKey[] | undefined> {
  if (served.kind !== 'cloud') return []
  try {
    return await deps.cloud.listKeys(target(deps.credentials, served), await userIdOf(deps, served))
  } catch (error) {
    // What we hold can be shown whether or not Prefect answers.
    if (error instanceof BrokerError) return undefined
    throw error
  }
}

function entryOf(keeper: KeyKeeper, record: KeyRecord): KeyEntry {
  const isCurrent = keeper.profile(record.profile).currentItem === record.item
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
/** A key that Prefect lists and we do not hold has no fingerprint and no origin that we could know. */

export interface KeyEntry
  extends Omit<KeyFacts, 'fingerprint' | 'origin'>,
    Partial<Pick<KeyFacts, 'fingerprint' | 'origin'>> {
  readonly profile: string
  readonly state: 'current' | 'retired' | 'at_prefect'
  readonly isHandedOut?: boolean
  readonly retiredAt?: number
}
export interface KeyAdmin {
  /** What we hold, and what Prefect lists where it does; `notices` say what it does not. */
  list(profile?: string): Promise<{ readonly keys: readonly KeyEntry[]; readonly notices: readonly string[] }>
  create(wanted: { readonly profile?: string; readonly name: string; readonly expiresAt?: number }): Promise<{
    readonly profile: string
    readonly id: string
    readonly name: string
    readonly key: Secret
    readonly expiresAt?: number
  }>
  /** Refuses (`login_state`… `conflict`) to delete the key that is being served. */
  delete(id: string, profile?: string): Promise<'deleted' | 'already_gone'>
}
