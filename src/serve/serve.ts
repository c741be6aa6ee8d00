/** Decides and holds what is served for each profile; a change shows once it is durable. */

import type { Events } from '../base/events.js'
import type { Held } from '../keys/change.js'
import type { KeyKeeper } from '../keys/keeper.js'
import { type Ledger, profileRecord } from '../keys/ledger.js'
import type { Verdicts } from '../keys/verdicts.js'
import type { CloudDefaults } from '../prefect/cloud.js'
import type { ProfileFile, ProfileReading, ProfileStore, ResolvedProfile } from '../profiles/profile.js'
import { isSameReading } from '../profiles/reading.js'
import { listProfiles, resolveProfile } from '../profiles/resolve.js'
import { createSerial, createShared } from '../std/async.js'
import { type Clock, sleep } from '../std/clock.js'
import { defined } from '../std/defined.js'
import type { Log } from '../std/log.js'
import { decideAnswer, gatherInputs, unreadFile } from './answer.js'
import { digestOf, isSame } from './compare.js'
import type { Credentials, ProfileState, Served } from './credentials.js'
import { createHolds } from './holds.js'

export interface ServingCredentials extends Credentials {
  /** Brings all answers up to date with the file and the keys; resolves when they are served. */
  settle(): Promise<void>
  /**
   * From now on the answers of these profiles stay as they are, whatever becomes of the file and the keys, until the result
   * ends it; the next `settle` shows what has changed, in one generation. One hold at a time per profile. `file`: what
   * the answers are made of if there are none yet; default: the file as it is.
   */
  hold(profiles: readonly string[], file?: ProfileFile): Held
  /** Calls back before every lookup; must cost next to nothing. Returns the way to stop. */
  onUse(listener: () => void): () => void
  close(): Promise<void>
}

/** How long a request waits for secrets that could not be read before. */
const RETRY_WAIT_MS = 500

export function createCredentials({
  store,
  keeper,
  events,
  clock,
  log,
  defaults,
  verdicts,
  renewsAt,
}: {
  readonly store: ProfileStore
  readonly keeper: KeyKeeper
  readonly events: Events
  readonly clock: Clock
  readonly log: Log
  readonly defaults: CloudDefaults
  /** What Prefect says of keys that have no record: those in the file. */
  readonly verdicts?: Pick<Verdicts, 'of' | 'onChange'>
  /** When the key under this item will be renewed, if known. Epoch ms. */
  readonly renewsAt?: (item: string) => number | undefined
}): ServingCredentials {
  const serial = createSerial()
  const waiters = new Set<() => void>()
  const users = new Set<() => void>()
  let states = new Map<string, ProfileState>()
  let active = ''
  let decidedFrom: ProfileReading | undefined
  let isClosed = false

  const holds = createHolds()

  const inputsFor = (resolved: ResolvedProfile, ledger = keeper.ledger(), file = store.reading().file) => {
    const gather = (one: ResolvedProfile) =>
      gatherInputs({ keeper, verdicts, renewsAt, reading: store.reading() }, ledger, one)
    if (resolved.aliasOf === undefined) return gather(resolved)
    const meant = gather(resolveProfile({ file, defaults, requested: resolved.aliasOf }))
    const { generation, digest } = profileRecord(ledger, resolved.name)
    return { ...meant, alias: resolved, known: { ...meant.known, generation, digest } }
  }

  /** Whether the profile's answer is to last, and is not decided yet, or the key in it was replaced. */
  const isToBeFollowed = (name: string): boolean => {
    if (holds.of(name)?.isLasting !== true) return false
    const outcome = states.get(name)?.outcome
    const item = outcome?.kind === 'served' ? outcome.served.item : undefined
    return outcome === undefined || (item !== undefined && !isLive(keeper, item))
  }
  /** Nothing, if there was no such profile. */
  const resolveHeld = (name: string): readonly ResolvedProfile[] => {
    const file = holds.of(name)?.file
    return file === undefined ? [] : listProfiles({ file, defaults }).filter((one) => one.name === name)
  }

  /** Decides all answers, makes new generations durable, then swaps. */
  const settleNow = async (endHolds: () => void): Promise<void> => {
    const reading = store.reading()
    const { file } = reading
    // A bundled profile that had a table once keeps counting: its old generation must not name another answer.
    const all = profilesToServe(file, defaults, Object.keys(keeper.ledger().profiles))
    const held = holds.kept()
    const kept = held.filter((name) => !isToBeFollowed(name))
    const followed = held.flatMap((name) => (kept.includes(name) ? [] : resolveHeld(name)))
    const resolved = [...all.filter(({ name }) => !held.includes(name)), ...followed]
    const drafts = resolved.map((profile) => {
      const inputs = inputsFor(profile)
      const draft = decideAnswer(inputs)
      return { profile, draft, digest: digestOf(draft), known: inputs.known }
    })
    const isNew = ({ digest, known }: (typeof drafts)[number]) => digest !== known.digest
    const notes = drafts
      .filter(isNew)
      .map(
        ({ profile, digest, known }) => [profile.name, { generation: known.generation + 1, digest }] as const,
      )
    // One durable write, however many profiles changed.
    if (notes.length > 0) await keeper.noteAll(notes)
    const next = new Map<string, ProfileState>()
    const changes: string[] = []
    for (const found of drafts) {
      const { profile, draft } = found
      const before = states.get(profile.name)
      const same = before !== undefined && isSame(before, draft) ? before : draft
      const state = isNew(found) ? decideAnswer(inputsFor(profile)) : same
      if (before?.generation !== state.generation) changes.push(profile.name)
      next.set(profile.name, state)
    }
    for (const name of kept) {
      const held = states.get(name)
      if (held !== undefined) next.set(name, held)
    }
    states = next
    decidedFrom = reading
    endHolds()
    if (holds.isEmpty() || active === '') active = resolveProfile({ file: reading.file, defaults }).name
    for (const state of listed()) if (changes.includes(state.resolved.name)) announce(events, state)
    for (const wake of [...waiters]) wake()
  }

  const listed = () => {
    const held = profilesWithSecrets(keeper.ledger())
    return [...states.values()].filter(
      ({ resolved: { source, name } }) => source === 'file' || name === active || held.includes(name),
    )
  }

  /** Whoever asks before it begins is served by the same one: it looks at everything as it is then. */
  const settle = createShared(serial, () => holds.settle(settleNow))
  const settleSoon = () => {
    settle().catch((error: unknown) => log.error({ error }, 'settling credentials failed'))
  }
  const retry = async (): Promise<void> => {
    try {
      if (await keeper.retryFailed()) await settle()
    } catch (error) {
      log.warn({ error }, 'retrying vault reads failed')
    }
  }
  const stops = [store.onChange(settleSoon), keeper.onChange(settleSoon)]
  if (verdicts !== undefined) stops.push(verdicts.onChange(settleSoon))

  const state = (profile?: string): ProfileState => {
    const found = states.get(profile ?? active)
    if (found !== undefined) return found
    const held = holds.of(profile ?? active)
    const isHeld = held?.file.profiles.has(profile ?? active) === true
    const unread = isHeld ? undefined : unreadFile(store.reading())
    if (unread !== undefined) throw unread
    // Throws `profile_not_found` with the profiles there are, or resolves a bundled profile that is not in use yet.
    const resolved = resolveProfile({
      file: held?.file ?? store.reading().file,
      defaults,
      ...defined({ requested: profile }),
    })
    const ledger = held?.isLasting === true ? undefined : held?.ledger
    return decideAnswer(inputsFor(resolved, ledger, held?.file))
  }

  const serve = (profile?: string): Served => {
    const { outcome } = state(profile)
    if (outcome.kind === 'refused') throw outcome.error
    return outcome.served
  }

  return {
    settle,
    hold: (profiles, file = store.reading().file) => holds.begin(profiles, file, keeper.ledger()),
    onUse(listener) {
      users.add(listener)
      return () => users.delete(listener)
    },
    async refresh() {
      for (const use of users) use()
      // A vault that works again helps this request; one that hangs must not delay what memory can serve.
      if (keeper.hasFailed()) await Promise.race([retry(), sleep(clock, RETRY_WAIT_MS)])
      const reading = await store.refresh()
      // A watch may have seen a change already that is not decided yet.
      if (decidedFrom === undefined || !isSameReading(decidedFrom, reading)) await settle()
    },
    state,
    states: listed,
    serve,
    async markHandedOut(served) {
      let answer = served
      while (!isGivenSafely(keeper, answer)) {
        if (answer.item !== undefined) await keeper.markHandedOut(answer.item)
        if (isGivenSafely(keeper, answer)) break
        // Replaced before it was marked: a key that was never handed out may be deleted at Prefect by now.
        await holds.of(answer.profile)?.over
        await settle()
        answer = serve(answer.profile)
      }
      return answer
    },
    waitForChange(profile, generation, ms, signal) {
      return new Promise((resolve) => {
        const over = new AbortController()
        const finish = () => {
          waiters.delete(look)
          signal.removeEventListener('abort', finish)
          over.abort()
          resolve()
        }
        // A bundled profile may have an answer without being among those held here.
        const wasHeld = states.has(profile)
        const look = () => {
          const found = states.get(profile)
          const isSame = found === undefined ? !wasHeld : found.generation === generation
          if (isClosed || !isSame) finish()
        }
        waiters.add(look)
        signal.addEventListener('abort', finish, { once: true })
        sleep(clock, ms, over.signal).then(finish, () => undefined)
        if (signal.aborted) finish()
        else look()
      })
    },
    reading: () => store.reading(),
    async close() {
      isClosed = true
      for (const stop of stops) stop()
      await serial.run(async () => undefined)
      for (const wake of [...waiters]) wake()
    },
  }
}

/**
 * Whether an answer may be sent: it has no key of ours, or one that was marked as handed out before it was retired. A key that
 * was never handed out is deleted as soon as it is retired.
 */
function isGivenSafely(keeper: KeyKeeper, { apiKey, item }: Served): boolean {
  if (apiKey === undefined || item === undefined) return true
  return isLive(keeper, item) && keeper.ledger().keys[item]?.handedOut === true
}

function isLive(keeper: KeyKeeper, item: string): boolean {
  const record = keeper.ledger().keys[item]
  return record !== undefined && record.retiredAt === undefined
}

/** Names of profiles that have a secret; the records of others remain only so that their generation never goes back. */
function profilesWithSecrets({ profiles }: Ledger): readonly string[] {
  return Object.entries(profiles)
    .filter(([, { currentItem, authItem }]) => currentItem !== undefined || authItem !== undefined)
    .map(([name]) => name)
}

/** Every profile of the file, the active one, and those that have a secret. */
function profilesToServe(
  file: Parameters<typeof listProfiles>[0]['file'],
  defaults: CloudDefaults,
  held: readonly string[],
): readonly ResolvedProfile[] {
  const listed = listProfiles({ file, defaults })
  const active = resolveProfile({ file, defaults })
  const wanted = listed.filter(
    ({ name, source }) => source === 'file' || name === active.name || held.includes(name),
  )
  return wanted.some(({ name }) => name === active.name) ? wanted : [active, ...wanted]
}

function announce(events: Events, state: ProfileState): void {
  const { resolved, generation, outcome } = state
  const served: Partial<Served> = outcome.kind === 'served' ? outcome.served : {}
  events.emit('credentials.changed', {
    profile: resolved.name,
    facts: {
      generation,
      kind: resolved.kind,
      ...defined({
        fingerprint: served.key?.fingerprint,
        code: outcome.kind === 'refused' ? outcome.error.code : undefined,
      }),
    },
  })
}
