/** Moves a plain-text key from profiles.toml into the vault: first stored, then removed from the file. */

import { BrokerError, isBrokerError } from '../base/errors.js'
import type { Events } from '../base/events.js'
import type { KeyKeeper } from '../keys/keeper.js'
import { keysOf } from '../keys/ledger.js'
import {
  type CloudApi,
  type CloudTarget,
  keyClass,
  type Owner,
  verifyKey,
  type Workspace,
} from '../prefect/cloud.js'
import { shownName } from '../profiles/bundled.js'
import type { ProfileStore, ResolvedProfile } from '../profiles/profile.js'
import type { Credentials } from '../serve/credentials.js'
import type { Secret } from '../std/secret.js'

interface Identity {
  readonly owner?: Owner
  readonly workspaces?: readonly Workspace[]
}

/** Rejects with `profile_has_no_key`, `profile_not_cloud`, `key_rejected`, or as `ProfileStore.edit` and `Vault` do. */
export async function adoptKey(
  {
    store,
    keeper,
    credentials,
    cloud,
    events,
    now,
    newId,
    settle,
  }: {
    readonly store: ProfileStore
    readonly keeper: KeyKeeper
    readonly credentials: Credentials
    readonly cloud: CloudApi
    readonly events: Events
    readonly now: () => number
    readonly newId: () => string
    readonly settle: () => Promise<void>
  },
  name: string,
): Promise<{ readonly fingerprint: string; readonly message: string }> {
  await store.refresh({ force: true })
  await settle()
  const { resolved, keySource } = credentials.state(name)
  const key = requireAdoptable(resolved)
  const fingerprint = key.fingerprint()
  // If the vault's key is served, the one in the file is an old mirror of ours: it only has to leave the file.
  if (keySource === 'file') {
    const target = { cloudApiUrl: resolved.cloudApiUrl, key }
    const identity = await examine({ cloud, keeper }, name, target)
    const item = findStored(keeper, name, target) ?? `key-${newId()}`
    if (keeper.ledger().keys[item] === undefined) {
      const origin = keyClass(key) === 'service_account' ? 'service_account' : 'profile'
      const { cloudApiUrl } = resolved
      await keeper.store(key, { item, profile: name, cloudApiUrl, origin, issuedAt: now() })
    }
    // Every process can read the file: the key counts as handed out.
    await keeper.markHandedOut(item)
    await keeper.promote(item, { patch: identity })
  }
  await store.edit([{ kind: 'set', name, settings: { PREFECT_API_KEY: undefined } }])
  await settle()
  events.emit('key.adopted', { profile: name, facts: { fingerprint } })
  return {
    fingerprint,
    message: `the key of profile ${shownName(name)} is in the vault and no longer in ${store.reading().path}`,
  }
}

/** The item that an adoption interrupted by a crash has already stored. */
function findStored(keeper: KeyKeeper, name: string, { cloudApiUrl, key }: CloudTarget): string | undefined {
  return keysOf(keeper.ledger(), name).find(
    (record) => record.cloudApiUrl === cloudApiUrl && keeper.keyOf(record.item)?.equals(key) === true,
  )?.item
}

function requireAdoptable({ name, kind, fileKey }: ResolvedProfile): Secret {
  if (fileKey === undefined || fileKey.length === 0) {
    throw new BrokerError(
      'profile_has_no_key',
      `profile ${shownName(name)} has no plain-text key in profiles.toml`,
      { hint: 'prefect-auth status' },
    )
  }
  if (kind !== 'cloud') {
    throw new BrokerError(
      'profile_not_cloud',
      `profile ${shownName(name)} has a key, but its API URL is not Prefect Cloud's`,
      { hint: 'prefect-auth profile inspect' },
    )
  }
  return fileKey
}

/** A key that Prefect rejects never replaces another one; a key that Prefect cannot be asked about only fills a gap. */
async function examine(
  { cloud, keeper }: { readonly cloud: CloudApi; readonly keeper: KeyKeeper },
  profile: string,
  target: CloudTarget,
): Promise<Identity> {
  try {
    return await verifyKey(cloud, target)
  } catch (error) {
    const isReplacing = keeper.current(profile) !== undefined
    if (isReplacing || isBrokerError(error, 'key_rejected', 'key_malformed')) throw error
    return {}
  }
}
