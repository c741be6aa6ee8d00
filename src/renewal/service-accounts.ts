/** Creates service accounts and rotates their keys, with an owner's key, for the profile that uses them. */

import { BrokerError } from '../base/errors.js'
import { type BotEntry, writeEntry } from '../keys/journal.js'
import type { KeyKeeper } from '../keys/keeper.js'
import { type KeyFacts, type KeyRecord, keyFacts } from '../keys/ledger.js'
import { tooLong } from '../keys/rotate.js'
import { shareBoundTo } from '../keys/shared.js'
import { type AccountPage, roleNeeded, type ServiceAccount } from '../prefect/account.js'
import type { CloudTarget, MintedKey } from '../prefect/cloud.js'
import { livesTooLong } from '../prefect/server-time.js'
import { shownName } from '../profiles/bundled.js'
import { type Served, target } from '../serve/credentials.js'
import { DAY_MS } from '../std/clock.js'
import { defined } from '../std/defined.js'
import { quoteWord } from '../std/text.js'
import { createNew, type NewServiceAccount, planNew, prepareProfile } from './new-service-account.js'
import {
  dropUnmade,
  pageOf,
  recoverOne,
  type ServiceAccountParts,
  storeKey,
  takeIntoUse,
} from './service-account-key.js'

export interface ServiceAccountAdmin {
  /**
   * Makes a new key at Prefect for the service account of this name, with the key of `ownerProfile` (default: the active
   * one), and keeps it for `profile`. The old key lives on for `oldKeyLivesMs` (default: a day). Rejects with
   * `prefect_not_found` if there is no such service account, `prefect_forbidden` if the owner may not rotate its key, or as
   * `CloudApi` and `Vault` do.
   */
  rotate(wanted: {
    readonly profile: string
    readonly name: string
    readonly ownerProfile?: string
    readonly oldKeyLivesMs?: number
    /** Default: the lifetime of the key before. */
    readonly expiresInMs?: number
  }): Promise<{ readonly key: KeyFacts; readonly oldKeyExpiresAt: number }>
  /**
   * Creates a service account at Prefect and keeps its key for `profile`, which is created if it is not there. It gets the role in
   * the workspace of the profile. Rejects with `service_account_exists`, `profile_in_use` if the profile has a key, or as `rotate`
   * does. A failure after the creation loses no key: `recover` goes on.
   */
  create(wanted: NewServiceAccount): Promise<{ readonly key: KeyFacts }>
}

type Wanted = Parameters<ServiceAccountAdmin['rotate']>[0]

/**
 * `recover` finishes what a crash interrupted, and warns of what it cannot finish. Never rejects. Prefect keeps the old key
 * alive for a while, so a crash between its response and our vault costs a second rotation, never a running job.
 */
export function createServiceAccountAdmin(
  parts: ServiceAccountParts,
): ServiceAccountAdmin & { recover(): Promise<void> } {
  const { journal, log, turns } = parts
  const underWay = new Set<string>()

  async function inTurn<P extends BotEntry, T>(
    profile: string,
    plan: () => Promise<P>,
    act: (planned: P) => Promise<T>,
  ): Promise<T> {
    return turns.run([profile], async () => {
      const entry = await plan()
      underWay.add(entry.id)
      try {
        return await act(entry)
      } finally {
        underWay.delete(entry.id)
      }
    })
  }

  return {
    rotate: (wanted) =>
      inTurn(
        wanted.profile,
        () => plan(parts, wanted),
        (entry) => rotate(parts, wanted, entry),
      ),
    async create(wanted) {
      await prepareProfile(parts, wanted)
      return inTurn(
        wanted.profile,
        () => planNew(parts, wanted),
        (entry) => createNew(parts, wanted, entry),
      )
    },
    async recover() {
      for (const entry of Object.values(journal.read().entries)) {
        if (entry.kind !== 'service_account' || underWay.has(entry.id)) continue
        try {
          await turns.run([entry.profile], async () => {
            const now = journal.read().entries[entry.id]
            if (now?.kind === 'service_account' && !underWay.has(now.id)) await recoverOne(parts, now)
          })
        } catch (error) {
          log.warn({ profile: entry.profile, error }, 'service account key not in use yet; will retry')
        }
      }
    },
  }
}

interface Planned extends BotEntry {
  readonly owner: CloudTarget
  readonly account: ServiceAccount
  readonly page: AccountPage
}

async function plan(
  { credentials, keeper, cloud, times, newId }: ServiceAccountParts,
  wanted: Wanted,
): Promise<Planned> {
  await credentials.refresh()
  const served = credentials.serve(wanted.ownerProfile)
  const owner = target(credentials, served)
  const { resolved } = credentials.state(wanted.profile)
  const current = keeper.current(wanted.profile)
  requireSuitable(wanted.profile, current, served)
  if (resolved.kind === 'cloud' && resolved.cloudApiUrl !== owner.cloudApiUrl) {
    throw new BrokerError('key_host_mismatch', `profile ${shownName(wanted.profile)} points at another host`)
  }
  const accountId = resolved.workspace?.accountId ?? served.workspace?.accountId
  if (accountId === undefined) {
    throw new BrokerError('workspace_required', 'the account of the service account is not known', {
      hint: `prefect-auth workspace set --profile ${quoteWord(wanted.profile)}`,
    })
  }
  const page = pageOf(served, credentials, accountId)
  const [account] = await cloud.serviceAccounts(owner, accountId, wanted.name).catch((error: unknown) => {
    throw roleNeeded(error, page)
  })
  if (account === undefined) throw noServiceAccount(wanted.name)
  requireUnshared(keeper, owner.cloudApiUrl, account)
  const id = newId()
  // Looked up again: it may have changed while Prefect was asked.
  const oldItem = keeper.current(wanted.profile)?.item
  return {
    kind: 'service_account',
    id,
    profile: wanted.profile,
    item: `key-${id}`,
    accountId,
    name: wanted.name,
    cloudApiUrl: owner.cloudApiUrl,
    startedAt: times.of(owner.cloudApiUrl).clock.now(),
    owner,
    account,
    page,
    ...defined({ oldItem }),
  }
}

export function noServiceAccount(name: string): BrokerError {
  return new BrokerError(
    'prefect_not_found',
    `there is no service account ${shownName(name)} in this account`,
    {
      hint: 'prefect-auth service-account ls',
    },
  )
}

/** The machines of a share would take the new key for a stranger's. */
function requireUnshared(
  keeper: Pick<KeyKeeper, 'ledger'>,
  apiUrl: string,
  { id, name }: ServiceAccount,
): void {
  const share = shareBoundTo(keeper.ledger(), { apiUrl, id })
  if (share === undefined) return
  throw new BrokerError(
    'share_rotation_refused',
    `service account ${shownName(name)} is the one of share ${share}, whose machines rotate its key`,
    { hint: `prefect-auth share rotate ${share} --now` },
  )
}

/** A service account's key must not replace a user's, least of all the one that rotates it. */
function requireSuitable(profile: string, current: KeyRecord | undefined, asking: Served): void {
  const isUsers = current !== undefined && current.origin !== 'service_account'
  if (!isUsers && asking.profile !== profile) return
  throw new BrokerError(
    'owner_mismatch',
    `profile ${shownName(profile)} has a user's key: the service account needs a profile of its own`,
    { hint: 'prefect-auth profile create NAME, then name it with --profile' },
  )
}

async function rotate(parts: ServiceAccountParts, wanted: Wanted, planned: Planned) {
  const { vault, journal, keeper, times } = parts
  const { owner: _, account, page: __, ...entry } = planned
  const { clock } = times.of(entry.cloudApiUrl)
  await vault.prove()
  await writeEntry(journal, entry)
  const oldKeyLivesMs = wanted.oldKeyLivesMs ?? DAY_MS
  const minted = await make(parts, planned, oldKeyLivesMs, wanted.expiresInMs ?? account.keyLifeMs)
  const oldKeyExpiresAt = clock.now() + oldKeyLivesMs
  await storeKey(parts, entry, minted)
  if (entry.oldItem !== undefined) await keeper.noteExpiry(entry.oldItem, oldKeyExpiresAt)
  return { key: keyFacts(await takeIntoUse(parts, entry)), oldKeyExpiresAt }
}

/** A key that lives longer than asked is rotated away: its own answer tells Prefect's time. */
async function make(
  parts: ServiceAccountParts,
  { owner, account, accountId, cloudApiUrl, page, ...entry }: Planned,
  oldKeyLivesMs: number,
  lifeMs: number | undefined,
): Promise<MintedKey> {
  const { cloud, times, journal } = parts
  const time = times.of(cloudApiUrl)
  const ask = () =>
    cloud.rotateServiceAccountKey(owner, accountId, account.id, {
      oldKeyLivesMs,
      ...defined({ expiresAt: lifeMs === undefined ? undefined : time.endOfLife(lifeMs) }),
    })
  const first = await ask().catch((error: unknown) => dropUnmade(journal, entry.id, roleNeeded(error, page)))
  if (lifeMs === undefined || first.createdAt === undefined || !livesTooLong(first, lifeMs)) return first
  time.note(first.createdAt)
  // Not at once: Prefect may end every older key with it, and a job may hold one.
  const second = await ask()
  if (second.expiresAt !== undefined && livesTooLong(second, lifeMs)) throw tooLong(second.expiresAt)
  return second
}
