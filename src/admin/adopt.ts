/** Moves a plain-text key from profiles.toml into the vault: first it is safe there, then it leaves the file. */

import { BrokerError, isBrokerError } from '../base/errors.js'
import type { KeyKeeper } from '../keys/keeper.js'
import { type CloudTarget, keyClass, type Owner, verifyKey, type Workspace } from '../prefect/cloud.js'
import { shownName } from '../profiles/bundled.js'
import type { ProfileChangeDeps } from './rename.js'

interface Identity {
  readonly owner?: Owner
  readonly workspaces?: readonly Workspace[]
}

export async function adoptKey(
  deps: ProfileChangeDeps,
  name: string,
): Promise<{ readonly fingerprint: string; readonly message: string }> {
  const { store, keeper, events, settle, credentials } = deps
  await store.refresh({ force: true })
  await settle()
  const { resolved, keySource } = credentials.state(name)
  const key = requireAdoptable(name, resolved)
  const fingerprint = key.fingerprint()
  // Where ours is served, what the file has is an old mirror of a key of ours: it need only leave the file.
  if (keySource === 'file') {
    const target = { cloudApiUrl: resolved.cloudApiUrl, key }
    const identity = await examine(deps, name, target)
    const item = findStored(keeper, name, target) ?? (await storeIt(deps, name, target))
    // It was in a file that every process reads: it must be taken for handed out.
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

/** What an adoption that a crash interrupted has stored already. */
function findStored(keeper: KeyKeeper, name: string, { cloudApiUrl, key }: CloudTarget): string | undefined {
  return Object.values(keeper.ledger().keys).find(
    (record) =>
      record.profile === name &&
      record.cloudApiUrl === cloudApiUrl &&
      keeper.keyOf(record.item)?.equals(key) === true,
  )?.item
}

async function storeIt(
  { keeper, newId, now }: ProfileChangeDeps,
  profile: string,
  { cloudApiUrl, key }: CloudTarget,
): Promise<string> {
  const item = `key-${newId()}`
  const origin = keyClass(key) === 'service_account' ? 'service_account' : 'profile'
  await keeper.store(key, { item, profile, cloudApiUrl, origin, issuedAt: now() })
  return item
}

function requireAdoptable(
  name: string,
  resolved: { readonly kind: string; readonly fileKey?: CloudTarget['key'] },
): CloudTarget['key'] {
  const { fileKey, kind } = resolved
  if (fileKey === undefined || fileKey.length === 0) {
    throw new BrokerError(
      'profile_has_no_key',
      `profile ${shownName(name)} has no plain-text key in profiles.toml`,
      {
        hint: 'prefect-auth status',
      },
    )
  }
  if (kind !== 'cloud') {
    throw new BrokerError(
      'profile_not_cloud',
      `profile ${shownName(name)} has a key, but its API URL is not Prefect Cloud's`,
      {
        hint: 'prefect-auth profile inspect',
      },
    )
  }
  return fileKey
}

/** A key that Prefect refuses never takes the place of anything; one that can't be asked about, only of nothing. */
async function examine(deps: ProfileChangeDeps, name: string, target: CloudTarget): Promise<Identity> {
  try {
    return await verifyKey(deps.cloud, target)
  } catch (error) {
    const holdsOne = deps.keeper.profile(name).currentItem !== undefined
    if (holdsOne || isBrokerError(error, 'key_rejected', 'key_malformed')) throw error
    return {}
  }
}
