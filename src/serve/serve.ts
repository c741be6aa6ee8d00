/** Decides and holds what is served for each profile; a change shows once it is durable. */

import type { Events } from '../base/events.js'
import type { Held } from '../keys/change.js'
import type { KeyKeeper } from '../keys/keeper.js'
import { profileRecord } from '../keys/ledger.js'
import type { Verdicts } from '../keys/verdicts.js'
import type { CloudDefaults } from '../prefect/cloud.js'
import type { ProfileFile, ProfileReading, ProfileStore, ResolvedProfile } from '../profiles/profile.js'
import { isSameReading } from '../profiles/reading.js'
import { resolveProfile } from '../profiles/resolve.js'
import { createSerial, createShared } from '../std/async.js'
import { type Clock, sleep } from '../std/clock.js'
import { defined } from '../std/defined.js'
import type { Log } from '../std/log.js'
import { type AnswerInputs, decideAnswer, unreadFile } from './answer.js'
import { digestOf, isSame } from './compare.js'
import type { Credentials, ProfileState, Served } from './credentials.js'
import { createHolds } from './holds.js'
import { gatherInputs, isSameInputs } from './inputs.js'
import { createListing, createResolver, profilesToServe } from './listing.js'

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

/** An answer, and what it was decided from. */
interface Decided {
  readonly inputs: AnswerInputs
  readonly state: ProfileState
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
  const resolved = createResolver(defaults)
  const listing = createListing(keeper)
  let states = new Map<string, ProfileState>()
  /** What was decided last, and from what: the same inputs are not decided again. */
  let decided = new Map<string, Decided>()
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
    return file === undefined ? [] : resolved(file).all.filter((one) => one.name === name)
  }

  const draftOf = (profile: ResolvedProfile): Decided & { readonly isNew: boolean } => {
    const inputs = inputsFor(profile)
    const last = decided.get(profile.name)
    if (last !== undefined && isSameInputs(last.inputs, inputs)) return { ...last, isNew: false }
    const state = decideAnswer(inputs)
    return { inputs, state, isNew: digestOf(state) !== inputs.known.digest }
  }

  /** Decides all answers, makes new generations durable, then swaps. */
  const settleNow = async (endHolds: () => void): Promise<void> => {
    const reading = store.reading()
    const { file } = reading
    const held = holds.kept()
    const kept = held.filter((name) => !isToBeFollowed(name))
    const followed = held.flatMap((name) => (kept.includes(name) ? [] : resolveHeld(name)))
    const all = profilesToServe(resolved(file), keeper.ledger())
    const drafts = [...all.filter(({ name }) => !held.includes(name)), ...followed].map((profile) => ({
      profile,
      ...draftOf(profile),
    }))
    const notes = drafts.flatMap(({ profile, isNew, state, inputs: { known } }) =>
      isNew ? [[profile.name, { generation: known.generation + 1, digest: digestOf(state) }] as const] : [],
    )
    // One durable write, however many profiles changed.
    if (notes.length > 0) await keeper.noteAll(notes)
    const next = new Map<string, ProfileState>()
    const certain = new Map<string, Decided>()
    const changes = new Set<string>()
    for (const draft of drafts) {
      const { name } = draft.profile
      const { inputs, state: fresh, isNew } = draft.isNew ? draftOf(draft.profile) : draft
      const before = states.get(name)
      const state = before !== undefined && (before === fresh || isSame(before, fresh)) ? before : fresh
      if (before?.generation !== state.generation) changes.add(name)
      next.set(name, state)
      // What has changed during the write is decided, and noted, by the next settle.
      if (!isNew) certain.set(name, { inputs, state })
    }
    for (const name of kept) {
      const held = states.get(name)
      if (held !== undefined) next.set(name, held)
    }
    states = next
    decided = certain
    decidedFrom = reading
    endHolds()
    if (holds.isEmpty() || active === '') active = resolved(file).active.name
    for (const state of listed()) if (changes.has(state.resolved.name)) announce(events, state)
    for (const wake of [...waiters]) wake()
  }

  const listed = () => listing(states, active).all

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

  // A watch may have seen a change already that is not decided yet.
  const isDecided = (reading: ProfileReading) =>
    decidedFrom !== undefined && isSameReading(decidedFrom, reading)

  const lookAgain = async (): Promise<void> => {
    // A vault that works again helps this request; one that hangs must not delay what memory can serve.
    if (keeper.hasFailed()) await Promise.race([retry(), sleep(clock, RETRY_WAIT_MS)])
    if (!isDecided(await store.refresh())) await settle()
  }

  return {
    settle,
    hold: (profiles, file = store.reading().file) => holds.begin(profiles, file, keeper.ledger()),
    onUse(listener) {
      users.add(listener)
      return () => users.delete(listener)
    },
    refresh() {
      for (const use of users) use()
      const isQuiet = store.isFresh() && isDecided(store.reading()) && !keeper.hasFailed()
      return isQuiet ? undefined : lookAgain()
    },
    state,
    states: listed,
    listed: (profile) => listing(states, active).byName.get(profile),
    serve,
    isHandedOut: (served) => isGivenSafely(keeper, served),
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
