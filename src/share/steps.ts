/** Does what the protocol says: reads and writes the store, asks Prefect, and puts keys into the vault. */

import { BrokerError, isBrokerError } from '../base/errors.js'
import { CERTAINLY_NOT_MINTED } from '../keys/rotate.js'
import { holderOf, type SharedKey, shareOf } from '../keys/shared.js'
import { type CloudApi, type CloudTarget, type MintedKey, verifyKey } from '../prefect/cloud.js'
import { target } from '../serve/credentials.js'
import { MINUTE_MS } from '../std/clock.js'
import { defined } from '../std/defined.js'
import type { Secret } from '../std/secret.js'
import type { ShareContext } from './context.js'
import { type KeyMark, readDocument, type ShareDocument, writeDocument } from './document.js'
import type { Step } from './plan.js'
import type { Heard, View } from './view.js'

export interface Performed {
  readonly heard: readonly Heard[]
  readonly trouble?: BrokerError
}

/** Never rejects for what can happen: `trouble`. `tell` is for what must be known before something is sent. */
export async function perform(
  context: ShareContext,
  view: View,
  step: Exclude<Step, { do: 'rest' }>,
  tell: (event: Heard) => void,
): Promise<Performed> {
  switch (step.do) {
    case 'read':
      return orTrouble(() => read(context), { kind: 'failed', what: 'read' })
    case 'ask':
      return orTrouble(() => ask(context, view), { kind: 'failed', what: 'ask' })
    case 'verify':
      return orTrouble(() => verify(context, view, step.id), { kind: 'refused', id: step.id })
    case 'take':
      return orTrouble(() => take(context, view, step), { kind: 'refused', id: step.key.id })
    case 'drop':
      return { heard: [await drop(context, step)] }
    case 'write':
      return write(context, view, step, tell)
    case 'mint':
      return mint(context, view, step)
  }
}

async function orTrouble(work: () => Promise<readonly Heard[]>, otherwise: Heard): Promise<Performed> {
  try {
    return { heard: await work() }
  } catch (error) {
    if (isBrokerError(error)) return { heard: [otherwise], trouble: error }
    throw error
  }
}

async function read({ store, record, keep, texts, clock, name }: ShareContext): Promise<readonly Heard[]> {
  const stored = await store.read()
  if (stored === undefined) {
    throw new BrokerError('share_not_ready', `there is no document at ${store.where} yet`, {
      hint: `prefect-auth share init ${name} --service-account NAME`,
    })
  }
  const { document, keys } = readDocument(stored.data, store.where)
  const { apiUrl, accountId, serviceAccount } = document
  const bound = record().bound
  const isOther =
    bound !== undefined &&
    (bound.apiUrl !== apiUrl || bound.accountId !== accountId || bound.serviceAccountId !== serviceAccount.id)
  if (isOther) {
    throw new BrokerError('share_mismatch', `the document at ${store.where} is of another service account`, {
      hint: `check whether two shares have one path; to take it: prefect-auth share leave ${name}`,
    })
  }
  if (bound === undefined) {
    await keep((known) => ({ ...known, bound: { apiUrl, accountId, serviceAccountId: serviceAccount.id } }))
  }
  texts.clear()
  for (const [id, key] of keys) texts.set(id, key)
  return [{ kind: 'read', document, version: stored.version, now: clock.monotonic() }]
}

/** The key of `rotate_with`. Throws why there is none. */
export function rotatorKey({ credentials, settings }: ShareContext, apiUrl: string): CloudTarget {
  const key = target(credentials, credentials.serve(settings.rotateWith))
  if (key.cloudApiUrl === apiUrl) return key
  throw new BrokerError(
    'key_host_mismatch',
    `the profile that rotates points at ${key.cloudApiUrl}, the share at ${apiUrl}`,
  )
}

function documentOf({ seen }: View): ShareDocument {
  if (seen === undefined) throw new BrokerError('internal', 'a share acts without its document')
  return seen.document
}

async function ask(context: ShareContext, view: View): Promise<readonly Heard[]> {
  const { cloud, clock, times } = context
  const { apiUrl, accountId, serviceAccount } = documentOf(view)
  const askedAt = clock.monotonic()
  const found = await cloud.serviceAccounts(rotatorKey(context, apiUrl), accountId, serviceAccount.name)
  const account = found.find(({ id }) => id === serviceAccount.id)
  if (account === undefined) {
    throw new BrokerError('prefect_not_found', `there is no service account ${serviceAccount.name} any more`)
  }
  const time = times.of(apiUrl)
  const asOf = time.toldAt() ?? time.clock.now()
  const { id, createdAt, expiresAt } = account.key ?? {}
  const newest =
    id === undefined || createdAt === undefined ? undefined : { id, createdAt, ...defined({ expiresAt }) }
  return [{ kind: 'told', asOf, askedAt, ...defined({ newest }) }]
}

/** The text of a key that the document, or this machine's vault, has. */
export function textOf({ texts, record, keeper }: ShareContext, id: string): Secret | undefined {
  const { held, kept } = record()
  const own = [...kept, held ?? []].flat().find((key) => key.id === id)
  return (own === undefined ? undefined : keeper.keyOf(own.item)) ?? texts.get(id)
}

async function verified(context: ShareContext, view: View, id: string) {
  const { cloud, record } = context
  const { apiUrl: cloudApiUrl, accountId } = documentOf(view)
  const key = textOf(context, id)
  if (key === undefined) throw new BrokerError('vault_unavailable', 'the vault does not have the shared key')
  const [profile] = record().profiles
  return { key, found: await verifyShared(cloud, { cloudApiUrl, key, ...defined({ profile }) }, accountId) }
}

/** Whose key it is. Rejects as `verifyKey` does, and with `share_mismatch` if it is no service account's of this account. */
export async function verifyShared(
  cloud: CloudApi,
  target: CloudTarget,
  accountId: string,
): ReturnType<typeof verifyKey> {
  const found = await verifyKey(cloud, target)
  const { owner } = found
  // The one is from an answer, the other from somebody's URL.
  const isOfAccount = owner.id.toLowerCase() === accountId.toLowerCase()
  if (owner.kind === 'service_account' && isOfAccount) return found
  const whose = owner.kind === 'user' ? `user ${owner.handle}` : `account ${owner.handle}`
  throw new BrokerError(
    'share_mismatch',
    `the key belongs to ${whose}, not to the service account of the share`,
    {
      hint: 'check who has put it there',
    },
  )
}

async function verify(context: ShareContext, view: View, id: string): Promise<readonly Heard[]> {
  await verified(context, view, id)
  return [{ kind: 'accepted', id }]
}

/** Every profile of the share gets the key. */
async function take(
  context: ShareContext,
  view: View,
  step: Extract<Step, { do: 'take' }>,
): Promise<readonly Heard[]> {
  const { keeper, record, keep } = context
  const { apiUrl, serviceAccount } = documentOf(view)
  const { id, createdAt, expiresAt, n } = step.key
  const { key, found } = await verified(context, view, id)
  for (const profile of record().profiles) {
    await promoteFor(context, profile, { key, found, mark: step.key, name: serviceAccount.name, apiUrl })
  }
  const item = keeper.find(key, apiUrl)?.item
  // A machine without a profile only keeps what it has minted.
  if (item === undefined) return [{ kind: 'refused', id }]
  await keep((known) => ({ ...known, held: { item, id, createdAt, n, ...defined({ expiresAt }) } }))
  return [{ kind: 'taken', key: step.key }]
}

/**
 * One change: the key is in the vault before the profile is served it. Nothing happens if the profile has left the share, or points
 * at another host.
 */
export async function promoteFor(
  { changes, newId, times, keeper, credentials, name: share }: ShareContext,
  profile: string,
  given: {
    readonly key: Secret
    readonly found: Awaited<ReturnType<typeof verifyKey>>
    readonly mark: KeyMark
    /** Of the service account. */
    readonly name: string
    readonly apiUrl: string
  },
): Promise<void> {
  const { key, found, name, apiUrl: cloudApiUrl } = given
  const { id: cloudId, createdAt: issuedAt, expiresAt } = given.mark
  const origin = 'service_account' as const
  const about = { item: `key-${newId()}`, profile, cloudApiUrl, origin, cloudId, name, issuedAt }
  const keys = [{ key, about: { ...about, ...defined({ expiresAt }) } }]
  const promote = { profile, at: times.of(cloudApiUrl).clock.now(), ...found }
  await changes.run([profile], async () => {
    const isTied = shareOf(keeper.ledger(), profile) === share
    const isHome = credentials.listed(profile)?.resolved.cloudApiUrl === cloudApiUrl
    return isTied && isHome ? { act: 'share', keys, outcome: { promote } } : { act: 'share' }
  })
}

async function drop(
  { record, keep, keeper }: ShareContext,
  { id }: Extract<Step, { do: 'drop' }>,
): Promise<Heard> {
  const dropped = record().kept.find((key) => key.id === id)
  await keep((known) => ({ ...known, kept: known.kept.filter((key) => key.id !== id) }))
  const isServed = Object.values(keeper.ledger().profiles).some(
    ({ currentItem }) => currentItem === dropped?.item,
  )
  if (dropped !== undefined && !isServed && record().held?.item !== dropped.item)
    await keeper.forget(dropped.item)
  return { kind: 'dropped', id }
}

async function write(
  context: ShareContext,
  view: View,
  { why, document }: Extract<Step, { do: 'write' }>,
  tell: (event: Heard) => void,
): Promise<Performed> {
  const { store, clock, keep } = context
  const { claim: intent } = document
  if (why === 'claim' && intent !== undefined) {
    await keep((known) => ({ ...known, intents: [intent] }))
    // The turn counts from before it is sent.
    tell({ kind: 'claiming', intent, now: clock.monotonic() })
  }
  try {
    const data = writeDocument(document, (id) => textOf(context, id))
    const written = await store.write(data, view.seen?.version)
    if (written === 'conflict') return { heard: [{ kind: 'conflict' }] }
    return { heard: [{ kind: 'written', document, version: written.version, now: clock.monotonic() }] }
  } catch (error) {
    if (!isBrokerError(error)) throw error
    // Without an answer it may have been done: it is read again.
    const isUnknown = error.code === 'share_store_unreachable'
    return { heard: [isUnknown ? { kind: 'conflict' } : { kind: 'failed', what: 'write' }], trouble: error }
  }
}

async function mint(
  context: ShareContext,
  view: View,
  step: Extract<Step, { do: 'mint' }>,
): Promise<Performed> {
  const { cloud, vault, times, retryAt } = context
  const { apiUrl, accountId, serviceAccount } = documentOf(view)
  let minted: MintedKey
  try {
    const key = rotatorKey(context, apiUrl)
    await vault.prove()
    minted = await cloud.rotateServiceAccountKey(key, accountId, serviceAccount.id, {
      oldKeyLivesMs: step.overlapMs,
      expiresAt: times.of(apiUrl).endOfLife(step.lifeMs),
    })
  } catch (error) {
    if (!isBrokerError(error)) throw error
    const isUnsent = !error.code.startsWith('prefect_')
    const isCertain = isUnsent || CERTAINLY_NOT_MINTED.includes(error.code)
    return { heard: [{ kind: 'unminted', isCertain, notBefore: retryAt(error) }], trouble: error }
  }
  const { item: _, ...key } = await keepMinted(context, { apiUrl, name: serviceAccount.name }, minted)
  return { heard: [{ kind: 'minted', key }] }
}

/** From here on the key is durable. What the vault does not take is tried again for a minute: nobody else has it. */
export async function keepMinted(
  { keeper, keep, newId, times, clock, log, name }: ShareContext,
  account: { readonly apiUrl: string; readonly name: string },
  { key, id, createdAt = times.of(account.apiUrl).clock.now(), expiresAt }: MintedKey,
): Promise<SharedKey> {
  const until = clock.monotonic() + MINUTE_MS
  for (;;) {
    try {
      const { item } = await keeper.store(key, {
        ...{ item: `key-${newId()}`, profile: holderOf(name), cloudApiUrl: account.apiUrl },
        ...({ origin: 'service_account', cloudId: id, name: account.name, issuedAt: createdAt } as const),
        ...defined({ expiresAt }),
      })
      const kept = { item, id, createdAt, ...defined({ expiresAt }) }
      await keep((known) => ({ ...known, kept: [...known.kept, kept] }))
      return kept
    } catch (error) {
      if (!isBrokerError(error) || clock.monotonic() > until) throw error
      log.error({ share: name, error }, 'a minted key is not in the vault yet; will retry')
      await new Promise<void>((resolve) => clock.after(1000, resolve))
    }
  }
}
