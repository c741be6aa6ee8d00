/** Changes: every change of profiles and their keys, done whole or not at all, seen by others once. */

import { type ErrorCode, isBrokerError } from '../base/errors.js'
import type { CloudApi } from '../prefect/cloud.js'
import type { ProfileEdit, ProfileFile, ProfileReading, ProfileStore } from '../profiles/profile.js'
import { type Clock, DAY_MS } from '../std/clock.js'
import { defined } from '../std/defined.js'
import type { Log } from '../std/log.js'
import { fileChanged, fingerprintsIn, tableDigest } from './file-edits.js'
import { type ChangePlan, intend, isNothing } from './intent.js'
import type { ChangeEntry } from './journal.js'
import type { KeyKeeper } from './keeper.js'
import { forgottenFor, type KeyRecord, profilesServing, withChange, withoutChange } from './ledger.js'
import { decide, retiredFor, withItem } from './outcome.js'
import { type Revocation, type Revoked, unrevoked } from './revocation.js'
import type { Turns } from './turns.js'
import { fileBefore, isWrittenBy, putBack, recheck } from './undo.js'

export interface Changed {
  readonly keys: readonly KeyRecord[]
  readonly reading: ProfileReading
  readonly revoked: readonly Revoked[]
}

/** Answers that stay as they are. */
export interface Held {
  /** The next settling shows what has changed. */
  end(): void
  /** What the file says must not be seen until `end`, and that may be long: nobody waits for it. Keys that are replaced are followed. */
  last(): void
}

export interface Changes {
  /**
   * Plans in the turn of `profiles`, over a fresh reading of the file and with nothing half done of an earlier change if that
   * can be helped, then does it. Rejects with what failed, after everything is as it was; what cannot be undone now is undone
   * later, and until then the answers stay as they were.
   */
  run(
    profiles: readonly string[],
    plan: (reading: ProfileReading) => ChangePlan | Promise<ChangePlan>,
  ): Promise<Changed>
  /** Undoes or finishes what is left in the journal. Without the network nothing is deleted at Prefect. Never rejects. */
  recover(how: { readonly isOnline: boolean }): Promise<void>
}

/** How long an interrupted log-out tries to reach Prefect before it forgets the keys. */
const REVOKE_FOR_MS = DAY_MS

/** Errors after which the file certainly is as it was. */
const NOTHING_WRITTEN: readonly ErrorCode[] = [
  'profiles_file_invalid',
  'profiles_file_unreadable',
  'profiles_file_changed',
  'profile_exists',
  'profile_not_found',
]

export function createChanges({
  store,
  keeper,
  cloud,
  turns,
  revocation,
  clock,
  newId,
  log,
  hold,
  settle,
}: {
  readonly store: ProfileStore
  readonly keeper: KeyKeeper
  readonly cloud: Pick<CloudApi, 'workspaces'>
  readonly turns: Turns
  readonly revocation: Revocation
  readonly clock: Clock
  readonly newId: () => string
  readonly log: Log
  /** Keeps the answers of these profiles as they are. */
  readonly hold: (profiles: readonly string[], file?: ProfileFile) => Held
  /** Brings what is served up to date. */
  readonly settle: () => Promise<void>
}): Changes {
  const underWay = new Set<string>()
  /** By entry: answers that stay as they are until it is settled. */
  const held = new Map<string, Held>()

  const open = (): readonly ChangeEntry[] =>
    Object.values(keeper.ledger().changes ?? {}).filter(
      (entry): entry is ChangeEntry => entry.kind === 'change' && !underWay.has(entry.id),
    )

  async function release(id: string): Promise<void> {
    held.get(id)?.end()
    held.delete(id)
    // What is decided is decided: the next look brings the answers up to date if this one cannot.
    await settle().catch((error: unknown) => log.error({ error }, 'settling credentials failed'))
  }

  /** Stores the planned keys. Without one that is optional, what the file says can no longer be put back. */
  async function keep(plan: ChangePlan, entry: ChangeEntry): Promise<readonly KeyRecord[]> {
    const records: KeyRecord[] = []
    for (const { key, about, isOptional } of plan.keys ?? []) {
      try {
        records.push(await keeper.store(key, about))
      } catch (error) {
        if (isOptional !== true || !isBrokerError(error)) throw error
        log.warn({ profile: about.profile, error }, 'a key of the profile file is not kept')
        await keeper.apply((ledger) => withChange(ledger, { ...entry, decidedBy: 'file' }))
      }
    }
    const { authString } = plan
    if (authString !== undefined) {
      const [profile = ''] = entry.tables.map((table) => table.profile)
      await keeper.putAuthString(authString.item, profile, authString.apiUrl, authString.text)
    }
    return records
  }

  async function edit(entry: ChangeEntry, edits: readonly ProfileEdit[]): Promise<ProfileReading> {
    const reading = await store.refresh({ force: true })
    if (reading.state === 'good') {
      for (const { profile, found } of entry.tables) {
        if (tableDigest(reading.file, profile) !== found) throw fileChanged(reading.path)
      }
    }
    return store.edit(edits)
  }

  async function commit(entry: ChangeEntry, write = keeper.apply): Promise<void> {
    const done: ChangeEntry = { ...entry, step: 'committed' }
    await write((ledger) => {
      const next = decide(ledger, entry, clock.now())
      return entry.outcome.revoke === true ? withChange(next, done) : withoutChange(next, entry.id)
    })
  }

  async function perform(
    reading: ProfileReading,
    profiles: readonly string[],
    plan: ChangePlan,
  ): Promise<Changed> {
    if (isNothing(plan)) return { keys: [], reading, revoked: [] }
    const about = { id: newId(), startedAt: clock.now(), keeper }
    const intent = () => intend(about, reading.file, profiles, plan)
    let { entry, edits } = intent()
    // One write of the file, and nothing else: it is done or not.
    const isPlain = edits.length > 0 && Object.keys(plan).every((part) => part === 'act' || part === 'edits')
    underWay.add(entry.id)
    let isNoted = false
    let isWritten = false
    let keys: readonly KeyRecord[] = []
    try {
      if (!isPlain) {
        await keeper.apply((ledger) => {
          // Others may have forgotten a key since; once the entry names it, none does.
          ;({ entry, edits } = intent())
          return withChange(ledger, entry)
        })
      }
      isNoted = !isPlain
      // Before a key of the file is known to us: from then on it would count as a mirror of ours.
      held.set(entry.id, hold(profiles))
      keys = await keep(plan, entry)
      const after = edits.length === 0 ? reading : await edit(entry, edits)
      isWritten = edits.length > 0
      if (!isPlain) await commit(withItem(entry, keys[0]?.item))
      const revoked = entry.outcome.revoke === true ? await revoke(entry) : []
      await release(entry.id)
      return { keys, reading: after, revoked }
    } catch (error) {
      // A step that fails may have done its work all the same: what counts is what is noted, and what the file says.
      const noted = keeper.ledger().changes?.[entry.id]
      if (isNoted && noted === undefined) {
        await release(entry.id)
        return { keys, reading: store.reading(), revoked: [] }
      }
      if (noted?.kind === 'change' && noted.step === 'committed') {
        return { keys, reading: store.reading(), revoked: await revoke(noted) }
      }
      const isUntouched = !isWritten && isBrokerError(error, ...NOTHING_WRITTEN)
      if (isPlain && !isUntouched) {
        const now = await store.refresh({ force: true })
        if (isWrittenBy(now.file, entry, edits)) {
          await release(entry.id)
          return { keys, reading: now, revoked: [] }
        }
      }
      const isDone = await settleEntry(entry, { isOnline: false, isUntouched }).catch((failure: unknown) => {
        later(entry)(failure)
        held.get(entry.id)?.last()
        return isWritten && noted?.kind === 'change' && noted.decidedBy === 'file'
      })
      if (!isDone) throw error
      return { keys, reading: store.reading(), revoked: [] }
    } finally {
      underWay.delete(entry.id)
    }
  }

  const later =
    ({ id, act }: ChangeEntry) =>
    (error: unknown) =>
      log.warn({ entry: id, act, error }, 'change not settled; will retry')

  /** `isPatient`: what Prefect could not do now is left for the next recovery. */
  async function revoke(entry: ChangeEntry, isPatient = false): Promise<readonly Revoked[]> {
    // Others see that the profile is logged out before Prefect is asked.
    await release(entry.id)
    const { profile, items } = entry.outcome.forget ?? { profile: '', items: [] }
    const asking = entry.tables.find((table) => table.profile === profile)?.item
    const outcome = await revocation.run({ profile, items, ...defined({ asking }) })
    if (isPatient && outcome.some(({ isTemporary }) => isTemporary)) return outcome
    const kept = new Set([
      ...fingerprintsIn((await store.refresh({ force: true })).file),
      ...(entry.outcome.keepUnrevoked === true ? unrevoked(outcome) : []),
    ])
    await keeper
      .apply((ledger) => {
        // A login may have given one of them again, or another program has put it into the file.
        const isUnused = (item: string) =>
          profilesServing(ledger, item).length === 0 && !kept.has(ledger.keys[item]?.fingerprint ?? '')
        return withoutChange(forgottenFor(ledger, profile, items.filter(isUnused)), entry.id)
      })
      .catch(later(entry))
    return outcome
  }

  /** Undoes an entry that was not decided, finishes one that was, and returns whether it was. Rejects if it cannot now. */
  async function settleEntry(
    entry: ChangeEntry,
    { isOnline, isUntouched = false }: { readonly isOnline: boolean; readonly isUntouched?: boolean },
  ): Promise<boolean> {
    const noted = keeper.ledger().changes?.[entry.id]
    if (noted?.kind !== 'change') {
      // The intent itself was not written: nothing was done.
      await release(entry.id)
      return false
    }
    if (noted.step === 'committed') {
      if (isOnline) await revoke(noted, clock.now() < noted.startedAt + REVOKE_FOR_MS)
      return true
    }
    const back =
      noted.isRestored === true
        ? await recheck(noted, { store, keeper, ...(isOnline ? { cloud } : {}) })
        : await putBack(noted, { store, keeper, isUntouched })
    // The file says so, to the next start as well: a disk that fails now does not hold it up.
    if (back.isDecided) await commit(noted, keeper.accept)
    else {
      await keeper.apply((ledger) =>
        withoutChange(retiredFor(ledger, noted, back.missing, clock.now()), noted.id),
      )
    }
    log.info({ act: noted.act, isDone: back.isDecided }, 'an interrupted change is settled')
    // After a start, memory may lack what is named only now.
    await keeper.load()
    await release(noted.id)
    return back.isDecided
  }

  /** Rejects if the disk fails. */
  async function settleOlder(profiles: readonly string[]): Promise<void> {
    for (const entry of open()) {
      const isOurs = entry.tables.some(({ profile }) => profiles.includes(profile))
      if (!isOurs || entry.step === 'committed') continue
      await settleEntry(entry, { isOnline: false }).catch((error: unknown) => {
        later(entry)(error)
        // What is written over it now could not be told from its own work later.
        if (isBrokerError(error, 'disk_failed')) throw error
      })
    }
  }

  return {
    run: (profiles, plan) =>
      turns.run(profiles, async () => {
        await settleOlder(profiles)
        const reading = await store.refresh({ force: true })
        return perform(reading, profiles, await plan(reading))
      }),
    async recover(how) {
      for (const entry of open()) {
        const profiles = entry.tables.map(({ profile }) => profile)
        await turns.run(profiles, async () => {
          if (underWay.has(entry.id)) return
          await settleEntry(entry, how).catch((error: unknown) => {
            later(entry)(error)
            // After a start: what others were told before is what they are told until it can be undone.
            const file = fileBefore(store.reading().file, entry, keeper)
            if (file !== undefined && !held.has(entry.id)) held.set(entry.id, hold(profiles, file))
            held.get(entry.id)?.last()
          })
        })
      }
    },
  }
}
