/** Decides and holds what is served for each profile; a change shows once it is durable. */

import type { Events } from '../base/events.js'
import type { KeyKeeper } from '../keys/keeper.js'
import { currentKey, type Ledger, profileRecord } from '../keys/ledger.js'
import type { CloudDefaults } from '../prefect/cloud.js'
import type { ProfileReading, ProfileStore, ResolvedProfile } from '../profiles/profile.js'
import { isSameReading } from '../profiles/reading.js'
import { listProfiles, resolveProfile } from '../profiles/resolve.js'
import { createSerial } from '../std/async.js'
import { type Clock, sleep } from '../std/clock.js'
import { defined } from '../std/defined.js'
import type { Log } from '../std/log.js'
import { sha256Hex } from '../std/secret.js'
import { type AnswerInputs, decideAnswer, unreadFile } from './answer.js'
import type { Credentials, ProfileState, Served } from './credentials.js'

export interface ServingCredentials extends Credentials {
  /** Brings all answers up to date with the file and the keys; resolves when they are served. */
  settle(): Promise<void>
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
  renewsAt,
}: {
  readonly store: ProfileStore
  readonly keeper: KeyKeeper
  readonly events: Events
  readonly clock: Clock
  readonly log: Log
  readonly defaults: CloudDefaults
  /** When the key under this item will be renewed, if known. Epoch ms. */
  readonly renewsAt?: (item: string) => number | undefined
}): ServingCredentials {
  const serial = createSerial()
  const waiters = new Set<() => void>()
  const users = new Set<() => void>()
  let states = new Map<string, ProfileState>()
  let active = ''
  let isClosed = false

  const inputsFor = (resolved: ResolvedProfile) =>
    gatherInputs({ keeper, renewsAt, reading: store.reading() }, resolved)

  /** Decides all answers, makes new generations durable, then swaps. */
  const settleNow = async (): Promise<void> => {
    const { file } = store.reading()
    const resolved = profilesToServe(file, defaults, profilesWithSecrets(keeper.ledger()))
    const next = new Map<string, ProfileState>()
    const changes: string[] = []
    for (const profile of resolved) {
      const state = await settleProfile(profile, states.get(profile.name))
      if (states.get(profile.name)?.generation !== state.generation) changes.push(profile.name)
      next.set(profile.name, state)
    }
    states = next
    active = resolveProfile({ file, defaults }).name
    for (const name of changes) announce(events, next.get(name))
    for (const wake of [...waiters]) wake()
  }

  async function settleProfile(
    resolved: ResolvedProfile,
    before: ProfileState | undefined,
  ): Promise<ProfileState> {
    const inputs = inputsFor(resolved)
    const draft = decideAnswer(inputs)
    const digest = digestOf(draft)
    if (digest === inputs.known.digest) return before !== undefined && isSame(before, draft) ? before : draft
    await keeper.note(resolved.name, { generation: inputs.known.generation + 1, digest })
    return decideAnswer(inputsFor(resolved))
  }

  const settle = () => serial.run(settleNow)
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

  const state = (profile?: string): ProfileState => {
    const found = states.get(profile ?? active)
    if (found !== undefined) return found
    const unread = unreadFile(store.reading())
    if (unread !== undefined) throw unread
    // Throws `profile_not_found` with the profiles there are, or resolves a bundled profile that is not in use yet.
    const resolved = resolveProfile({
      file: store.reading().file,
      defaults,
      ...defined({ requested: profile }),
    })
    return decideAnswer(inputsFor(resolved))
  }

  const serve = (profile?: string): Served => {
    const { outcome } = state(profile)
    if (outcome.kind === 'refused') throw outcome.error
    return outcome.served
  }

  return {
    settle,
    onUse(listener) {
      users.add(listener)
      return () => users.delete(listener)
    },
    async refresh() {
      for (const use of users) use()
      // A vault that works again helps this request; one that hangs must not delay what memory can serve.
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
        // Replaced before it was marked: a key that was never handed out may be deleted at Prefect by now.
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
  const record = keeper.ledger().keys[item]
  return record?.handedOut === true && record.retiredAt === undefined
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

function gatherInputs(
  {
    keeper,
    renewsAt,
    reading,
  }: {
    readonly keeper: KeyKeeper
    readonly renewsAt: ((item: string) => number | undefined) | undefined
    readonly reading: ProfileReading
  },
  resolved: ResolvedProfile,
): AnswerInputs {
  const ledger = keeper.ledger()
  const known = profileRecord(ledger, resolved.name)
  const record = currentKey(ledger, resolved.name)
  const { authItem } = known
  return {
    resolved,
    known,
    keys: Object.values(ledger.keys),
    ...defined({
      unread: unreadFile(reading),
      current: record && {
        record,
        held: keeper.held(record.item),
        ...defined({ renewsAt: renewsAt?.(record.item) }),
      },
      auth: authItem === undefined ? undefined : { item: authItem, held: keeper.held(authItem) },
    }),
  }
}

/** Identifies an answer without revealing it: everything that a caller sees, with secrets as fingerprints. */
function digestOf({ outcome }: ProfileState): string {
  const facts =
    outcome.kind === 'refused'
      ? ['refused', outcome.error.code]
      : tellable({ ...outcome.served, generation: 0 })
  return sha256Hex(JSON.stringify(facts)).slice(0, 32)
}

/** Whether nothing that is shown or used has changed: the object, and its rendered answer, can be kept. */
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

/** All secrets print alike, in JSON too: only their fingerprints tell them apart. */
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
      ...defined({
        fingerprint: served.key?.fingerprint,
        code: outcome.kind === 'refused' ? outcome.error.code : undefined,
      }),
    },
  })
}
