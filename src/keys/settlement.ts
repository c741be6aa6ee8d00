/** The second half of a rotation, from the stored key on: verify, promote and retire, or abandon. */
import { BrokerError, type ErrorCode, isBrokerError } from '../base/errors.js'
import type { Events } from '../base/events.js'
import type { Document } from '../os/document.js'
import type { CloudApi, CloudTarget } from '../prefect/cloud.js'
import { isPast, type ServerTimes } from '../prefect/server-time.js'
import { shownName } from '../profiles/bundled.js'
import { type Clock, SECOND_MS, sleep } from '../std/clock.js'
import type { Log } from '../std/log.js'
import type { Secret } from '../std/secret.js'
import { backoffMs } from '../std/time.js'
import type { Disposal } from './disposal.js'
import { isInUse } from './identity.js'
import { dropEntry, type Journal, type RotationEntry } from './journal.js'
import type { KeyKeeper } from './keeper.js'
import { forgotten, type KeyRecord, withChange } from './ledger.js'
import type { Turns } from './turns.js'

export interface Settlement {
  /**
   * Verifies the stored key and makes it the current one. Rejects if it may not become current, after abandoning it; and if
   * that cannot be known yet (no response, a locked vault), leaving the entry for `recover`.
   */
  finish(entry: RotationEntry): Promise<KeyRecord>
  /** Forgets the new key, then deletes it at Prefect. Rejects if the latter fails for now: the entry stays. */
  abandon(entry: RotationEntry): Promise<void>
  /** Deletes the minted key at Prefect with any key of ours that may. Returns true if it is certainly gone. */
  deleteMinted(entry: RotationEntry): Promise<boolean>
  /** Settles every entry but those `underWay` (ids), each in its profile's turn, and forgets expired keys. Never rejects. */
  recover(underWay: ReadonlySet<string>): Promise<void>
}

const VERIFY_ATTEMPTS = 4

export function createSettlement({
  keeper,
  cloud,
  disposal,
  turns,
  journal,
  events,
  clock,
  times,
  random,
  log,
  lifetimeMs,
}: {
  readonly keeper: KeyKeeper
  readonly cloud: CloudApi
  readonly disposal: Disposal
  readonly turns: Turns
  readonly journal: Document<Journal>
  readonly events: Events
  readonly clock: Clock
  /** What cannot be undone waits until the time of the key's own server is known. */
  readonly times: ServerTimes
  /** In [0, 1). */
  readonly random: () => number
  readonly log: Log
  /** `renewal.key_lifetime`, ms. */
  readonly lifetimeMs: number
}): Settlement {
  async function finish(entry: RotationEntry): Promise<KeyRecord> {
    const record = keeper.ledger().keys[entry.item]
    try {
      await verify(entry, requireStored(keeper, entry))
      const { item, profile, oldItem: replacing, id: settles } = entry
      if (record === undefined || !(await keeper.promote(item, { profile, replacing, settles }))) {
        throw overtaken(entry)
      }
    } catch (error) {
      if (await isDecided(entry, error)) {
        await abandon(entry).catch((failure: unknown) =>
          log.warn(
            { key: entry.cloudId, error: failure },
            'abandoned key not deleted at Prefect; will retry',
          ),
        )
      }
      throw error
    }
    events.emit('key.promoted', { profile: entry.profile, facts: { fingerprint: record.fingerprint } })
    await retire(entry)
    return record
  }

  /** The new key must see a workspace that the old one saw. Prefect is asked a few times if necessary. */
  async function verify(entry: RotationEntry, key: Secret): Promise<void> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        const seen = await cloud.workspaces({ cloudApiUrl: entry.cloudApiUrl, key, profile: entry.profile })
        const known = keeper.profile(entry.profile).workspaces
        const ids = new Set(seen.map(({ workspaceId }) => workspaceId))
        if (known.length === 0 || known.some(({ workspaceId }) => ids.has(workspaceId))) return
        // An empty list may be temporary.
        const code = seen.length === 0 ? 'prefect_unexpected' : 'workspace_none'
        throw new BrokerError(code, 'the newly minted key sees none of the workspaces of the old one')
      } catch (error) {
        const isFinal = isBrokerError(error, ...FINAL)
        // Whoever waits, to log out for one, does not wait for Prefect: the entry is settled later.
        if (attempt >= VERIFY_ATTEMPTS || isFinal || turns.isWanted(entry.profile)) throw error
        log.warn({ profile: entry.profile, attempt, error }, 'new key not verified; will retry')
        const policy = { firstMs: SECOND_MS, maxMs: 8 * SECOND_MS }
        await sleep(clock, 200 + backoffMs(attempt, policy, random))
      }
    }
  }

  /**
   * Whether a failed verification says that the new key is of no use. What is not Prefect's own word about this very key says
   * nothing, and a refusal counts only if Prefect accepts the old key at the same time: otherwise the new one may be the only
   * key that is left.
   */
  async function isDecided(entry: RotationEntry, error: unknown): Promise<boolean> {
    if (isBrokerError(error, ...DECIDED)) return true
    const old = keeper.keyOf(entry.oldItem)
    if (!isBrokerError(error, 'key_rejected') || old === undefined) return false
    return cloud.workspaces({ cloudApiUrl: entry.cloudApiUrl, key: old, profile: entry.profile }).then(
      () => true,
      () => false,
    )
  }

  /** Whether a key that was asked for in this entry has expired by now, by Prefect's own time. */
  function isDead({ startedAt, cloudApiUrl }: RotationEntry): boolean {
    return isPast(times.of(cloudApiUrl), startedAt + lifetimeMs)
  }

  async function abandon(entry: RotationEntry): Promise<void> {
    // Noted first: after a crash, recovery would promote a deleted key that still works for a few minutes. In one write with
    // the item: nobody would look for the item of a lost key.
    await keeper.apply((ledger) => forgotten(withChange(ledger, { ...entry, step: 'lost' }), entry.item))
    await settleLost(entry)
  }

  /** A key that may have been minted: deleted, or kept in the journal until it has expired. */
  async function settleLost(entry: RotationEntry): Promise<void> {
    if (isDead(entry) || (await deleteMinted(entry))) await dropEntry(journal, entry.id)
  }

  async function deleteMinted(entry: RotationEntry): Promise<boolean> {
    const { userId, cloudApiUrl, cloudId } = entry
    if (cloudId !== undefined && isInUse(keeper.ledger(), { cloudApiUrl, cloudId })) return true
    // The old key belongs to the user who minted; another key may have replaced it, here or in another profile.
    const { profiles } = keeper.ledger()
    const others = Object.values(profiles).filter(({ owner }) => owner?.id === userId)
    const current = keeper.current(entry.profile)?.item
    for (const item of new Set([entry.oldItem, current, ...others.map(({ currentItem }) => currentItem)])) {
      const key = item === undefined ? undefined : keeper.keyOf(item)
      if (item === undefined || key === undefined || item === entry.item) continue
      if (keeper.ledger().keys[item]?.cloudApiUrl !== cloudApiUrl) continue
      try {
        const target = { cloudApiUrl, key, profile: entry.profile }
        const ids = entry.cloudId === undefined ? await idsByName(cloud, target, entry) : [entry.cloudId]
        for (const id of ids ?? []) await cloud.deleteKey(target, userId, id)
        return ids !== undefined
      } catch (error) {
        if (!isBrokerError(error, 'key_rejected', 'prefect_forbidden')) throw error
      }
    }
    return false
  }

  /** A key that a job may hold is left to expire; one that was never handed out is deleted at once, if its id is known. */
  async function retire(entry: RotationEntry): Promise<void> {
    const old = keeper.ledger().keys[entry.oldItem]
    if (old === undefined) return
    events.emit('key.retired', { profile: entry.profile, facts: { fingerprint: old.fingerprint } })
    const key = keeper.keyOf(entry.item)
    if (old.handedOut || key === undefined) return
    try {
      const outcome = await disposal.delete(old, {
        cloudApiUrl: entry.cloudApiUrl,
        key,
        profile: entry.profile,
      })
      if (outcome === 'deleted' || outcome === 'already_gone') await keeper.forget(old.item)
    } catch (error) {
      log.warn({ key: old.cloudId, error }, 'replaced key not deleted at Prefect; left to expire')
    }
  }

  async function recoverEntry(entry: RotationEntry): Promise<void> {
    // Of the first version, which promoted before it dropped the entry.
    if (keeper.current(entry.profile)?.item === entry.item) {
      await retire(entry)
      return dropEntry(journal, entry.id)
    }
    const record = keeper.ledger().keys[entry.item]
    const { cloudId } = record ?? entry
    const known = cloudId === undefined ? entry : { ...entry, cloudId }
    // The ledger is written after the vault: a record means that the item is there.
    if (entry.step !== 'lost' && record !== undefined && !isDead(known)) {
      await keeper.load()
      await finish(known)
      return
    }
    if (entry.step === 'lost' && record === undefined) return settleLost(known)
    await abandon(known)
  }

  return {
    finish,
    abandon,
    deleteMinted,
    async recover(underWay) {
      for (const entry of Object.values(journal.read().entries)) {
        if (entry.kind !== 'rotation' || underWay.has(entry.id)) continue
        const { id, profile, step } = entry
        try {
          log.info({ entry: id, profile, step }, 'settling a journal entry')
          await turns.run([profile], async () => {
            // As it is by now: it may have been settled, or renamed, while others had their turn.
            const now = journal.read().entries[id]
            if (now?.kind === 'rotation' && !underWay.has(id)) await recoverEntry(now)
          })
        } catch (error) {
          log.warn({ entry: id, profile, error }, 'journal entry not settled; will retry')
        }
      }
      await purgeExpired(keeper, disposal, times).catch((error: unknown) =>
        log.warn({ error }, 'expired keys not forgotten; will retry'),
      )
    },
  }
}

/** Failures of a verification that asking again at once would not change. */
const FINAL: readonly ErrorCode[] = [
  'prefect_forbidden',
  'prefect_unexpected',
  'workspace_none',
  'shutting_down',
]
/** Failures after which the new key can never become current. After any other it stays stored, and the next look decides. */
const DECIDED: readonly ErrorCode[] = ['login_state', 'workspace_none', 'vault_corrupt', 'key_malformed']

/** The key, if the vault has it. A locked vault is not an empty one. */
function requireStored(keeper: KeyKeeper, entry: RotationEntry): Secret {
  const key = keeper.keyOf(entry.item)
  if (key !== undefined) return key
  const held = keeper.held(entry.item)
  throw held.kind === 'failed' ? held.error : overtaken(entry)
}

export function overtaken({ profile }: Pick<RotationEntry, 'profile'>): BrokerError {
  return new BrokerError(
    'login_state',
    `the key of profile ${shownName(profile)} changed during the rotation`,
  )
}

/** Undefined if Prefect does not list keys. */
async function idsByName(
  cloud: CloudApi,
  target: CloudTarget,
  { userId, keyName }: RotationEntry,
): Promise<readonly string[] | undefined> {
  const listed = await cloud.listKeys(target, userId)
  return listed?.filter(({ name }) => name === keyName).map(({ id }) => id)
}

/** Retired keys are kept until they expire: until then a job may use them, and only we can revoke them. */
async function purgeExpired(
  keeper: KeyKeeper,
  disposal: Pick<Disposal, 'isInUse'>,
  times: ServerTimes,
): Promise<void> {
  for (const record of Object.values(keeper.ledger().keys)) {
    const { item, retiredAt, expiresAt, cloudApiUrl } = record
    if (retiredAt === undefined || expiresAt === undefined) continue
    // One that is in the profile file stays known as ours: a stranger's key there would take the place of a living one.
    if (!disposal.isInUse(record) && isPast(times.of(cloudApiUrl), expiresAt)) await keeper.forget(item)
  }
}
