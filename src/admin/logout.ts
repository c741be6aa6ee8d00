/** Log-out: forgets a profile's keys here and, if asked to, deletes at Prefect those whose id is known. */
import { BrokerError } from '../base/errors.js'
import type { Events } from '../base/events.js'
import { deleteKeyAtPrefect, targetOf } from '../keys/disposal.js'
import type { KeyKeeper } from '../keys/keeper.js'
import { type KeyRecord, keysOf } from '../keys/ledger.js'
import type { CloudApi } from '../prefect/cloud.js'
import type { ProfileEdit, ProfileStore } from '../profiles/profile.js'
import type { Credentials } from '../serve/credentials.js'
import type { Secret } from '../std/secret.js'

/** Keys by fingerprint. */
export interface LogoutOutcome {
  readonly forgotten: readonly string[]
  readonly revoked: readonly string[]
  readonly notRevoked: readonly { readonly fingerprint: string; readonly reason: string }[]
}

interface LogOutParts {
  readonly store: ProfileStore
  readonly keeper: KeyKeeper
  readonly credentials: Credentials
  readonly cloud: CloudApi
  readonly events: Events
  /** Brings what is served up to date. */
  readonly settle: () => Promise<void>
}

/** Rejects as `ProfileStore.edit` does; nothing has changed then. */
export async function logOut(
  { store, keeper, credentials, cloud, events, settle }: LogOutParts,
  name: string,
  revoke: boolean,
): Promise<LogoutOutcome> {
  await store.refresh({ force: true })
  await settle()
  const ours = keysOf(keeper.ledger(), name)
  // A profile that is no longer in the file may still have keys here: logging out removes them.
  const isKeptOnly = ours.length > 0 && !store.reading().file.profiles.has(name)
  const fileKey = isKeptOnly ? undefined : credentials.state(name).resolved.fileKey
  // What may be refused comes first: a file that cannot be written leaves everything as it is.
  if (fileKey !== undefined) await store.edit([removal(name)])
  const { revoked, notRevoked } = revoke
    ? await revokeAll({ keeper, cloud }, name)
    : { revoked: [], notRevoked: [] }
  const inFile = fingerprints(fileKey)
  const strangers = inFile.filter((fingerprint) => !ours.some((key) => key.fingerprint === fingerprint))
  const forgotten = [...new Set([...(await keeper.forgetProfile(name)), ...inFile])]
  // A mirror may have written it again before it was forgotten.
  if (store.reading().file.profiles.has(name)) await store.edit([removal(name)])
  await settle()
  events.emit('logout.done', { profile: name, facts: { forgotten, revoked } })
  const unknown = revoke ? strangers.map((fingerprint) => ({ fingerprint, reason: NO_ID })) : []
  return { forgotten, revoked, notRevoked: [...notRevoked, ...unknown] }
}

function removal(name: string): ProfileEdit {
  return { kind: 'set', name, settings: { PREFECT_API_KEY: undefined } }
}

function fingerprints(key: Secret | undefined): readonly string[] {
  return key === undefined || key.length === 0 ? [] : [key.fingerprint()]
}

const NO_ID = 'its id at Prefect is not known; delete it on the API keys page of Prefect Cloud (/my/api-keys)'

/** The current key deletes the others, then itself; expired ones, too: only our clock may say that they are. */
async function revokeAll(
  { keeper, cloud }: Pick<LogOutParts, 'keeper' | 'cloud'>,
  name: string,
): Promise<Omit<LogoutOutcome, 'forgotten'>> {
  const revoked: string[] = []
  const notRevoked: { fingerprint: string; reason: string }[] = []
  for (const key of keysCurrentLast(keeper, name)) {
    const reason = await revokeOne(keeper, cloud, key)
    if (reason === undefined) revoked.push(key.fingerprint)
    else notRevoked.push({ fingerprint: key.fingerprint, reason })
  }
  return { revoked, notRevoked }
}

function keysCurrentLast(keeper: KeyKeeper, name: string): readonly KeyRecord[] {
  const current = keeper.current(name)
  const others = keysOf(keeper.ledger(), name).filter(({ item }) => item !== current?.item)
  return current === undefined ? others : [...others, current]
}

/** Returns why the key could not be deleted; undefined if it is gone. */
async function revokeOne(keeper: KeyKeeper, cloud: CloudApi, key: KeyRecord): Promise<string | undefined> {
  try {
    switch (await deleteKeyAtPrefect(cloud, key, targetOf(keeper, keeper.current(key.profile)))) {
      case 'deleted':
      case 'already_gone':
        return undefined
      case 'no_key':
        return 'there is no key in the vault to delete it with'
      case 'no_id':
        return NO_ID
      case 'other_host':
        return `it belongs to ${key.cloudApiUrl}, and the current key may not be sent there`
    }
  } catch (error) {
    return error instanceof BrokerError ? error.message : 'an unexpected error'
  }
}
