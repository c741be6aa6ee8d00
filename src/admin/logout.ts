/** Forgets our keys of a profile everywhere, and where asked deletes at Prefect what an answer of the API tied to an id. */
import { BrokerError } from '../base/errors.js'
import type { KeyKeeper } from '../keys/keeper.js'
import type { KeyRecord } from '../keys/ledger.js'
import type { ProfileEdit } from '../profiles/profile.js'
import type { Secret } from '../std/secret.js'
import type { ProfileChangeDeps } from './rename.js'

export async function logOut(deps: ProfileChangeDeps, name: string, revoke: boolean): Promise<LogoutOutcome> {
  const { store, keeper, events, settle } = deps
  await store.refresh({ force: true })
  await settle()
  const fileKey = findFileKey(deps, name)
  const ours = Object.values(keeper.ledger().keys).filter(({ profile }) => profile === name)
  // First what can be refused: a file that can't be written leaves everything as it is.
  if (fileKey !== undefined) {
    await store.edit([removal(name)])
  }
  const outcome = revoke ? await revokeAll(deps, name) : { revoked: [], notRevoked: [] }
  const inFile = fileKey === undefined || fileKey.length === 0 ? [] : [fileKey.fingerprint()]
  const strangers = inFile.filter((fingerprint) => !ours.some((key) => key.fingerprint === fingerprint))
  const forgotten = [...new Set([...(await forgetKeys(keeper, name)), ...inFile])]
  // A mirror may have written it once more while it was still ours.
  if (store.reading().file.profiles.has(name)) await store.edit([removal(name)])
  await settle()
  const { revoked } = outcome
  const notRevoked = [
    ...outcome.notRevoked,
    ...(revoke ? strangers : []).map((fingerprint) => ({ fingerprint, reason: NO_ID })),
  ]
  events.emit('logout.done', { profile: name, facts: { forgotten, revoked } })
  return { forgotten, revoked, notRevoked }
}

function removal(name: string): ProfileEdit {
  return { kind: 'set', name, settings: { PREFECT_API_KEY: undefined } }
}

/** A profile that left the file may still have keys with us: logging out is how they go. */
function findFileKey({ keeper, store, credentials }: ProfileChangeDeps, name: string): Secret | undefined {
  const isHeld = Object.values(keeper.ledger().keys).some(({ profile }) => profile === name)
  if (isHeld && !store.reading().file.profiles.has(name)) return undefined
  return credentials.state(name).resolved.fileKey
}

const NO_ID = 'Prefect has not told its id; delete it at the key page of Prefect Cloud (/my/api-keys)'

/** The current key deletes the others, then itself. */
async function revokeAll(deps: ProfileChangeDeps, name: string): Promise<Omit<LogoutOutcome, 'forgotten'>> {
  const { keeper, now } = deps
  const revoked: string[] = []
  const notRevoked: { fingerprint: string; reason: string }[] = []
  for (const key of keysLastCurrent(keeper, name)) {
    if (key.expiresAt !== undefined && key.isExpiryAssumed !== true && key.expiresAt < now()) continue
    const reason = await revokeOne(deps, name, key)
    if (reason === undefined) revoked.push(key.fingerprint)
    else notRevoked.push({ fingerprint: key.fingerprint, reason })
  }
  return { revoked, notRevoked }
}

function keysLastCurrent(keeper: KeyKeeper, name: string): readonly KeyRecord[] {
  const { currentItem } = keeper.profile(name)
  const keys = Object.values(keeper.ledger().keys).filter(({ profile }) => profile === name)
  return [
    ...keys.filter(({ item }) => item !== currentItem),
    ...keys.filter(({ item }) => item === currentItem),
  ]
}

/** Why it could not be deleted; `undefined` where it was, or is gone. */
async function revokeOne(
  { keeper, cloud }: ProfileChangeDeps,
  name: string,
  key: KeyRecord,
): Promise<string | undefined> {
  const { currentItem } = keeper.profile(name)
  const current = currentItem === undefined ? undefined : keeper.ledger().keys[currentItem]
  const secret = currentItem === undefined ? undefined : keeper.keyOf(currentItem)
  if (current === undefined || secret === undefined) return 'there is no key in the vault to delete it with'
  if (key.cloudId === undefined || key.userId === undefined) return NO_ID
  if (key.cloudApiUrl !== current.cloudApiUrl) {
    return `it belongs to ${key.cloudApiUrl}, and the current key may not be sent there`
  }
  try {
    await cloud.deleteKey({ cloudApiUrl: key.cloudApiUrl, key: secret }, key.userId, key.cloudId)
    return undefined
  } catch (error) {
    return error instanceof BrokerError ? error.message : 'an unexpected error'
  }
}

/** Answers the fingerprints. The ledger first, so that a crash between leaves items that nobody names. */
export async function forgetKeys(keeper: KeyKeeper, name: string): Promise<readonly string[]> {
  const keys = Object.values(keeper.ledger().keys).filter(({ profile }) => profile === name)
  await keeper.storeAuthString(name, '', '', undefined)
  await keeper.resetProfile(name)
  for (const { item } of keys) await keeper.forget(item)
  return keys.map(({ fingerprint }) => fingerprint)
}
export interface LogoutOutcome {
  readonly forgotten: readonly string[]
  readonly revoked: readonly string[]
  readonly notRevoked: readonly { readonly fingerprint: string; readonly reason: string }[]
}
