/**
 * A new key for a service account, made with an owner's key and kept for the profile that uses it. Prefect ends the old key
 * by itself a while later, so that a crash between its answer and our vault costs a second rotation, never a running job.
 */

import { BrokerError } from '../base/errors.js'
import type { Events } from '../base/events.js'
import { type BotEntry, dropEntry, type Journal, writeEntry } from '../keys/journal.js'
import type { KeyKeeper } from '../keys/keeper.js'
import type { KeyRecord } from '../keys/ledger.js'
import { keyFacts } from '../keys/ledger.js'
import type { Document } from '../os/document.js'
import type { CloudApi, CloudTarget, ServiceAccount, ServiceAccountsApi } from '../prefect/cloud.js'
import { verifyKey } from '../prefect/cloud.js'
import { shownName } from '../profiles/bundled.js'
import type { Served } from '../serve/credentials.js'
import { target } from '../serve/credentials.js'
import type { ServingCredentials } from '../serve/serve.js'
import type { Clock } from '../std/clock.js'
import { defined } from '../std/defined.js'
import type { Log } from '../std/log.js'
import { quoteWord } from '../std/text.js'
import type { Vault } from '../vault/vault.js'
import type { ServiceAccountAdmin } from './view.js'

interface RotateServiceAccountDeps {
  readonly credentials: ServingCredentials
  readonly keeper: KeyKeeper
  readonly vault: Pick<Vault, 'prove'>
  readonly cloud: CloudApi & ServiceAccountsApi
  readonly journal: Document<Journal>
  readonly events: Events
  /** Its wall time set right by Prefect's. */
  readonly clock: Clock
  readonly newId: () => string
  readonly log: Log
}

const DAY_MS = 24 * 3_600_000

type Wanted = Parameters<ServiceAccountAdmin['rotate']>[0]

/** `recover` finishes what a crash cut in two, and says what can't be finished. Never rejects. */
export function createServiceAccountAdmin(
  deps: RotateServiceAccountDeps,
): ServiceAccountAdmin & { recover(): Promise<void> } {
  const { journal, log } = deps
  const underWay = new Set<string>()
  return {
    async rotate(wanted) {
      const entry = await plan(deps, wanted)
      underWay.add(entry.id)
      try {
        return await rotate(deps, wanted, entry)
      } finally {
        underWay.delete(entry.id)
      }
    },
    async recover() {
      for (const entry of Object.values(journal.read().entries)) {
        if (entry.kind !== 'service_account' || underWay.has(entry.id)) continue
        try {
          await recoverOne(deps, entry)
        } catch (error) {
          log.warn({ profile: entry.profile, error }, 'a service account key could not be taken into use yet')
        }
      }
    },
  }
}

interface Planned extends BotEntry {
  readonly owner: CloudTarget
  readonly account: ServiceAccount
}

async function plan(deps: RotateServiceAccountDeps, wanted: Wanted): Promise<Planned> {
  const { credentials, keeper, cloud, clock, newId } = deps
  await credentials.refresh()
  const served = credentials.serve(wanted.ownerProfile)
  const owner = target(credentials, served)
  const { resolved } = credentials.state(wanted.profile)
  requireSuitable(deps, wanted.profile, served)
  if (resolved.kind === 'cloud' && resolved.cloudApiUrl !== owner.cloudApiUrl) {
    throw new BrokerError('key_host_mismatch', `profile ${shownName(wanted.profile)} points at another host`)
  }
  const accountId = resolved.workspace?.accountId ?? served.workspace?.accountId
  if (accountId === undefined) {
    throw new BrokerError('workspace_required', 'which account the service account is in is not known', {
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
  const { currentItem } = keeper.profile(wanted.profile)
  return {
    ...{ kind: 'service_account', id, profile: wanted.profile, item: `key-${id}`, accountId },
    name: wanted.name,
    cloudApiUrl: owner.cloudApiUrl,
    startedAt: clock.now(),
    owner,
    account,
    ...defined({ oldItem: currentItem }),
  }
}

/** A person's key must not be pushed aside by a robot's, least of all the one that asks. */
function requireSuitable({ keeper }: RotateServiceAccountDeps, profile: string, asking: Served): void {
  const { currentItem } = keeper.profile(profile)
  const record = currentItem === undefined ? undefined : keeper.ledger().keys[currentItem]
  const isOwners = record !== undefined && record.origin !== 'service_account'
  if (!isOwners && asking.profile !== profile) return
  throw new BrokerError(
    'owner_mismatch',
    `profile ${shownName(profile)} has a user's key: the service account's key goes to a profile of its own`,
    { hint: 'prefect-auth profile create NAME, then name it with --profile' },
  )
}

async function rotate(deps: RotateServiceAccountDeps, wanted: Wanted, planned: Planned) {
  const { vault, cloud, journal, keeper, clock } = deps
  const { owner, account, ...entry } = planned
  await vault.prove()
  await writeEntry(journal, entry)
  const oldKeyLivesMs = wanted.oldKeyLivesMs ?? DAY_MS
  const life = wanted.expiresInMs ?? account.keyLifeMs
  const minted = await cloud.rotateServiceAccountKey(owner, entry.accountId, account.id, {
    oldKeyLivesMs,
    ...(life === undefined ? {} : { expiresAt: clock.now() + life }),
  })
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
  return { key: keyFacts(await takeIntoUse(deps, entry)), oldKeyExpiresAt }
}

/** Only a key that Prefect accepts takes a place. Rejects with the entry left for `recover`. */
async function takeIntoUse(deps: RotateServiceAccountDeps, entry: BotEntry): Promise<KeyRecord> {
  const { keeper, cloud, events, credentials, journal } = deps
  const record = keeper.ledger().keys[entry.item]
  const key = keeper.keyOf(entry.item)
  if (record === undefined || key === undefined) {
    throw new BrokerError('login_state', 'the new key is not in the vault')
  }
  const { owner, workspaces } = await verifyKey(cloud, { cloudApiUrl: entry.cloudApiUrl, key })
  const { currentItem } = keeper.profile(entry.profile)
  if (currentItem !== entry.item && currentItem !== entry.oldItem) {
    await dropEntry(journal, entry.id)
    throw new BrokerError(
      'login_state',
      `profile ${shownName(entry.profile)} got another key in the meantime`,
    )
  }
  await keeper.promote(entry.item, { patch: { owner, workspaces } })
  await dropEntry(journal, entry.id)
  await credentials.settle()
  const { profile, fingerprint } = record
  events.emit('key.promoted', { profile, facts: { fingerprint } })
  return record
}

async function recoverOne(deps: RotateServiceAccountDeps, entry: BotEntry): Promise<void> {
  const { keeper, journal, events, log } = deps
  if (keeper.ledger().keys[entry.item] !== undefined) {
    await keeper.load()
    await takeIntoUse(deps, entry)
    return
  }
  const { profile, name } = entry
  const message = `rotating the key of service account ${shownName(name)} was cut off: its old key may end within a day`
  const hint = `prefect-auth keys rotate-service-account ${quoteWord(name)} --profile ${quoteWord(profile)}`
  await dropEntry(journal, entry.id)
  log.warn({ profile, name }, 'the rotation of a service account key was cut off')
  events.emit('renewal.warning', { profile, facts: { days: 1, message, hint } })
}
