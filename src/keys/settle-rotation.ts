/** The second half of a rotation, from the stored key on: verify, promote, retire; or abandon. Recovery goes on here, too. */
import { BrokerError, isBrokerError } from '../base/errors.js'
import type { Events } from '../base/events.js'
import type { Document } from '../os/document.js'
import type { CloudApi } from '../prefect/cloud.js'
import { shownName } from '../profiles/bundled.js'
import { type Clock, sleep } from '../std/clock.js'
import type { Log } from '../std/log.js'
import type { Secret } from '../std/secret.js'
import { backoffMs } from '../std/time.js'
import { dropEntry, type Journal, type RotationEntry, writeEntry } from './journal.js'
import type { KeyKeeper } from './keeper.js'
import type { KeyRecord } from './ledger.js'

export interface FinishRotationDeps {
  readonly keeper: KeyKeeper
  readonly cloud: CloudApi
  readonly journal: Document<Journal>
  readonly events: Events
  readonly clock: Clock
  readonly random: () => number
  readonly log: Log
  /** Whether the clock was compared with Prefect's lately: what can't be taken back waits until it was. Default: always. */
  readonly isTimeSure?: () => boolean
  /** `renewal.key_lifetime` */
  readonly lifetimeMs: number
}

const VERIFY_ATTEMPTS = 4

/**
 * Verifies the stored key and puts it in the old one's place. Rejects where it may not take that place, after it was
 * abandoned; and where that can't be known now (no answer, a locked vault), with the entry left for `recover`.
 */
export async function finishRotation(deps: FinishRotationDeps, entry: RotationEntry): Promise<KeyRecord> {
  const { keeper, journal, events, log } = deps
  const record = keeper.ledger().keys[entry.item]
  try {
    await verify(deps, entry, requireStored(keeper, entry))
    if (record === undefined || !(await keeper.promote(entry.item, { replacing: entry.oldItem }))) {
      throw overtaken(entry)
    }
  } catch (error) {
    if (!isUndecided(error)) {
      await abandon(deps, entry).catch((failure: unknown) =>
        log.warn(
          { key: entry.cloudId, error: failure },
          'an abandoned key could not be deleted at Prefect yet',
        ),
      )
    }
    throw error
  }
  events.emit('key.promoted', { profile: entry.profile, facts: { fingerprint: record.fingerprint } })
  await retire(deps, entry)
  await dropEntry(journal, entry.id)
  return record
}

/** A failure that says nothing about the key: what is stored stays stored, and the next look decides. */
function isUndecided(error: unknown): boolean {
  return !isBrokerError(error) || error.retry === 'soon'
}

/** The key, where the vault has it. Gone is gone; locked is not gone. */
function requireStored(keeper: KeyKeeper, entry: RotationEntry): Secret {
  const key = keeper.keyOf(entry.item)
  if (key !== undefined) return key
  const held = keeper.held(entry.item)
  throw held.kind === 'failed' ? held.error : overtaken(entry)
}

function overtaken({ profile }: RotationEntry): BrokerError {
  return new BrokerError(
    'login_state',
    `profile ${shownName(profile)} got another key, or lost its key, in the meantime`,
  )
}

/** The new key must see a workspace that the old one saw: it is asked for the list, a few times if it must be. */
async function verify(deps: FinishRotationDeps, entry: RotationEntry, key: Secret): Promise<void> {
  const { cloud, clock, random, log, keeper } = deps
  for (let attempt = 1; ; attempt += 1) {
    try {
      const seen = await cloud.workspaces({ cloudApiUrl: entry.cloudApiUrl, key })
      const known = keeper.profile(entry.profile).workspaces
      const ids = new Set(seen.map(({ workspaceId }) => workspaceId))
      if (known.length === 0 || known.some(({ workspaceId }) => ids.has(workspaceId))) return
      throw new BrokerError(
        'prefect_unexpected',
        'the newly minted key sees none of the workspaces of the old one',
      )
    } catch (error) {
      const isFinal = isBrokerError(error, 'prefect_forbidden', 'prefect_unexpected', 'shutting_down')
      if (attempt >= VERIFY_ATTEMPTS || isFinal) throw error
      log.warn({ profile: entry.profile, attempt, error }, 'the new key could not be verified yet')
      await sleep(clock, 200 + backoffMs(attempt, { firstMs: 1_000, maxMs: 8_000 }, random))
    }
  }
}

/**
 * The new key is given up: noted first, or a crash after the deletion would let recovery promote a key that works a few
 * minutes longer; then forgotten, then deleted at Prefect. Rejects where the last can't be done now: the entry stays.
 */
export async function abandon(deps: FinishRotationDeps, entry: RotationEntry): Promise<void> {
  const { keeper, journal } = deps
  await writeEntry(journal, { ...entry, step: 'lost' })
  await keeper.forget(entry.item)
  await settleLost(deps, entry)
}

/**
 * Minted perhaps: deleted by its id, or found again by its name where Prefect lists keys, else kept in the journal until it
 * is dead.
 */
async function settleLost(deps: FinishRotationDeps, entry: RotationEntry): Promise<void> {
  const { journal, clock, lifetimeMs, isTimeSure = () => true } = deps
  const isDead = isTimeSure() && clock.now() > entry.startedAt + lifetimeMs
  if (isDead || (await deleteAtPrefect(deps, entry))) await dropEntry(journal, entry.id)
}

/** Whether the key is certainly gone. The old key belongs to the user who minted; another may have taken its place. */
export async function deleteAtPrefect(deps: FinishRotationDeps, entry: RotationEntry): Promise<boolean> {
  const { keeper, cloud } = deps
  const { userId, cloudApiUrl } = entry
  const items = [entry.oldItem, keeper.profile(entry.profile).currentItem]
  for (const item of new Set(items)) {
    const key = item === undefined ? undefined : keeper.keyOf(item)
    if (item === undefined || key === undefined || item === entry.item) continue
    if (keeper.ledger().keys[item]?.cloudApiUrl !== cloudApiUrl) continue
    try {
      const target = { cloudApiUrl, key }
      const ids = entry.cloudId === undefined ? await idsByName(cloud, target, entry) : [entry.cloudId]
      for (const id of ids ?? []) await cloud.deleteKey(target, userId, id)
      return ids !== undefined
    } catch (error) {
      if (!isBrokerError(error, 'key_rejected', 'prefect_forbidden')) throw error
    }
  }
  return false
}

async function idsByName(
  cloud: CloudApi,
  target: Parameters<CloudApi['listKeys']>[0],
  { userId, keyName }: RotationEntry,
): Promise<readonly string[] | undefined> {
  const listed = await cloud.listKeys(target, userId)
  return listed?.filter(({ name }) => name === keyName).map(({ id }) => id)
}

/** A key that a job may hold is left to expire; one that never left us goes at once, where we know its id. */
async function retire(deps: FinishRotationDeps, entry: RotationEntry): Promise<void> {
  const { keeper, cloud, events, log } = deps
  const old = keeper.ledger().keys[entry.oldItem]
  if (old === undefined) return
  events.emit('key.retired', { profile: entry.profile, facts: { fingerprint: old.fingerprint } })
  const key = keeper.keyOf(entry.item)
  if (old.handedOut || old.cloudId === undefined || old.userId === undefined || key === undefined) return
  if (old.cloudApiUrl !== entry.cloudApiUrl) return
  try {
    await cloud.deleteKey({ cloudApiUrl: entry.cloudApiUrl, key }, old.userId, old.cloudId)
    await keeper.forget(old.item)
  } catch (error) {
    log.warn(
      { key: old.cloudId, error },
      'a replaced key could not be deleted at Prefect; it is left to expire',
    )
  }
}

/** Never rejects. `underWay`: ids of entries that are somebody's work at this moment. */
export async function recoverRotations(
  deps: FinishRotationDeps,
  underWay: ReadonlySet<string>,
): Promise<void> {
  const { journal, keeper, clock, log, isTimeSure = () => true } = deps
  for (const entry of Object.values(journal.read().entries)) {
    if (entry.kind !== 'rotation' || underWay.has(entry.id)) continue
    const { id, profile, step } = entry
    try {
      log.info({ entry: id, profile, step }, 'settling what was left in the journal')
      await recoverEntry(deps, entry)
    } catch (error) {
      log.warn({ entry: id, profile, error }, 'a journal entry could not be settled yet')
    }
  }
  if (!isTimeSure()) return
  await purgeExpired(keeper, clock.now()).catch((error: unknown) =>
    log.warn({ error }, 'expired keys could not be forgotten yet'),
  )
}

async function recoverEntry(deps: FinishRotationDeps, entry: RotationEntry): Promise<void> {
  const { keeper, journal } = deps
  if (keeper.profile(entry.profile).currentItem === entry.item) {
    await retire(deps, entry)
    return dropEntry(journal, entry.id)
  }
  const record = keeper.ledger().keys[entry.item]
  const { cloudId } = record ?? entry
  const known = cloudId === undefined ? entry : { ...entry, cloudId }
  // The ledger is written after the vault: a record means that the item is there.
  if (entry.step !== 'lost' && record !== undefined) {
    await keeper.load()
    await finishRotation(deps, known)
    return
  }
  if (entry.step === 'lost' && record === undefined) return settleLost(deps, known)
  await abandon(deps, known)
}

/** Retired keys are kept until they are dead: until then they may be somebody's, and ours to revoke. */
async function purgeExpired(keeper: KeyKeeper, now: number): Promise<void> {
  for (const { item, retiredAt, expiresAt } of Object.values(keeper.ledger().keys)) {
    if (retiredAt !== undefined && expiresAt !== undefined && expiresAt < now) await keeper.forget(item)
  }
}
