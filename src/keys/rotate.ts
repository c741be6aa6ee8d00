/** Replaces a profile's current key: journal, prove the vault, mint, store, verify, promote, retire. */

import { BrokerError, type ErrorCode, isBrokerError } from '../base/errors.js'
import type { Document } from '../os/document.js'
import type { CloudApi, MintedKey, Owner } from '../prefect/cloud.js'
import { livesTooLong, type ServerTimes } from '../prefect/server-time.js'
import { shownName } from '../profiles/bundled.js'
import { createSingleFlight } from '../std/async.js'
import { defined } from '../std/defined.js'
import type { Log } from '../std/log.js'
import type { Secret } from '../std/secret.js'
import type { Vault } from '../vault/vault.js'
import { dropEntry, type Journal, pendingRotations, type RotationEntry, writeEntry } from './journal.js'
import type { KeyKeeper } from './keeper.js'
import type { KeyRecord } from './ledger.js'
import { overtaken, type Settlement } from './settlement.js'
import type { Turns } from './turns.js'

export interface KeyRotator {
  /**
   * Replaces the profile's current key and returns the new record; concurrent callers share one rotation. `current`: the
   * current key's record, for a caller that has just looked it up. Rejects with the cause (`login_required` without a key,
   * `key_minting_refused` if Prefect does not let this key mint); the old key is served on then.
   */
  rotate(profile: string, current?: KeyRecord): Promise<KeyRecord>
  /** Whether a rotation of the profile's current key is under way. */
  isRotating(profile: string): boolean
  /**
   * Finishes or undoes what a crash, or an unreachable Prefect, left in the journal, except for rotations under way. Never
   * rejects.
   */
  recover(): Promise<void>
}

/** Errors after which certainly nothing was minted. */
export const CERTAINLY_NOT_MINTED: readonly ErrorCode[] = [
  'key_rejected',
  'prefect_forbidden',
  'prefect_not_found',
  'prefect_refused',
  'prefect_rate_limited',
  'key_malformed',
  'api_url_invalid',
  'setting_invalid',
]

export function createKeyRotator({
  keeper,
  vault,
  cloud,
  settlement,
  turns,
  journal,
  times,
  newId,
  log,
  hostname,
  lifetimeMs,
}: {
  readonly keeper: KeyKeeper
  readonly vault: Pick<Vault, 'prove'>
  readonly cloud: CloudApi
  readonly settlement: Settlement
  readonly turns: Turns
  readonly journal: Document<Journal>
  /** A key lives as long as asked by the time of its own server. */
  readonly times: ServerTimes
  readonly newId: () => string
  readonly log: Log
  /** Names this machine in the names of minted keys. */
  readonly hostname: string
  /** `renewal.key_lifetime`, ms. */
  readonly lifetimeMs: number
}): KeyRotator {
  const rotations = createSingleFlight<KeyRecord>()
  const recoveries = createSingleFlight<void>()
  const underWay = new Set<string>()

  async function rotate(profile: string, current: KeyRecord | undefined): Promise<KeyRecord> {
    const oldKey = current === undefined ? undefined : keeper.keyOf(current.item)
    if (current === undefined || oldKey === undefined) {
      throw new BrokerError('login_required', `profile ${shownName(profile)} has no stored key to replace`)
    }
    // Another change of this profile may have had its turn first.
    if (keeper.profile(profile).currentItem !== current.item) throw overtaken({ profile })
    if (isWaiting(profile, current)) throw unsettled(profile)
    const entry = plan(profile, current)
    underWay.add(entry.id)
    try {
      await writeEntry(journal, entry)
      const minted = await mint(entry, oldKey)
      await requireAskedLife(entry, minted)
      return await settlement.finish(await store(entry, minted))
    } finally {
      underWay.delete(entry.id)
    }
  }

  const isWaiting = (profile: string, { item }: KeyRecord): boolean =>
    pendingRotations(journal.read(), profile, item).some(
      ({ id, oldItem }) => oldItem === item && !underWay.has(id),
    )

  function plan(profile: string, { item, cloudApiUrl }: KeyRecord): RotationEntry {
    const id = newId()
    return {
      kind: 'rotation',
      id,
      profile,
      step: 'intended',
      item: `key-${id}`,
      oldItem: item,
      keyName: keyName(hostname, profile, id),
      userId: userIdOf(keeper.profile(profile).owner, profile),
      cloudApiUrl,
      startedAt: times.of(cloudApiUrl).clock.now(),
    }
  }

  /** A key that lives longer than asked is deleted: the time that Prefect had told was wrong. */
  async function requireAskedLife(entry: RotationEntry, minted: MintedKey): Promise<void> {
    const { id, createdAt, expiresAt } = minted
    if (createdAt === undefined || expiresAt === undefined || !livesTooLong(minted, lifetimeMs)) return
    times.of(entry.cloudApiUrl).note(createdAt)
    await settlement
      .abandon({ ...entry, cloudId: id })
      .catch((error: unknown) =>
        log.warn({ key: id, error }, 'unwanted key not deleted at Prefect; will retry'),
      )
    throw tooLong(expiresAt)
  }

  async function mint(entry: RotationEntry, key: Secret): Promise<MintedKey> {
    // If this fails, Prefect has not been asked.
    await vault.prove().catch(async (error: unknown) => {
      await dropEntry(journal, entry.id)
      throw error
    })
    try {
      const expiresAt = times.of(entry.cloudApiUrl).endOfLife(lifetimeMs)
      const target = { cloudApiUrl: entry.cloudApiUrl, key, profile: entry.profile }
      return await cloud.createKey(target, entry.userId, { name: entry.keyName, expiresAt })
    } catch (error) {
      const noting = isBrokerError(error, ...CERTAINLY_NOT_MINTED)
        ? dropEntry(journal, entry.id)
        : writeEntry(journal, { ...entry, step: 'lost' })
      await noting.catch((failure: unknown) => log.error({ error: failure }, 'journal write failed'))
      throw refusal(error)
    }
  }

  /** Returns the entry with the key's id. A key that cannot be stored is deleted at Prefect. */
  async function store(entry: RotationEntry, minted: MintedKey): Promise<RotationEntry> {
    const { key, id, name, createdAt, expiresAt } = minted
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
        issuedAt: createdAt ?? times.of(entry.cloudApiUrl).clock.now(),
        ...defined({ expiresAt }),
      })
      await writeEntry(journal, stored)
      return stored
    } catch (error) {
      await settlement.abandon(stored).catch(async (failure: unknown) => {
        log.error({ error: failure }, 'a key that could not be stored could not be abandoned either')
        // Without a record nobody can delete it later. With one, the next start decides.
        if (keeper.ledger().keys[entry.item] === undefined) {
          await settlement.deleteMinted(stored).catch(() => undefined)
        }
      })
      throw error
    }
  }

  // Two rotations of one key would mint twice; after a login it is a rotation of another key.
  const flightOf = (profile: string, current: KeyRecord | undefined) =>
    JSON.stringify([profile, current?.item])
  return {
    rotate: (profile, current = keeper.current(profile)) =>
      rotations.run(flightOf(profile, current), () => turns.run([profile], () => rotate(profile, current))),
    isRotating: (profile) => rotations.isRunning(flightOf(profile, keeper.current(profile))),
    recover: () => recoveries.run('all', () => settlement.recover(underWay)),
  }
}

export function tooLong(expiresAt: number): BrokerError {
  const until = new Date(expiresAt).toISOString().slice(0, 10)
  return new BrokerError('prefect_failed', `the minted key would live until ${until}, longer than asked`)
}

/** Only users can mint keys, and only their own (Terraform provider, docs/resources/user.md). */
function userIdOf(owner: Owner | undefined, profile: string): string {
  if (owner?.kind === 'user') return owner.id
  throw new BrokerError(
    'key_minting_refused',
    `the key of profile ${shownName(profile)} is not a user's key: Prefect mints keys for users only`,
  )
}

/** `prefect-auth terry-laptop cloud 3f9c…`: what a person reads on Prefect's key page. */
function keyName(hostname: string, profile: string, id: string): string {
  const plain = (text: string) => text.replace(/[^A-Za-z0-9_.-]+/g, '-').slice(0, 40)
  return `prefect-auth ${plain(hostname)} ${plain(profile)} ${id}`
}

function refusal(error: unknown): unknown {
  if (!isBrokerError(error, 'prefect_forbidden', 'prefect_not_found', 'prefect_refused')) return error
  return new BrokerError(
    'key_minting_refused',
    `Prefect does not let this key mint another: ${error.message}`,
    { cause: error },
  )
}

export function unsettled(profile: string): BrokerError {
  return new BrokerError(
    'prefect_unreachable',
    `the new key of profile ${shownName(profile)} is stored, but could not be verified yet`,
    { hint: 'prefect-auth doctor' },
  )
}
