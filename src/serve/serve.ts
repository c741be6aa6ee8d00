/**
 * Computes and holds the current answer of every profile: file + held keys → answer, in memory. A changed answer is
 * visible only after its new generation is durable.
 */

import type { Events } from '../base/events.js'
import type { KeyKeeper } from '../keys/keeper.js'
import type { Ledger } from '../keys/ledger.js'
import type { CloudDefaults } from '../prefect/cloud.js'
import type { ProfileStore, ResolvedProfile } from '../profiles/profile.js'
import { isSameReading } from '../profiles/reading.js'
import { listProfiles, resolveProfile } from '../profiles/resolve.js'
import { createSerial } from '../std/async.js'
import { type Clock, sleep } from '../std/clock.js'
import { defined } from '../std/defined.js'
import type { Log } from '../std/log.js'
import { sha256Hex } from '../std/secret.js'
import { decideAnswer } from './answer.js'
import type { Credentials, ProfileState, Served } from './credentials.js'

export interface ServeCredentialsDeps {
  readonly store: ProfileStore
  readonly keeper: KeyKeeper
  readonly events: Events
  readonly clock: Clock
  readonly log: Log
  readonly defaults: CloudDefaults
  /** When a key is going to be renewed, where that is known. Epoch ms. */
  readonly renewsAt?: (item: string) => number | undefined
  /** Called before every lookup; must cost next to nothing. */
  readonly onUse?: () => void
}

/** How long a request waits for secrets that could not be read before. */
const RETRY_WAIT_MS = 500

export interface ServingCredentials extends Credentials {
  /** Brings all answers up to date with the file and the keys; resolves when they are served. */
  settle(): Promise<void>
  close(): Promise<void>
}

export function createCredentials(deps: ServeCredentialsDeps): ServingCredentials {
  const { store, keeper, events, clock, log, defaults } = deps
  const serial = createSerial()
  const waiters = new Set<() => void>()
  let states = new Map<string, ProfileState>()
  let active = ''
  let isClosed = false

  /** Decides all answers anew, makes new generations durable, then swaps. */
  const settleNow = async (): Promise<void> => {
    const { file } = store.reading()
    const resolved = profilesToServe(file, defaults, profilesWithSecrets(keeper.ledger()))
    const next = new Map<string, ProfileState>()
    const changes: string[] = []
    for (const profile of resolved) {
      const state = await settleProfile(deps, profile, states.get(profile.name))
      if (states.get(profile.name)?.generation !== state.generation) changes.push(profile.name)
      next.set(profile.name, state)
    }
    states = next
    active = resolveProfile({ file, defaults }).name
    for (const name of changes) announce(events, next.get(name))
    for (const wake of [...waiters]) wake()
  }

  const settle = () => serial.run(settleNow)
  const settleSoon = () => {
    settle().catch((error: unknown) => log.error({ error }, 'the answers could not be brought up to date'))
  }
  const retry = async (): Promise<void> => {
    try {
      if (await keeper.retryFailed()) await settle()
    } catch (error) {
      log.warn({ error }, 'what failed before could not be tried again')
    }
  }
  const stops = [store.onChange(settleSoon), keeper.onChange(settleSoon)]

  const state = (profile?: string): ProfileState => {
    const found = states.get(profile ?? active)
    if (found !== undefined) return found
    // Throws `profile_not_found` with what there is, or resolves a bundled profile that nobody has asked for yet.
    const resolved = resolveProfile({
      file: store.reading().file,
      defaults,
      ...defined({ requested: profile }),
    })
    return decideAnswer({ resolved, keeper, generation: keeper.profile(resolved.name).generation })
  }

  const serve = (profile?: string): Served => {
    const { outcome } = state(profile)
    if (outcome.kind === 'refused') throw outcome.error
    return outcome.served
  }

  return {
    settle,
    async refresh() {
      deps.onUse?.()
      // A vault that answers helps this very request; one that hangs must not hold up what memory can serve.
      if (keeper.hasFailed()) await Promise.race([retry(), sleep(clock, RETRY_WAIT_MS)])
      const before = store.reading()
      if (!isSameReading(before, await store.refresh())) await settle()
    },
    state,
    states: () => [...states.values()],
    serve,
    async markHandedOut(served) {
      let answer = served
      while (!isGivenSafely(keeper, answer)) {
        if (answer.item !== undefined) await keeper.markHandedOut(answer.item)
        if (isGivenSafely(keeper, answer)) break
        // Replaced while the mark was written: what was never handed out may be deleted at Prefect by now.
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
        // A profile that Prefect brings along may have an answer without being among those that are held.
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
 * Whether an answer may leave: it has no key of ours, or its key is marked, and was not retired before the mark was there: a
 * key that never left us is deleted as soon as it is retired.
 */
function isGivenSafely(keeper: KeyKeeper, { apiKey, item }: Served): boolean {
  if (apiKey === undefined || item === undefined) return true
  const record = keeper.ledger().keys[item]
  return record?.handedOut === true && record.retiredAt === undefined
}

/** Names of profiles that a secret is kept for; an old record may remain of others, so that they count on. */
function profilesWithSecrets({ profiles }: Ledger): readonly string[] {
  return Object.entries(profiles)
    .filter(([, { currentItem, authItem }]) => currentItem !== undefined || authItem !== undefined)
    .map(([name]) => name)
}

/** Every profile of the file, the active one, and those we hold something for. */
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

async function settleProfile(
  { keeper, renewsAt }: ServeCredentialsDeps,
  resolved: ResolvedProfile,
  before: ProfileState | undefined,
): Promise<ProfileState> {
  const record = keeper.profile(resolved.name)
  const draft = decideAnswer({
    resolved,
    keeper,
    generation: record.generation,
    ...(renewsAt ? { renewsAt } : {}),
  })
  const digest = digestOf(draft)
  if (digest === record.digest) return before !== undefined && isSame(before, draft) ? before : draft
  const generation = record.generation + 1
  await keeper.note(resolved.name, { generation, digest })
  return decideAnswer({ resolved, keeper, generation, ...(renewsAt ? { renewsAt } : {}) })
}

/** Names an answer without telling it: everything that a caller is told, but secrets as fingerprints. */
function digestOf({ outcome }: ProfileState): string {
  const facts =
    outcome.kind === 'refused'
      ? ['refused', outcome.error.code]
      : tellable({ ...outcome.served, generation: 0 })
  return sha256Hex(JSON.stringify(facts)).slice(0, 32)
}

/** Keeps the object, and with it the rendered answer, where nothing that is shown or used has changed. */
function isSame(before: ProfileState, after: ProfileState): boolean {
  return JSON.stringify(comparable(before)) === JSON.stringify(comparable(after))
}

function comparable({ outcome, resolved, ...rest }: ProfileState): unknown {
  const { fileKey, fileAuthString } = resolved
  const inFile = [fileKey?.fingerprint(), fileAuthString?.fingerprint()]
  if (outcome.kind === 'served') return { ...rest, resolved, inFile, served: tellable(outcome.served) }
  const { code, message, hint } = outcome.error
  return { ...rest, resolved, inFile, refused: [code, message, hint] }
}

/** A secret prints as nothing, in JSON too: two different ones would look the same. */
function tellable({ apiKey, authString, ...rest }: Served): unknown {
  return { ...rest, apiKey: apiKey?.fingerprint(), authString: authString?.fingerprint() }
}

function announce(events: Events, state: ProfileState | undefined): void {
  if (state === undefined) return
  const { resolved, generation, outcome } = state
  const served: Partial<Served> = outcome.kind === 'served' ? outcome.served : {}
  events.emit('credentials.changed', {
    profile: resolved.name,
    facts: {
      generation,
      kind: resolved.kind,
      ...(served.key ? { fingerprint: served.key.fingerprint } : {}),
      ...(outcome.kind === 'refused' ? { code: outcome.error.code } : {}),
    },
  })
}
