/** Rotates the key of a service account with an owner's key, for the profile that uses it. */

import { BrokerError } from '../base/errors.js'
import type { Events } from '../base/events.js'
import { type BotEntry, dropEntry, type Journal, writeEntry } from '../keys/journal.js'
import type { KeyKeeper } from '../keys/keeper.js'
import { type KeyFacts, type KeyRecord, keyFacts, withoutChange } from '../keys/ledger.js'
import { tooLong } from '../keys/rotate.js'
import type { Turns } from '../keys/turns.js'
import type { Document } from '../os/document.js'
import {
  type CloudApi,
  type CloudTarget,
  type MintedKey,
  type ServiceAccount,
  type ServiceAccountsApi,
  verifyKey,
} from '../prefect/cloud.js'
import { livesTooLong, type ServerTimes } from '../prefect/server-time.js'
import { shownName } from '../profiles/bundled.js'
import { type Served, target } from '../serve/credentials.js'
import type { ServingCredentials } from '../serve/serve.js'
import { DAY_MS } from '../std/clock.js'
import { defined } from '../std/defined.js'
import type { Log } from '../std/log.js'
import { quoteWord } from '../std/text.js'
import type { Vault } from '../vault/vault.js'

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
}

interface ServiceAccountParts {
  readonly credentials: ServingCredentials
  readonly keeper: KeyKeeper
  readonly vault: Pick<Vault, 'prove'>
  readonly cloud: CloudApi & ServiceAccountsApi
  readonly turns: Turns
  readonly journal: Document<Journal>
  readonly events: Events
  readonly times: ServerTimes
  readonly newId: () => string
  readonly log: Log
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
  return {
    rotate: (wanted) =>
      turns.run([wanted.profile], async () => {
        const entry = await plan(parts, wanted)
        underWay.add(entry.id)
        try {
          return await rotate(parts, wanted, entry)
        } finally {
          underWay.delete(entry.id)
        }
      }),
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
  const account = (await cloud.serviceAccounts(owner, accountId, wanted.name))[0]
  if (account === undefined) {
    throw new BrokerError(
      'prefect_not_found',
      `there is no service account ${shownName(wanted.name)} in this account`,
    )
  }
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
    ...defined({ oldItem }),
  }
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
  const { owner, account, ...entry } = planned
  const { clock } = times.of(entry.cloudApiUrl)
  await vault.prove()
  await writeEntry(journal, entry)
  const oldKeyLivesMs = wanted.oldKeyLivesMs ?? DAY_MS
  const minted = await make(parts, planned, oldKeyLivesMs, wanted.expiresInMs ?? account.keyLifeMs)
  const oldKeyExpiresAt = clock.now() + oldKeyLivesMs
  await keeper.store(minted.key, {
    item: entry.item,
    profile: entry.profile,
    cloudApiUrl: entry.cloudApiUrl,
    origin: 'service_account',
    cloudId: minted.id,
    name: minted.name,
    issuedAt: minted.createdAt ?? clock.now(),
    ...defined({ expiresAt: minted.expiresAt }),
  })
  if (entry.oldItem !== undefined) await keeper.noteExpiry(entry.oldItem, oldKeyExpiresAt)
  return { key: keyFacts(await takeIntoUse(parts, entry)), oldKeyExpiresAt }
}

/** A key that lives longer than asked is rotated away: its own answer tells Prefect's time. */
async function make(
  { cloud, times }: ServiceAccountParts,
  { owner, account, accountId, cloudApiUrl }: Planned,
  oldKeyLivesMs: number,
  lifeMs: number | undefined,
): Promise<MintedKey> {
  const time = times.of(cloudApiUrl)
  const ask = () =>
    cloud.rotateServiceAccountKey(owner, accountId, account.id, {
      oldKeyLivesMs,
      ...defined({ expiresAt: lifeMs === undefined ? undefined : time.endOfLife(lifeMs) }),
    })
  const first = await ask()
  if (lifeMs === undefined || first.createdAt === undefined || !livesTooLong(first, lifeMs)) return first
  time.note(first.createdAt)
  // Not at once: Prefect may end every older key with it, and a job may hold one.
  const second = await ask()
  if (second.expiresAt !== undefined && livesTooLong(second, lifeMs)) throw tooLong(second.expiresAt)
  return second
}

/** Makes the new key current if Prefect accepts it. On failure the entry is left for `recover`. */
async function takeIntoUse(
  { keeper, cloud, events, credentials, journal }: ServiceAccountParts,
  entry: BotEntry,
): Promise<KeyRecord> {
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

async function recoverOne(parts: ServiceAccountParts, entry: BotEntry): Promise<void> {
  const { keeper, events, log } = parts
  const { profile, name, item, cloudApiUrl, startedAt: issuedAt } = entry
  // The vault may have the key already, and Prefect lets the one before it expire: it is not made a second time.
  const about = { item, profile, cloudApiUrl, origin: 'service_account', issuedAt } as const
  if (keeper.ledger().keys[item] !== undefined || (await keeper.recall(about)) !== undefined) {
    await keeper.load()
    await takeIntoUse(parts, entry)
    return
  }
  const message = `the key rotation of service account ${shownName(name)} was interrupted: its old key may expire within a day`
  const hint = `prefect-auth keys rotate-service-account ${quoteWord(name)} --profile ${quoteWord(profile)}`
  await keeper.apply((ledger) => withoutChange(ledger, entry.id))
  log.warn({ profile, name }, 'service account key rotation interrupted')
  events.emit('renewal.warning', { profile, facts: { days: 1, message, hint } })
}
