/** A service account's key on its way into use: stored, its workspace shared, verified, made current; also after a crash. */

import { BrokerError, isBrokerError } from '../base/errors.js'
import type { Events } from '../base/events.js'
import type { Changes } from '../keys/change.js'
import { type BotEntry, dropEntry, type Journal, writeEntry } from '../keys/journal.js'
import type { KeyKeeper } from '../keys/keeper.js'
import { type KeyRecord, withoutChange } from '../keys/ledger.js'
import { CERTAINLY_NOT_MINTED } from '../keys/rotate.js'
import type { Turns } from '../keys/turns.js'
import type { Document } from '../os/document.js'
import type { AccountApi, AccountPage } from '../prefect/account.js'
import { type CloudApi, type MintedKey, verifyKey } from '../prefect/cloud.js'
import type { ServerTimes } from '../prefect/server-time.js'
import { shownName } from '../profiles/bundled.js'
import { type Served, target } from '../serve/credentials.js'
import type { ServingCredentials } from '../serve/serve.js'
import { defined } from '../std/defined.js'
import type { Log } from '../std/log.js'
import { quoteWord } from '../std/text.js'
import type { Vault } from '../vault/vault.js'

export interface ServiceAccountParts {
  readonly credentials: ServingCredentials
  readonly keeper: KeyKeeper
  readonly vault: Pick<Vault, 'prove'>
  readonly cloud: CloudApi & AccountApi
  readonly turns: Turns
  readonly changes: Pick<Changes, 'run'>
  readonly journal: Document<Journal>
  readonly events: Events
  readonly times: ServerTimes
  readonly newId: () => string
  readonly log: Log
}

/** Where a person does it in the Prefect UI. */
export function pageOf(
  { profile }: Served,
  credentials: ServiceAccountParts['credentials'],
  accountId: string,
): AccountPage {
  return { accountId, uiUrl: credentials.state(profile).resolved.cloudUiUrl, name: 'Service Accounts' }
}

/** Throws `error`. If nothing was made at Prefect, the entry has nothing to go on with. */
export async function dropUnmade(
  journal: ServiceAccountParts['journal'],
  id: string,
  error: unknown,
): Promise<never> {
  if (isBrokerError(error, ...CERTAINLY_NOT_MINTED)) await dropEntry(journal, id)
  throw error
}

/** Puts a key that was just made into the vault: from then on nothing loses it. */
export async function storeKey(
  { keeper, times }: ServiceAccountParts,
  { item, profile, cloudApiUrl }: BotEntry,
  { key, id, name, createdAt, expiresAt }: MintedKey,
): Promise<void> {
  await keeper.store(key, {
    item,
    profile,
    cloudApiUrl,
    origin: 'service_account',
    cloudId: id,
    name,
    issuedAt: createdAt ?? times.of(cloudApiUrl).clock.now(),
    ...defined({ expiresAt }),
  })
}

/** Gives the service account the role that its entry names. Once is enough: the entry forgets it then. */
async function share(parts: ServiceAccountParts, entry: BotEntry): Promise<BotEntry> {
  const { share: wanted, ...rest } = entry
  if (wanted === undefined) return entry
  const { credentials, cloud, journal } = parts
  const { ownerProfile, workspaceId, roleId } = wanted
  const { accountId, name, cloudApiUrl } = entry
  const owner = isThere(credentials, ownerProfile)
    ? target(credentials, credentials.serve(ownerProfile))
    : undefined
  // The owner's profile is gone, or is another Cloud's now: a person has to give the role.
  const isAsked = owner !== undefined && owner.cloudApiUrl === cloudApiUrl
  const [account] = isAsked ? await cloud.serviceAccounts(owner, accountId, name) : []
  if (isAsked && account !== undefined) {
    const access = { serviceAccountId: account.id, roleId }
    await cloud.shareWorkspace(owner, { accountId, workspaceId }, access)
  }
  await writeEntry(journal, rest)
  return rest
}

function isThere(credentials: ServiceAccountParts['credentials'], profile: string): boolean {
  return credentials.listed(profile) !== undefined
}

/** Makes the new key current if Prefect accepts it. On failure the entry is left for `recover`. */
export async function takeIntoUse(parts: ServiceAccountParts, planned: BotEntry): Promise<KeyRecord> {
  const { keeper, cloud, events, credentials, journal } = parts
  const entry = await share(parts, planned)
  const record = keeper.ledger().keys[entry.item]
  const key = keeper.keyOf(entry.item)
  if (record === undefined || key === undefined) {
    throw new BrokerError('login_state', 'the new key is not in the vault')
  }
  const { owner, workspaces } = await verifyKey(cloud, {
    cloudApiUrl: entry.cloudApiUrl,
    key,
    profile: entry.profile,
  })
  const currentItem = keeper.current(entry.profile)?.item
  if (currentItem !== entry.item && currentItem !== entry.oldItem) {
    await dropEntry(journal, entry.id)
    throw new BrokerError(
      'login_state',
      `the key of profile ${shownName(entry.profile)} changed during the rotation`,
    )
  }
  const patch = { owner, workspaces }
  await keeper.promote(entry.item, { profile: entry.profile, patch, settles: entry.id })
  await credentials.settle()
  const { profile } = entry
  const { fingerprint } = record
  events.emit('key.promoted', { profile, facts: { fingerprint } })
  return record
}

/** Goes on where a crash ended it, or warns of what it cannot go on with. Rejects if that is to be tried again. */
export async function recoverOne(parts: ServiceAccountParts, entry: BotEntry): Promise<void> {
  const { keeper, events, log } = parts
  const { profile, name, item, cloudApiUrl, startedAt: issuedAt } = entry
  // The vault may have the key already, and Prefect lets the one before it expire: it is not made a second time.
  const about = { item, profile, cloudApiUrl, origin: 'service_account', issuedAt } as const
  if (keeper.ledger().keys[item] !== undefined || (await keeper.recall(about)) !== undefined) {
    await keeper.load()
    await takeIntoUse(parts, entry)
    return
  }
  const message =
    entry.isNew === true
      ? `the creation of service account ${shownName(name)} was interrupted: it may exist, with a key that nobody has`
      : `the key rotation of service account ${shownName(name)} was interrupted: its old key may expire within a day`
  const hint = `prefect-auth service-account rotate ${quoteWord(name)} --profile ${quoteWord(profile)}`
  await keeper.apply((ledger) => withoutChange(ledger, entry.id))
  log.warn({ profile, name }, 'service account key rotation interrupted')
  events.emit('renewal.warning', { profile, facts: { days: 1, message, hint } })
}
