/** Moves a plain-text key from profiles.toml into the vault: first stored, then removed from the file. */

import { BrokerError, isBrokerError } from '../base/errors.js'
import type { Events } from '../base/events.js'
import type { Changes } from '../keys/change.js'
import { plannedFromFile } from '../keys/from-file.js'
import type { KeyKeeper } from '../keys/keeper.js'
import { requireUnshared } from '../keys/shared.js'
import { type CloudApi, type CloudTarget, type Owner, verifyKey, type Workspace } from '../prefect/cloud.js'
import { shownName } from '../profiles/bundled.js'
import type { ResolvedProfile } from '../profiles/profile.js'
import type { Credentials } from '../serve/credentials.js'
import type { Secret } from '../std/secret.js'
import { quoteWord } from '../std/text.js'

interface Identity {
  readonly owner?: Owner
  readonly workspaces?: readonly Workspace[]
}

/** Rejects with `profile_has_no_key`, `profile_not_cloud`, `profile_in_use` (a shared key), `key_rejected`, or as `ProfileStore.edit` and `Vault` do. */
export async function adoptKey(
  {
    changes,
    keeper,
    credentials,
    cloud,
    events,
    now,
    newId,
    settle,
  }: {
    readonly changes: Changes
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
  let fingerprint = ''
  const { reading } = await changes.run([name], async () => {
    await settle()
    const { resolved, keySource } = credentials.state(name)
    const key = requireAdoptable(resolved)
    fingerprint = key.fingerprint()
    const planned = plannedFromFile(resolved, { item: `key-${newId()}`, now: now() })
    // If the vault's key is served, the one in the file is an old mirror of ours: it only has to leave the file.
    const isServed = keySource === 'file'
    if (isServed) requireUnshared(keeper.ledger(), name)
    const target = { cloudApiUrl: resolved.cloudApiUrl, key, profile: name }
    const patch = isServed ? await examine({ cloud, keeper }, name, target) : {}
    return {
      act: 'adopt',
      keys: planned === undefined ? [] : [planned],
      edits: [{ kind: 'set', name, settings: { PREFECT_API_KEY: undefined } }],
      outcome: isServed ? { promote: { profile: name, at: now(), ...patch } } : {},
    }
  })
  events.emit('key.adopted', { profile: name, facts: { fingerprint } })
  return {
    fingerprint,
    message: `the key of profile ${shownName(name)} is in the vault and no longer in ${reading.path}`,
  }
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
      { hint: `prefect-auth profile inspect ${quoteWord(name)}` },
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
