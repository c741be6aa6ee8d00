/**
 * Puts a freshly minted key in the place of the current one: journal → prove the vault → mint → store → verify →
 * promote → retire. Whatever fails before `promote`, the old key stays and goes on being served.
 */

import { BrokerError, type ErrorCode, isBrokerError } from '../base/errors.js'
import type { MintedKey, Owner } from '../prefect/cloud.js'
import { shownName } from '../profiles/bundled.js'
import { createSingleFlight } from '../std/async.js'
import { defined } from '../std/defined.js'
import type { Secret } from '../std/secret.js'
import type { Vault } from '../vault/vault.js'
import { dropEntry, type RotationEntry, writeEntry } from './journal.js'
import type { KeyRecord } from './ledger.js'
import {
  abandon,
  deleteAtPrefect,
  type FinishRotationDeps,
  finishRotation,
  recoverRotations,
} from './settle-rotation.js'

interface RotateKeyDeps extends FinishRotationDeps {
  readonly vault: Vault
  readonly newId: () => string
  /** Names this machine in the names of minted keys. */
  readonly hostname: string
}

export interface KeyRotator {
  /**
   * Replaces the profile's current key and answers the new record; callers at the same time share one rotation. Rejects
   * with what stood in the way (`key_minting_refused` where Prefect will not let this key mint); the old key is served as
   * before then.
   */
  rotate(profile: string): Promise<KeyRecord>
  /** Whether a rotation of the profile's current key is under way. */
  isRotating(profile: string): boolean
  /**
   * Finishes or undoes what a crash, or a Prefect that could not be reached, left in the journal; leaves alone what is
   * under way. Never rejects; says what it did in the log.
   */
  recover(): Promise<void>
}

/** Answers after which nothing was minted, for certain. */
const CERTAINLY_NOT_MINTED: readonly ErrorCode[] = [
  'key_rejected',
  'prefect_forbidden',
  'prefect_not_found',
  'prefect_refused',
  'prefect_rate_limited',
  'key_malformed',
  'api_url_invalid',
  'setting_invalid',
]

export function createKeyRotator(deps: RotateKeyDeps): KeyRotator {
  const { journal, keeper } = deps
  const rotations = createSingleFlight<KeyRecord>()
  const recoveries = createSingleFlight<void>()
  const underWay = new Set<string>()

  async function rotate(profile: string): Promise<KeyRecord> {
    const { entry, oldKey } = planRotation(deps, profile)
    underWay.add(entry.id)
    try {
      await writeEntry(journal, entry)
      const minted = await mint(deps, entry, oldKey)
      return await finishRotation(deps, await storeMinted(deps, entry, minted))
    } finally {
      underWay.delete(entry.id)
    }
  }

  // Two rotations of one key would mint twice; one that a login overtook is another rotation.
  const flightOf = (profile: string) => JSON.stringify([profile, keeper.profile(profile).currentItem])
  return {
    rotate: (profile) => rotations.run(flightOf(profile), () => rotate(profile)),
    isRotating: (profile) => rotations.isRunning(flightOf(profile)),
    recover: () => recoveries.run('all', () => recoverRotations(deps, underWay)),
  }
}

function planRotation(deps: RotateKeyDeps, profile: string): { entry: RotationEntry; oldKey: Secret } {
  const { keeper, newId, hostname, clock } = deps
  const { currentItem, owner } = keeper.profile(profile)
  const record = currentItem === undefined ? undefined : keeper.ledger().keys[currentItem]
  const oldKey = currentItem === undefined ? undefined : keeper.keyOf(currentItem)
  if (record === undefined || oldKey === undefined) {
    throw new BrokerError('login_required', `profile ${shownName(profile)} has no key of ours to replace`)
  }
  const id = newId()
  const entry: RotationEntry = {
    kind: 'rotation',
    id,
    profile,
    step: 'intended',
    item: `key-${id}`,
    oldItem: record.item,
    keyName: keyName(hostname, profile, id),
    userId: userIdOf(owner, profile),
    cloudApiUrl: record.cloudApiUrl,
    startedAt: clock.now(),
  }
  return { entry, oldKey }
}

/** Only users can mint keys, and only their own (Terraform provider, docs/resources/user.md). */
function userIdOf(owner: Owner | undefined, profile: string): string {
  if (owner?.kind === 'user') return owner.id
  throw new BrokerError(
    'key_minting_refused',
    `the key of profile ${shownName(profile)} is not a user's key: Prefect mints keys for users only`,
  )
}

/** `prefect-auth terry-laptop cloud 3f9c…`: what a person reads at Prefect's key page. */
function keyName(hostname: string, profile: string, id: string): string {
  const plain = (text: string) => text.replace(/[^A-Za-z0-9_.-]+/g, '-').slice(0, 40)
  return `prefect-auth ${plain(hostname)} ${plain(profile)} ${id}`
}

async function mint(deps: RotateKeyDeps, entry: RotationEntry, key: Secret): Promise<MintedKey> {
  const { vault, cloud, journal, clock, lifetimeMs, log } = deps
  // What fails here has not even asked Prefect.
  await vault.prove().catch(async (error: unknown) => {
    await dropEntry(journal, entry.id)
    throw error
  })
  try {
    // Prefect echoes whole seconds; what we ask for is what we compare with later.
    const expiresAt = Math.floor((clock.now() + lifetimeMs) / 1000) * 1000
    return await cloud.createKey({ cloudApiUrl: entry.cloudApiUrl, key }, entry.userId, {
      name: entry.keyName,
      expiresAt,
    })
  } catch (error) {
    const noting = isBrokerError(error, ...CERTAINLY_NOT_MINTED)
      ? dropEntry(journal, entry.id)
      : writeEntry(journal, { ...entry, step: 'lost' })
    await noting.catch((failure: unknown) =>
      log.error({ error: failure }, 'the journal could not be written'),
    )
    throw refusal(error)
  }
}

function refusal(error: unknown): unknown {
  if (!isBrokerError(error, 'prefect_forbidden', 'prefect_not_found', 'prefect_refused')) return error
  return new BrokerError(
    'key_minting_refused',
    `Prefect does not let this key mint another: ${error.message}`,
    { cause: error },
  )
}

/** Answers the entry with what is known of the key now. Where it can't be kept, it does not live on at Prefect either. */
async function storeMinted(
  deps: RotateKeyDeps,
  entry: RotationEntry,
  { key, id, name, createdAt, expiresAt }: MintedKey,
): Promise<RotationEntry> {
  const { keeper, journal, clock, log } = deps
  const stored: RotationEntry = { ...entry, step: 'stored', cloudId: id }
  try {
    await keeper.store(key, {
      item: entry.item,
      profile: entry.profile,
      cloudApiUrl: entry.cloudApiUrl,
      origin: 'minted',
      cloudId: id,
      userId: entry.userId,
      name,
      issuedAt: createdAt ?? clock.now(),
      ...defined({ expiresAt }),
    })
    await writeEntry(journal, stored)
    return stored
  } catch (error) {
    await abandon(deps, stored).catch(async (failure: unknown) => {
      log.error({ error: failure }, 'a key that could not be kept could not be forgotten either')
      // Without a record nobody can finish with it later: it need not live on. With one, the next start decides.
      if (keeper.ledger().keys[entry.item] === undefined)
        await deleteAtPrefect(deps, stored).catch(() => undefined)
    })
    throw error
  }
}
