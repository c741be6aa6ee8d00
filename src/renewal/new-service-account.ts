/** A new service account: its profile, its name, its role and its workspace are settled before Prefect creates it. */

import { BrokerError, isBrokerError } from '../base/errors.js'
import { type BotEntry, writeEntry } from '../keys/journal.js'
import { type KeyFacts, keyFacts } from '../keys/ledger.js'
import { type AccountPage, roleNeeded } from '../prefect/account.js'
import type { CloudTarget } from '../prefect/cloud.js'
import { shownName } from '../profiles/bundled.js'
import { requireCloud, type Served, target } from '../serve/credentials.js'
import { defined } from '../std/defined.js'
import { quoteWord } from '../std/text.js'
import { dropUnmade, pageOf, type ServiceAccountParts, storeKey, takeIntoUse } from './service-account-key.js'

export interface NewServiceAccount {
  readonly profile: string
  readonly name: string
  readonly ownerProfile?: string
  /** Epoch ms. Absent: the key never expires. */
  readonly expiresAt?: number
  /** The role in the workspace. Default: Worker, the least with which a worker can run. `null`: the workspace is not shared. */
  readonly role?: string | null
}

const DEFAULT_ROLE = 'Worker'

interface PlannedNew extends BotEntry {
  readonly owner: CloudTarget
  readonly page: AccountPage
}

/** The profile gets the workspace of the one that asks, if it has none. Rejects before anything is written. */
export async function prepareProfile(parts: ServiceAccountParts, wanted: NewServiceAccount): Promise<void> {
  const { credentials, changes, keeper, times } = parts
  await credentials.refresh()
  const { served, owner } = asking(parts, wanted)
  const { profile, expiresAt } = wanted
  if (expiresAt !== undefined && expiresAt <= times.of(owner.cloudApiUrl).clock.now()) {
    throw new BrokerError('bad_request', 'cannot create a key that has expired already: that time is past')
  }
  const known = findState(parts, profile)
  requireFree(profile, keeper.current(profile) !== undefined || known?.fileKey !== undefined, served)
  if (known?.kind === 'cloud' && known.workspace !== undefined) {
    if (known.cloudApiUrl === owner.cloudApiUrl) return
    throw new BrokerError('key_host_mismatch', `profile ${shownName(profile)} points at another host`)
  }
  // One of Prefect's own names (`ephemeral`) means something else to every client.
  if (
    known !== undefined &&
    (known.source === 'bundled' || (known.apiUrl !== undefined && known.kind !== 'cloud'))
  ) {
    throw new BrokerError(
      'profile_not_cloud',
      `profile ${shownName(profile)} is not a Prefect Cloud profile`,
      {
        hint: 'prefect-auth profile ls',
      },
    )
  }
  if (served.workspace === undefined || served.apiUrl === undefined) throw noWorkspace(served.profile)
  const settings = { PREFECT_API_URL: served.apiUrl }
  await checkAtPrefect(parts, wanted, {
    owner,
    page: pageOf(served, credentials, served.workspace.accountId),
  })
  await changes.run([profile], ({ file }) => {
    const written = file.profiles.get(profile)
    // Somebody may have given it a URL or a key while Prefect was asked.
    const isTaken = written?.settings.PREFECT_API_URL !== undefined && known?.apiUrl === undefined
    requireFree(profile, isTaken || written?.apiKey !== undefined, served)
    return { act: 'service account profile', edits: [{ kind: 'set', name: profile, settings }] }
  })
}

/** Rejects before anything is made at Prefect. */
export async function planNew(parts: ServiceAccountParts, wanted: NewServiceAccount): Promise<PlannedNew> {
  const { credentials, keeper, times, newId } = parts
  const { profile, name } = wanted
  await credentials.refresh()
  const { served, owner } = asking(parts, wanted)
  const { workspace } = credentials.state(profile).resolved
  if (workspace === undefined) throw noWorkspace(profile)
  const { accountId, workspaceId } = workspace
  const page = pageOf(served, credentials, accountId)
  const roleId = await checkAtPrefect(parts, wanted, { owner, page })
  // Looked at again: it may have got a key while Prefect was asked.
  requireFree(profile, keeper.current(profile) !== undefined, served)
  const id = newId()
  return {
    kind: 'service_account',
    id,
    profile,
    item: `key-${id}`,
    accountId,
    name,
    cloudApiUrl: owner.cloudApiUrl,
    startedAt: times.of(owner.cloudApiUrl).clock.now(),
    isNew: true,
    owner,
    page,
    ...(roleId === undefined ? {} : { share: { ownerProfile: served.profile, workspaceId, roleId } }),
  }
}

/** Rejects if the name is taken or the role is not there; returns the role's id, if there is to be one. */
async function checkAtPrefect(
  parts: ServiceAccountParts,
  { profile, name, role = DEFAULT_ROLE }: NewServiceAccount,
  { owner, page }: { readonly owner: CloudTarget; readonly page: AccountPage },
): Promise<string | undefined> {
  const { cloud } = parts
  const refused = (error: unknown): never => {
    throw roleNeeded(error, page)
  }
  const [namesake] = await cloud.serviceAccounts(owner, page.accountId, name).catch(refused)
  if (namesake !== undefined) {
    const isThere = findState(parts, profile) !== undefined
    const rotate = `prefect-auth service-account rotate ${quoteWord(name)} --profile ${quoteWord(profile)}`
    throw new BrokerError(
      'service_account_exists',
      `there is a service account ${shownName(name)} in this account already`,
      { hint: isThere ? rotate : 'prefect-auth service-account ls' },
    )
  }
  if (role === null) return undefined
  const roleId = await cloud.workspaceRole(owner, page.accountId, role).catch(refused)
  if (roleId === undefined) throw noRole(role)
  return roleId
}

export async function createNew(
  parts: ServiceAccountParts,
  { expiresAt }: NewServiceAccount,
  { owner, page, ...entry }: PlannedNew,
): Promise<{ readonly key: KeyFacts }> {
  const { vault, journal, cloud } = parts
  await vault.prove()
  await writeEntry(journal, entry)
  const { accountId, name } = entry
  const { minted } = await cloud
    .createServiceAccount(owner, accountId, { name, ...defined({ expiresAt }) })
    .catch((error: unknown) => dropUnmade(journal, entry.id, roleNeeded(error, page)))
  await storeKey(parts, entry, minted)
  try {
    return { key: keyFacts(await takeIntoUse(parts, entry)) }
  } catch (error) {
    throw isBrokerError(error) ? notYet(entry, page, error) : error
  }
}

function asking(
  { credentials }: ServiceAccountParts,
  { ownerProfile }: NewServiceAccount,
): { readonly served: Served; readonly owner: CloudTarget } {
  const served = requireCloud(credentials.serve(ownerProfile))
  return { served, owner: target(credentials, served) }
}

/** `undefined`: there is no such profile yet. */
function findState({ credentials }: ServiceAccountParts, profile: string) {
  try {
    return credentials.state(profile).resolved
  } catch (error) {
    if (isBrokerError(error, 'profile_not_found')) return undefined
    throw error
  }
}

/** A new service account's key replaces none. */
function requireFree(profile: string, hasKey: boolean, asking: Served): void {
  if (!hasKey && asking.profile !== profile) return
  throw new BrokerError(
    'profile_in_use',
    `profile ${shownName(profile)} has a key: a new service account needs a profile of its own`,
    { hint: 'prefect-auth service-account create NAME --profile PROFILE' },
  )
}

function noWorkspace(profile: string): BrokerError {
  return new BrokerError('workspace_required', `profile ${shownName(profile)} names no workspace`, {
    hint: `prefect-auth workspace set --profile ${quoteWord(profile)}`,
  })
}

function noRole(role: string): BrokerError {
  return new BrokerError(
    'prefect_not_found',
    `there is no workspace role ${shownName(role)} in this account`,
    {
      hint: 'check the roles of the account in the Prefect UI; without a role: --role none',
    },
  )
}

/** Created, and its key is in the vault. */
function notYet(
  { name, profile }: BotEntry,
  { uiUrl, accountId }: AccountPage,
  error: BrokerError,
): BrokerError {
  return new BrokerError(
    error.code,
    `service account ${shownName(name)} was created and its key is in the vault, but profile ${shownName(profile)} cannot use it yet: ${error.message}`,
    {
      hint: `check that it has a role in the workspace: ${uiUrl}/account/${accountId}; then it is used without further ado`,
      cause: error,
    },
  )
}
