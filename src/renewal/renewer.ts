/** Renews keys before they expire: on ticks, at use, after sleep, and when asked. */
import { isBrokerError, shuttingDown } from '../base/errors.js'
import type { Events } from '../base/events.js'
import type { Disposal } from '../keys/disposal.js'
import type { Journal } from '../keys/journal.js'
import type { KeyKeeper } from '../keys/keeper.js'
import type { KeyRecord } from '../keys/ledger.js'
import type { KeyRotator } from '../keys/rotate.js'
import type { Turns } from '../keys/turns.js'
import { askAgainMs, isEnded } from '../keys/verdict.js'
import type { Verdicts } from '../keys/verdicts.js'
import type { Document } from '../os/document.js'
import type { CloudApi } from '../prefect/cloud.js'
import type { ServerTimes } from '../prefect/server-time.js'
import type { Credentials } from '../serve/credentials.js'
import { createSingleFlight } from '../std/async.js'
import { type Clock, DAY_MS, MINUTE_MS, type Timer } from '../std/clock.js'
import { defined } from '../std/defined.js'
import type { Log } from '../std/log.js'
import { type Attempt, createRenewalAttempts, keyRefused } from './attempt.js'
import { classifySetback, createRenewalHolds } from './backoff.js'
import { createClockWatch } from './clock-watch.js'
import { type CurrentKey, findHeldKey, isDue, planFor, renewerOf } from './due.js'
import { createFileKeyWatch } from './file-keys.js'
import type { RenewalPlan } from './plan.js'
import { createKeyRetirer } from './retire.js'
import { findWarning } from './view.js'

export interface KeyRenewer {
  /** Looks at every key and does what is due; resolves when that is over, whatever came of it. Call at least every 30 s. */
  tick(): Promise<void>
  /** The same at use: reads the clocks, and never waits for anything. */
  glance(): void
  /** Renews, forced or only if due. Rejects with the cause; concurrent callers share one attempt. */
  renew(profile: string, how: { readonly isForced: boolean }): Promise<'renewed' | 'not_due'>
  /** Whether something is under way. */
  isBusy(): boolean
  /** No attempt begins after this; resolves when those under way are over. */
  close(): Promise<void>
}

const ASK_PAST_EXPIRY_MS = 10 * MINUTE_MS
/** The least time between two requests because of a wall clock that keeps jumping. */
const ASK_AFTER_JUMP_MS = MINUTE_MS

export function createKeyRenewer({
  keeper,
  credentials,
  cloud,
  disposal,
  turns,
  rotator,
  journal,
  events,
  verdicts,
  times,
  clock,
  random,
  log,
  settle,
  retireAfterMs,
}: {
  readonly keeper: KeyKeeper
  readonly credentials: Credentials
  readonly cloud: CloudApi
  readonly disposal: Disposal
  readonly turns: Turns
  readonly rotator: KeyRotator
  readonly journal: Document<Journal>
  readonly events: Events
  readonly verdicts: Pick<Verdicts, 'end' | 'of'>
  readonly times: ServerTimes
  /** The machine's own; `times` correct it. */
  readonly clock: Clock
  /** In [0, 1). */
  readonly random: () => number
  readonly log: Log
  /** Brings what is served up to date. */
  readonly settle: () => Promise<void>
  /** `renewal.retire_after`; absent: never. */
  readonly retireAfterMs?: number
}): KeyRenewer {
  const holds = createRenewalHolds({ clock, random })
  const watch = createClockWatch(clock)
  const flights = createSingleFlight<Attempt>()
  const looks = createSingleFlight<void>()
  const retirer = createKeyRetirer({
    keeper,
    disposal,
    turns,
    events,
    holds,
    log,
    times,
    ...defined({ retireAfterMs }),
  })
  const attempts = createRenewalAttempts({
    keeper,
    credentials,
    cloud,
    rotator,
    journal,
    events,
    verdicts,
    times,
    settle,
    log,
  })
  const askAboutFileKeys = createFileKeyWatch({ credentials, cloud, verdicts, clock, log })
  const timers = new Set<Timer>()
  const askedAt = new Map<string, number>()
  const running = new Set<Promise<unknown>>()
  /** Of `clock.monotonic()`. */
  let nextAt = Number.NEGATIVE_INFINITY
  let isClosed = false

  // A change may bring the next renewal forward.
  const stopListening = keeper.onChange(() => {
    nextAt = Number.NEGATIVE_INFINITY
  })

  const find = (profile: string) => findHeldKey({ keeper, credentials }, profile)
  const renewer = (profile: string) => renewerOf({ keeper, credentials }, profile)
  const timeOf = ({ record }: CurrentKey) => times.of(record.cloudApiUrl)

  const isDueNow = (current: CurrentKey | undefined) =>
    current !== undefined && isDue(current.plan, timeOf(current).clock.now())

  const track = async <T>(work: Promise<T>): Promise<T> => {
    const over = work.then(
      () => undefined,
      () => undefined,
    )
    running.add(over)
    try {
      return await work
    } finally {
      running.delete(over)
    }
  }

  const attempt = (
    profile: string,
    current: CurrentKey | undefined,
    how: { readonly isForced: boolean },
  ): Promise<Attempt> => track(flights.run(profile, () => attemptOnce(profile, current, how)))

  async function attemptOnce(
    profile: string,
    current: CurrentKey | undefined,
    { isForced }: { readonly isForced: boolean },
  ): Promise<Attempt> {
    const item = current?.record.item ?? profile
    const wasDue = isForced || isDueNow(current)
    const lostBefore = attempts.lostKeys(profile)
    askedAt.set(item, clock.monotonic())
    try {
      const outcome = await attempts.run(profile, current, { isForced })
      holds.clear(item)
      const wasGood = current?.record.doubt === undefined && current?.record.rejectedAt === undefined
      if (outcome.kind === 'refused' || !wasGood) await settle()
      if (outcome.kind === 'renewed') await attempts.announce(profile, outcome.record)
      return outcome
    } catch (error) {
      if (isBrokerError(error, 'shutting_down')) throw error
      const setback = classifySetback(error, attempts.lostKeys(profile) > lostBefore)
      const delay = holds.set(item, { setback, lifeMs: lifeOf(current), error })
      wakeIn(delay, profile)
      // Asking about a key that is not due is no renewal, and its failure is no failed one.
      if (wasDue || isDueNow(current)) {
        await attempts.fail(profile, { error, setback, delay })
      }
      throw error
    }
  }

  function wakeIn(ms: number, profile: string): void {
    if (isClosed) return
    const timer = clock.after(ms, () => {
      timers.delete(timer)
      void track(look(profile))
    })
    timers.add(timer)
  }

  /** Whether there is a reason to ask Prefect now. */
  function wantsAttempt(profile: string, current: CurrentKey | undefined): boolean {
    const isPending = attempts.isPending(profile)
    if (current === undefined) return isPending && holds.isOver(profile)
    const { record } = current
    const { item, expiresAt, doubt, rejectedAt } = record
    if (!holds.isOver(item)) return false
    const { clock: prefects, isFresh } = timeOf(current)
    const since = clock.monotonic() - (askedAt.get(item) ?? Number.NEGATIVE_INFINITY)
    const isTime = since >= askAgainMs(record, prefects.now())
    if (rejectedAt !== undefined) return isTime && (isPending || !isEnded(record, timeOf(current)))
    if (doubt !== undefined) return isTime
    if (isTime || isPending || isDueNow(current)) return true
    if (!isFresh() && since >= ASK_AFTER_JUMP_MS) return true
    return expiresAt !== undefined && prefects.now() >= expiresAt && since >= ASK_PAST_EXPIRY_MS
  }

  /** Returns when a glance should look again, monotonic ms. What is held back has timers and ticks. Never rejects. */
  async function look(profile: string): Promise<number> {
    if (renewer(profile) !== profile) return Number.POSITIVE_INFINITY
    let current = find(profile)
    if (!isClosed && wantsAttempt(profile, current)) {
      try {
        const outcome = await attempt(profile, current, { isForced: false })
        if (outcome.kind === 'renewed' && outcome.record !== undefined) {
          return glanceAt(planFor(keeper.ledger(), profile, outcome.record), outcome.record)
        }
        current = outcome.kind === 'not_due' ? outcome.current : find(profile)
      } catch (error) {
        log.warn({ profile, error }, 'key not renewed; will retry')
        current = find(profile)
      }
    }
    if (current === undefined) return Number.POSITIVE_INFINITY
    try {
      await warn(current)
    } catch (error) {
      log.warn({ profile, error }, 'expiry warning not noted; will retry')
    }
    return glanceAt(current.plan, current.record)
  }

  function glanceAt(plan: RenewalPlan, { cloudApiUrl }: KeyRecord): number {
    const now = times.of(cloudApiUrl).clock.now()
    if (plan.kind !== 'renew' || plan.at <= now) return Number.POSITIVE_INFINITY
    return clock.monotonic() + plan.at - now
  }

  /** Gives each warning once. */
  async function warn(current: CurrentKey): Promise<void> {
    const { profile, item } = current.record
    const warning = findWarning(current, timeOf(current).clock.now())
    if (warning === undefined) return
    // Noted first: after a crash it is in the status only, which is better than warning twice.
    await keeper.markWarned(item, warning.days)
    log.warn({ profile, ...warning }, 'key expires soon')
    events.emit('renewal.warning', { profile, facts: warning })
  }

  async function lookAtAll(): Promise<void> {
    nextAt = Number.POSITIVE_INFINITY
    const moments = await Promise.all(Object.keys(keeper.ledger().profiles).map(look))
    if (!isClosed) await askAboutFileKeys()
    if (!isClosed) await retirer.run()
    // Whatever changed during the looks has set it back already.
    nextAt = Math.min(nextAt, ...moments)
  }

  function noticeJump(): void {
    const jump = watch.look()
    if (jump === 0) return
    log.info({ ms: jump }, 'wall clock moved, or machine slept')
    times.forget()
    holds.skip(Math.max(0, jump))
    nextAt = Number.NEGATIVE_INFINITY
  }

  const tick = async (): Promise<void> => {
    noticeJump()
    if (!isClosed) await track(looks.run('all', lookAtAll))
  }

  return {
    tick,
    glance() {
      noticeJump()
      if (isClosed || clock.monotonic() < nextAt || looks.isRunning('all')) return
      tick().catch((error: unknown) => log.error({ error }, 'looking at the keys failed'))
    },
    async renew(asked, { isForced }) {
      if (isClosed) throw shuttingDown()
      const profile = renewer(asked)
      let outcome = await attempt(profile, find(profile), { isForced })
      // The shared attempt of another caller may not have been forced.
      if (outcome.kind === 'not_due' && isForced) {
        outcome = await attempt(profile, find(profile), { isForced })
      }
      if (outcome.kind !== 'refused') return outcome.kind
      throw keyRefused(profile, find(profile)?.record.rejectedAt === undefined)
    },
    isBusy: () => running.size > 0,
    async close() {
      isClosed = true
      stopListening()
      for (const timer of timers) timer.cancel()
      await Promise.all(running)
    },
  }
}

/** Of the key, ms. */
function lifeOf(current: CurrentKey | undefined): number {
  const { issuedAt = 0, expiresAt = 30 * DAY_MS } = current?.record ?? {}
  return expiresAt - issuedAt
}
