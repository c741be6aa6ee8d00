/** The service accounts of an account: listed, and deleted if no profile has their key. */

import { BrokerError } from '../base/errors.js'
import type { KeyKeeper } from '../keys/keeper.js'
import { type KeyRecord, profileRecord, profilesServing } from '../keys/ledger.js'
import { shareBoundTo } from '../keys/shared.js'
import type { Turns } from '../keys/turns.js'
import { type AccountApi, type AccountPage, roleNeeded, type ServiceAccount } from '../prefect/account.js'
import { shownName } from '../profiles/bundled.js'
import { type Credentials, requireCloud, target } from '../serve/credentials.js'
import { quoteWord } from '../std/text.js'

export interface ListedServiceAccount extends ServiceAccount {
  /** The profiles that are served its newest key. */
  readonly profiles: readonly string[]
}

export interface ServiceAccountDirectory {
  /** Of the account of the profile's workspace. Rejects with `workspace_required`, or as `Credentials.serve` and `AccountApi` do. */
  list(profile?: string): Promise<{
    readonly profile: string
    readonly accountId: string
    readonly serviceAccounts: readonly ListedServiceAccount[]
  }>
  /**
   * By name or id, and all its keys with it. Rejects with `prefect_not_found`; with `profile_in_use` if a profile has one of its
   * keys, or, without `isSure`, a key of some service account of this account, and it is not known of which.
   */
  delete(
    nameOrId: string,
    options?: { readonly profile?: string; readonly isSure?: boolean },
  ): Promise<{ readonly id: string; readonly name: string; readonly outcome: 'deleted' | 'already_gone' }>
}

export function createServiceAccountDirectory({
  credentials,
  cloud,
  keeper,
  turns,
}: {
  readonly credentials: Credentials
  readonly cloud: Pick<AccountApi, 'serviceAccounts' | 'deleteServiceAccount'>
  readonly keeper: Pick<KeyKeeper, 'ledger' | 'find'>
  readonly turns: Turns
}): ServiceAccountDirectory {
  async function look(profile: string | undefined) {
    const served = requireCloud(credentials.serve(profile))
    const { workspace } = served
    if (workspace === undefined) {
      throw new BrokerError('workspace_required', `profile ${shownName(served.profile)} names no account`, {
        hint: `prefect-auth workspace set --profile ${quoteWord(served.profile)}`,
      })
    }
    const { accountId } = workspace
    const asked = target(credentials, served)
    const { cloudUiUrl: uiUrl } = credentials.state(served.profile).resolved
    const page: AccountPage = { accountId, uiUrl, name: 'Service Accounts' }
    const refused = (error: unknown): never => {
      throw roleNeeded(error, page)
    }
    const all = await cloud.serviceAccounts(asked, accountId).catch(refused)
    return { served, asked, accountId, all, refused }
  }

  const servedBy = (account: ServiceAccount, cloudApiUrl: string) => {
    const ledger = keeper.ledger()
    return Object.values(ledger.keys)
      .filter((record) => record.cloudApiUrl === cloudApiUrl && isKeyOf(record, account))
      .flatMap(({ item }) => profilesServing(ledger, item))
  }

  /** Profiles that its key is on the way to. */
  const awaitedBy = ({ name }: ServiceAccount, accountId: string, cloudApiUrl: string) =>
    Object.values(keeper.ledger().changes ?? {}).flatMap((entry) =>
      entry.kind === 'service_account' &&
      entry.name === name &&
      entry.accountId === accountId &&
      entry.cloudApiUrl === cloudApiUrl
        ? [entry.profile]
        : [],
    )

  /** A profile with the key of a service account of this account, of which nothing tells whose it is. */
  function findCandidate(all: readonly ServiceAccount[], cloudApiUrl: string, accountId: string) {
    const ledger = keeper.ledger()
    const record = Object.values(ledger.keys).find((one) => {
      const [profile] = profilesServing(ledger, one.item)
      if (profile === undefined || one.origin !== 'service_account' || one.cloudApiUrl !== cloudApiUrl)
        return false
      return (
        profileRecord(ledger, profile).owner?.id === accountId && !all.some((other) => isKeyOf(one, other))
      )
    })
    if (record !== undefined) return profilesServing(ledger, record.item)[0]
    return credentials.states().find(({ resolved: { fileKey, cloudApiUrl: host, workspace } }) => {
      if (fileKey?.startsWith('pnb_') !== true || host !== cloudApiUrl) return false
      return workspace?.accountId === accountId && keeper.find(fileKey, cloudApiUrl) === undefined
    })?.resolved.name
  }

  return {
    async list(profile) {
      const { served, asked, accountId, all } = await look(profile)
      const serviceAccounts = all.map((one) => ({ ...one, profiles: servedBy(one, asked.cloudApiUrl) }))
      return { profile: served.profile, accountId, serviceAccounts }
    },
    async delete(nameOrId, { profile, isSure = false } = {}) {
      const first = await look(profile)
      const wanted = requireFound(first.all, nameOrId)
      const users = servedBy(wanted, first.asked.cloudApiUrl)
      return turns.run([first.served.profile, ...users], async () => {
        // Its key may have been rotated before this turn: only its newest key tells who uses it.
        const { asked, accountId, all, refused } = await look(first.served.profile)
        const account = requireFound(all, wanted.id)
        const { id, name } = account
        const share = shareBoundTo(keeper.ledger(), { apiUrl: asked.cloudApiUrl, id })
        if (share !== undefined) throw sharedKey(name, share)
        const [user] = servedBy(account, asked.cloudApiUrl)
        if (user !== undefined) throw inUse(name, user)
        const [awaiting] = isSure ? [] : awaitedBy(account, accountId, asked.cloudApiUrl)
        if (awaiting !== undefined) throw maybeInUse(name, awaiting)
        const candidate = isSure ? undefined : findCandidate(all, asked.cloudApiUrl, accountId)
        if (candidate !== undefined) throw maybeInUse(name, candidate)
        const outcome = await cloud.deleteServiceAccount(asked, accountId, id).catch(refused)
        return { id, name, outcome }
      })
    },
  }
}

function requireFound(all: readonly ServiceAccount[], nameOrId: string): ServiceAccount {
  const account = all.find(({ id }) => id === nameOrId) ?? all.find(({ name }) => name === nameOrId)
  if (account !== undefined) return account
  throw new BrokerError(
    'prefect_not_found',
    `there is no service account ${shownName(nameOrId)} in this account`,
    { hint: 'prefect-auth service-account ls' },
  )
}

/** By the id of the newest key: Prefect tells no older one. */
function isKeyOf({ cloudId }: KeyRecord, { key }: ServiceAccount): boolean {
  return cloudId !== undefined && key?.id === cloudId
}

function inUse(name: string, profile: string): BrokerError {
  return new BrokerError(
    'profile_in_use',
    `profile ${shownName(profile)} uses the key of service account ${shownName(name)}`,
    { hint: `prefect-auth logout --profile ${quoteWord(profile)}` },
  )
}

function sharedKey(name: string, share: string): BrokerError {
  return new BrokerError(
    'profile_in_use',
    `share ${share} has the key of service account ${shownName(name)}, also on other machines`,
    { hint: `prefect-auth share leave ${share} --profile NAME      (on every machine)` },
  )
}

function maybeInUse(name: string, profile: string): BrokerError {
  return new BrokerError(
    'profile_in_use',
    `profile ${shownName(profile)} uses, or is about to use, the key of a service account of this account: it may be ${shownName(name)}`,
    { hint: `prefect-auth service-account delete ${quoteWord(name)} --yes      (if it is another one)` },
  )
}
