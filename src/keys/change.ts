/** Changes: every change of profiles and their keys, done whole or not at all, seen by others once. */

import { BrokerError, type ErrorCode, isBrokerError } from '../base/errors.js'
import type { ProfileEdit, ProfileReading, ProfileStore } from '../profiles/profile.js'
import type { Clock } from '../std/clock.js'
import { defined } from '../std/defined.js'
import type { Log } from '../std/log.js'
import type { Secret } from '../std/secret.js'
import { planEdits, tableDigest } from './file-edits.js'
import type { ChangeEntry, ChangeOutcome } from './journal.js'
import type { KeyKeeper, NewKey } from './keeper.js'
import { forgottenFor, type KeyRecord, type Ledger, withChange, withoutChange } from './ledger.js'
import { decide, retiredFor } from './outcome.js'
import type { Revocation, Revoked } from './revocation.js'
import type { Turns } from './turns.js'
import { putBack } from './undo.js'

/** A key that must be in the vault before anything else changes. */
export interface PlannedKey {
  readonly key: Secret
  /** `item`: its name if the key is not known yet. */
  readonly about: NewKey
  /** Whether the profile's table of the file has it: from there it goes only once it is in the vault. */
  readonly isInFile?: boolean
  /** Whether the change goes on if the vault does not take it. */
  readonly isOptional?: boolean
}

/** What a change does, in this order; each step is durable before the next. */
export interface ChangePlan {
  /** For the log. */
  readonly act: string
  readonly keys?: readonly PlannedKey[]
  readonly authString?: { readonly item: string; readonly apiUrl: string; readonly text: Secret }
  readonly edits?: readonly ProfileEdit[]
  readonly outcome?: ChangeOutcome
  /** Applied with the outcome. `keys`: the records of the planned keys. */
  readonly commit?: (ledger: Ledger, keys: readonly KeyRecord[]) => Ledger
}

export interface Changed {
  readonly keys: readonly KeyRecord[]
  readonly reading: ProfileReading
  readonly revoked: readonly Revoked[]
}

export interface Changes {
  /** In the turn of these profiles, with nothing half done of an earlier change if that can be helped. */
  inTurn<T>(profiles: readonly string[], work: () => Promise<T>): Promise<T>
  /**
   * Plans in the turn of `profiles`, over a fresh reading of the file, then does it. Rejects with what failed, after
   * everything is as it was; what cannot be undone now is undone later, and until then the answers stay as they were.
   */
  run(
    profiles: readonly string[],
    plan: (reading: ProfileReading) => ChangePlan | Promise<ChangePlan>,
  ): Promise<Changed>
  /** Undoes or finishes what is left in the journal. Without the network nothing is deleted at Prefect. Never rejects. */
  recover(how: { readonly isOnline: boolean }): Promise<void>
}

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
  readonly turns: Turns
  readonly revocation: Revocation
  readonly clock: Clock
  readonly newId: () => string
  readonly log: Log
  /** Keeps the answers of these profiles as they are, until the result is called. */
  readonly hold: (profiles: readonly string[]) => () => void
  /** Brings what is served up to date. */
  readonly settle: () => Promise<void>
}): Changes {
  const underWay = new Set<string>()
  /** By entry: answers that stay as they are until it is settled. */
  const held = new Map<string, () => void>()

  const open = (): readonly ChangeEntry[] =>
    Object.values(keeper.ledger().changes ?? {}).filter(
      (entry): entry is ChangeEntry => entry.kind === 'change' && !underWay.has(entry.id),
    )

  async function release(id: string): Promise<void> {
    held.get(id)?.()
    held.delete(id)
    // What is decided is decided: the next look brings the answers up to date if this one cannot.
    await settle().catch((error: unknown) => log.error({ error }, 'settling credentials failed'))
  }

  function intend(
    reading: ProfileReading,
    profiles: readonly string[],
    plan: ChangePlan,
  ): { readonly entry: ChangeEntry; readonly edits: readonly ProfileEdit[] } {
    const planned = (plan.keys ?? []).map((one, index, all) => {
      const known = keeper.find(one.key, one.about.cloudApiUrl)
      const twin = all.slice(0, index).find(({ key }) => key.equals(one.key))
      return {
        ...one,
        isNew: known === undefined && twin === undefined,
        item: (known ?? twin?.about ?? one.about).item,
      }
    })
    const inFile = planned.filter(({ isInFile }) => isInFile)
    const { tables, undo, isReversible, edits } = planEdits(
      reading.file,
      plan.edits ?? [],
      profiles,
      (profile) => inFile.find(({ about }) => about.profile === profile)?.item,
    )
    const entry: ChangeEntry = {
      kind: 'change',
      id: newId(),
      act: plan.act,
      step: 'intended',
      decidedBy: isReversible ? 'ledger' : 'file',
      startedAt: clock.now(),
      tables: tables.map((table) => {
        const { currentItem: item, generation } = keeper.profile(table.profile)
        return { ...table, generation, ...defined({ item }) }
      }),
      undo,
      created: [
        ...planned.flatMap(({ isNew, item }) => (isNew ? [item] : [])),
        ...(plan.authString === undefined ? [] : [plan.authString.item]),
      ],
      keys: planned.map(({ item, isInFile, about }) => ({
        item,
        ...(isInFile ? { profile: about.profile } : {}),
      })),
      outcome: plan.outcome ?? {},
    }
    return { entry, edits }
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

  async function commit(entry: ChangeEntry, change: (ledger: Ledger) => Ledger): Promise<void> {
    const done: ChangeEntry = { ...entry, step: 'committed' }
    await keeper.apply((ledger) => {
      const next = decide(change(ledger), entry, clock.now())
      return entry.outcome.revoke === true ? withChange(next, done) : withoutChange(next, entry.id)
    })
  }

  async function perform(
    reading: ProfileReading,
    profiles: readonly string[],
    plan: ChangePlan,
  ): Promise<Changed> {
    if (isNothing(plan)) return { keys: [], reading, revoked: [] }
    const { entry, edits } = intend(reading, profiles, plan)
    // One write of the file, and nothing else: it is done or not.
    const isPlain = edits.length > 0 && Object.keys(plan).every((part) => part === 'act' || part === 'edits')
    underWay.add(entry.id)
    let isNoted = false
    let isWritten = false
    let keys: readonly KeyRecord[] = []
    try {
      if (!isPlain) await keeper.apply((ledger) => withChange(ledger, entry))
      isNoted = !isPlain
      keys = await keep(plan, entry)
      held.set(entry.id, hold(profiles))
      const after = edits.length === 0 ? reading : await edit(entry, edits)
      isWritten = edits.length > 0
      if (!isPlain) await commit(entry, (ledger) => plan.commit?.(ledger, keys) ?? ledger)
      const revoked = entry.outcome.revoke === true ? await revoke(entry) : []
      await release(entry.id)
      return { keys, reading: after, revoked }
    } catch (error) {
      const noted = keeper.ledger().changes?.[entry.id]
      const isDecided = noted?.kind === 'change' && noted.decidedBy === 'file' && isWritten
      if (isDecided || (isNoted && noted === undefined)) {
        log.error({ act: plan.act, error }, 'change done, but not everything is noted; will retry')
        if (noted === undefined) await release(entry.id)
        return { keys, reading: store.reading(), revoked: [] }
      }
      const isUntouched = !isWritten && isBrokerError(error, ...NOTHING_WRITTEN)
      if (!isPlain) await settleEntry(entry, { isOnline: false, isUntouched }).catch(later(entry))
      else await release(entry.id)
      throw error
    } finally {
      underWay.delete(entry.id)
    }
  }

  const later =
    ({ id, act }: ChangeEntry) =>
    (error: unknown) =>
      log.warn({ entry: id, act, error }, 'change not settled; will retry')

  async function revoke(entry: ChangeEntry): Promise<readonly Revoked[]> {
    // Others see that the profile is logged out before Prefect is asked.
    await release(entry.id)
    const { profile, items } = entry.outcome.forget ?? { profile: '', items: [] }
    const asking = entry.tables.find((table) => table.profile === profile)?.item
    const outcome = await revocation.run({ profile, items, ...defined({ asking }) })
    await keeper
      .apply((ledger) => withoutChange(forgottenFor(ledger, profile, items), entry.id))
      .catch(later(entry))
    return outcome
  }

  /** Undoes an entry that was not decided, finishes one that was. Rejects if that is not possible now. */
  async function settleEntry(
    entry: ChangeEntry,
    { isOnline, isUntouched = false }: { readonly isOnline: boolean; readonly isUntouched?: boolean },
  ): Promise<void> {
    const noted = keeper.ledger().changes?.[entry.id]
    if (noted?.kind !== 'change') {
      // The intent itself was not written: nothing was done.
      await release(entry.id)
      return
    }
    if (noted.step === 'committed') {
      if (isOnline) await revoke(noted)
      return
    }
    const back = await putBack(noted, { store, keeper, isUntouched })
    if (back.isDecided) await commit(noted, (ledger) => ledger)
    else {
      await keeper.apply((ledger) =>
        withoutChange(retiredFor(ledger, noted, back.missing, clock.now()), noted.id),
      )
    }
    log.info({ act: noted.act, isDone: back.isDecided }, 'an interrupted change is settled')
    await release(noted.id)
  }

  async function settleOlder(profiles: readonly string[]): Promise<void> {
    for (const entry of open()) {
      if (entry.step === 'committed' || !concerns(entry, profiles)) continue
      await settleEntry(entry, { isOnline: false }).catch(later(entry))
    }
  }

  const inTurn = <T>(profiles: readonly string[], work: () => Promise<T>): Promise<T> =>
    turns.run(profiles, async () => {
      await settleOlder(profiles)
      return work()
    })

  return {
    inTurn,
    run: (profiles, plan) =>
      inTurn(profiles, async () => {
        const reading = await store.refresh({ force: true })
        return perform(reading, profiles, await plan(reading))
      }),
    async recover(how) {
      for (const entry of open()) {
        const profiles = entry.tables.map(({ profile }) => profile)
        await turns.run(profiles, async () => {
          if (!underWay.has(entry.id)) await settleEntry(entry, how).catch(later(entry))
        })
      }
    },
  }
}

function isNothing({ act: _, edits = [], ...rest }: ChangePlan): boolean {
  return edits.length === 0 && Object.keys(rest).length === 0
}

function concerns({ tables }: ChangeEntry, profiles: readonly string[]): boolean {
  return tables.some(({ profile }) => profiles.includes(profile))
}

function fileChanged(path: string): BrokerError {
  return new BrokerError('profiles_file_changed', `cannot change ${path}: another program has changed it`, {
    hint: 'try again',
  })
}
