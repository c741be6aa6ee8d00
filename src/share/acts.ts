/** What a person does with a share: put its first key there, take a key over, give the key to one more profile. */

import { BrokerError } from '../base/errors.js'
import { profilesServing } from '../keys/ledger.js'
import { type SharedKey, shareBoundTo } from '../keys/shared.js'
import type { ServiceAccount } from '../prefect/account.js'
import { type CloudTarget, verifyKey } from '../prefect/cloud.js'
import { shownName } from '../profiles/bundled.js'
import { noServiceAccount } from '../renewal/service-accounts.js'
import { DAY_MS, MINUTE_MS } from '../std/clock.js'
import { defined } from '../std/defined.js'
import type { Secret } from '../std/secret.js'
import { formatDuration } from '../std/time.js'
import type { ShareContext, ShareStanding } from './context.js'
import { MAX_LISTED, type ShareDocument, writeDocument } from './document.js'
import { leastLifeMs, leastOverlapMs, type Pace } from './pace.js'
import { type ProbeFindings, type ProbeParts, probePrefect } from './probe.js'
import { examineRotator } from './rotator.js'
import { keepMinted, promoteFor, rotatorKey, textOf, verifyShared } from './steps.js'

export interface NewShare extends Partial<Pace> {
  readonly serviceAccount: string
}

const DEFAULT_PACE: Pace = { everyMs: MINUTE_MS, overlapMs: DAY_MS, lifeMs: 30 * DAY_MS }

/** The pace, if its overlap and its lifetime are long enough. */
export function requirePace(wanted: Partial<Pace>): Pace {
  const pace = { ...DEFAULT_PACE, ...wanted }
  const leastOverlap = leastOverlapMs(pace)
  if (pace.overlapMs < leastOverlap) throw tooShort('overlap', pace.overlapMs, leastOverlap)
  const leastLife = leastLifeMs(pace)
  if (pace.lifeMs < leastLife) throw tooShort('lifetime', pace.lifeMs, leastLife)
  return pace
}

function tooShort(what: string, givenMs: number, leastMs: number): BrokerError {
  const least = formatDuration(Math.ceil(leastMs / MINUTE_MS) * MINUTE_MS)
  return new BrokerError(
    'share_pace_invalid',
    `the ${what} of ${formatDuration(givenMs)} is too short: at least ${least}`,
    {
      hint: `check docs/fleet.md for the formula, and give --${what} ${least} or more`,
    },
  )
}

/** With which key this machine rotates, and in which account. Throws why it may not. */
async function requireOwner(context: ShareContext) {
  const { name, settings, credentials } = context
  if (settings.rotateWith === undefined) {
    throw new BrokerError(
      'share_rotation_refused',
      'this machine may not rotate the key of a service account',
      {
        hint: `set rotate = true and rotate_with in [share.${name}] of config.toml`,
      },
    )
  }
  const served = credentials.serve(settings.rotateWith)
  const { cloudApiUrl: apiUrl } = credentials.state(served.profile).resolved
  const accountId = served.workspace?.accountId
  if (accountId === undefined) {
    throw new BrokerError('workspace_required', 'the account of the service account is not known', {
      hint: `prefect-auth workspace set --profile ${served.profile}`,
    })
  }
  const owner = rotatorKey(context, apiUrl)
  const { problem } = (await examineRotator(context, { apiUrl, accountId })) ?? {}
  if (problem !== undefined) throw problem
  return { owner, apiUrl, accountId }
}

export async function initShare(
  context: ShareContext,
  { serviceAccount, ...wanted }: NewShare,
): Promise<void> {
  const { store, cloud, keep } = context
  const pace = requirePace(wanted)
  if (context.settings.rotateWith !== undefined && (await store.read()) !== undefined) throw exists(context)
  const { owner, apiUrl, accountId } = await requireOwner(context)
  const [account] = await cloud.serviceAccounts(owner, accountId, serviceAccount)
  if (account === undefined) throw noServiceAccount(serviceAccount)
  const first = await firstKey(context, { owner, account, accountId, pace })
  const { item: _, ...current } = first
  const document: ShareDocument = {
    ...{ n: 1, apiUrl, accountId, serviceAccount: { id: account.id, name: account.name } },
    ...{ pace, current, abandoned: [], foreign: [] },
  }
  const bound = { apiUrl, accountId, serviceAccountId: account.id }
  await keep((record) => ({ ...record, bound }))
  const data = writeDocument(document, (id) => textOf(context, id))
  if ((await store.write(data, undefined)) === 'conflict') throw exists(context)
}

/** What Prefect does with the keys of this service account, or of one that is made for it; see `ProbeFindings`. Takes minutes. */
export async function probeShare(
  context: ShareContext,
  serviceAccount: string | undefined,
  signal: AbortSignal,
): Promise<ProbeFindings> {
  const { cloud, clock, newId, times, keeper } = context
  const { owner, apiUrl, accountId } = await requireOwner(context)
  const parts: ProbeParts = {
    ...{ cloud, clock, newId, owner, accountId, signal },
    endOfLife: (lifeMs) => times.of(apiUrl).endOfLife(lifeMs),
  }
  if (serviceAccount === undefined) return probePrefect(parts)
  const [account] = await cloud.serviceAccounts(owner, accountId, serviceAccount)
  if (account === undefined) throw noServiceAccount(serviceAccount)
  const ledger = keeper.ledger()
  const share = shareBoundTo(ledger, { apiUrl, id: account.id })
  const record = Object.values(ledger.keys).find(({ cloudId }) => cloudId === account.key?.id)
  const [profile] = record === undefined ? [] : profilesServing(ledger, record.item)
  if (share === undefined && profile === undefined) return probePrefect(parts, account)
  const user = share === undefined ? `profile ${shownName(profile ?? '')}` : `share ${share}`
  throw new BrokerError(
    'profile_in_use',
    `${user} has the key of service account ${shownName(serviceAccount)}: the probe would end it`,
    { hint: 'name a service account that nobody needs, or none' },
  )
}

/** The key of an earlier attempt whose document was not written, if Prefect still calls it the newest. */
async function firstKey(
  context: ShareContext,
  {
    owner,
    account,
    accountId,
    pace,
  }: {
    readonly owner: CloudTarget
    readonly account: ServiceAccount
    readonly accountId: string
    readonly pace: Pace
  },
): Promise<SharedKey> {
  const { record, vault, cloud, times } = context
  const known = record().kept.find(({ id }) => id === account.key?.id)
  if (known !== undefined) return known
  await vault.prove()
  const minted = await cloud.rotateServiceAccountKey(owner, accountId, account.id, {
    oldKeyLivesMs: pace.overlapMs,
    expiresAt: times.of(owner.cloudApiUrl).endOfLife(pace.lifeMs),
  })
  return keepMinted(context, { apiUrl: owner.cloudApiUrl, name: account.name }, minted)
}

function exists({ store, name }: ShareContext): BrokerError {
  return new BrokerError('share_exists', `there is a document at ${store.where} already`, {
    hint: `prefect-auth share use ${name}`,
  })
}

/** One more profile is served the key that the others have. */
export async function giveKey(context: ShareContext, profile: string): Promise<void> {
  const { record, keeper, cloud } = context
  const { held } = record()
  const known = held === undefined ? undefined : keeper.ledger().keys[held.item]
  const key = held === undefined ? undefined : keeper.keyOf(held.item)
  if (held === undefined || known === undefined || key === undefined) {
    throw new BrokerError('vault_unavailable', 'the vault does not have the shared key')
  }
  const found = await verifyKey(cloud, { cloudApiUrl: known.cloudApiUrl, key, profile })
  await promoteFor(context, profile, {
    key,
    found,
    mark: held,
    name: known.name ?? '',
    apiUrl: known.cloudApiUrl,
  })
}

/** Prefect's newest key is the one that is adopted: its text alone does not say which one it is. */
export async function adoptKey(context: ShareContext, standing: ShareStanding, key: Secret): Promise<void> {
  const { document, trouble } = standing
  const { cloud, store } = context
  if (document === undefined)
    throw trouble ?? new BrokerError('share_not_ready', `there is no document at ${store.where}`)
  const { apiUrl: cloudApiUrl, accountId, serviceAccount } = document
  await verifyShared(cloud, { cloudApiUrl, key }, accountId)
  const owner = rotatorKey(context, cloudApiUrl)
  const all = await cloud.serviceAccounts(owner, accountId, serviceAccount.name)
  const { id, createdAt, expiresAt } = all.find((one) => one.id === serviceAccount.id)?.key ?? {}
  if (id === undefined || createdAt === undefined || createdAt <= document.current.createdAt) {
    throw new BrokerError(
      'key_not_found',
      'Prefect has no newer key of this service account than the shared one',
      {
        hint: `prefect-auth share status`,
      },
    )
  }
  const stored = await store.read()
  const { claim: _, mintBy: __, ...rest } = document
  const next: ShareDocument = {
    ...rest,
    n: document.n + 1,
    current: { id, createdAt, ...defined({ expiresAt }) },
    previous: document.current,
    foreign: [...document.foreign.filter((one) => one.id !== id), { id, createdAt }].slice(-MAX_LISTED),
  }
  const data = writeDocument(next, (wanted) => (wanted === id ? key : textOf(context, wanted)))
  const written = stored === undefined ? 'conflict' : await store.write(data, stored.version)
  if (written === 'conflict') {
    throw new BrokerError('share_mismatch', 'another machine wrote the document just now', {
      hint: `check prefect-auth share status, and try again`,
    })
  }
}
