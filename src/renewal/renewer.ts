/**
 * Renews keys before they end: on ticks, at use, after sleep, and when asked. Decides when, and what a failure means; the
 * steps themselves are `rotate-key.ts`. Whatever fails, the key that is served stays the one that is served.
 */
import { BrokerError, isBrokerError, shuttingDown } from '../base/errors.js'
import { shownName } from '../profiles/bundled.js'
import { createSingleFlight } from '../std/async.js'
import type { Clock, Timer } from '../std/clock.js'
import type { Log } from '../std/log.js'
import { type Attempt, type AttemptRenewalDeps, attemptRenewal, isDue, pendingRotation } from './attempt.js'
import { classifySetback, createRenewalHolds } from './backoff.js'
import { type CurrentKey, findCurrentKey } from './due.js'
import { createRenewalNotes, type RenewalNotes } from './outcomes.js'
import { createKeyRetirer } from './retire.js'

export interface RenewKeysDeps extends AttemptRenewalDeps {
  /** As the machine has it; `time` sets it right. */
  readonly clock: Clock
  readonly random: () => number
  readonly log: Log
  /** Brings the served answers up to date. */
  readonly settle: () => Promise<void>
  /** `renewal.retire_after`; absent: never. */
  readonly retireAfterMs?: number
}

export interface KeyRenewer {
  /** Looks at every key and does what is due; resolves when it is done, whatever came of it. At least every 30 s. */
  tick(): Promise<void>
  /** The same at use: costs two looks at the clock, and never waits for anything. */
  glance(): void
  /** Renews, forced or only where due. Rejects with what stood in the way; callers at the same time share one attempt. */
  renew(profile: string, how: { readonly isForced: boolean }): Promise<'renewed' | 'not_due'>
  /** Whether something is under way. */
  isBusy(): boolean
  /** No attempt begins after this; resolves when those under way are over. */
  close(): Promise<void>
}

const MINUTE_MS = 60_000
/** A key in use is asked about so often, in awake time: a revoked one is found before a job finds it. */
const ASK_EVERY_MS = 12 * 60 * MINUTE_MS
const ASK_PAST_EXPIRY_MS = 10 * MINUTE_MS
/** A wall clock that jumps all the time is not asked about more often. */
const ASK_AFTER_JUMP_MS = MINUTE_MS

export function createKeyRenewer(deps: RenewKeysDeps): KeyRenewer {
  const { keeper, clock, time, random, log } = deps
  const holds = createRenewalHolds({ clock, random })
  const watch = createClockWatch(clock)
  const flights = createSingleFlight<Attempt>()
  const looks = createSingleFlight<void>()
  const retirer = createKeyRetirer({
    ...deps,
    holds,
    clock: time.clock,
    isTimeSure: () => time.isFresh(),
  })
  const notes: RenewalNotes = createRenewalNotes(deps)
  const timers = new Set<Timer>()
  const askedAt = new Map<string, number>()
  const running = new Set<Promise<unknown>>()
  let nextAt = Number.NEGATIVE_INFINITY
  let isClosed = false

  /** Something may have come nearer than it was. */
  const stopListening = keeper.onChange(() => {
    nextAt = Number.NEGATIVE_INFINITY
  })

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

  const attempt = (profile: string, isForced: boolean): Promise<Attempt> =>
    track(flights.run(profile, () => attemptOnce(profile, isForced)))

  async function attemptOnce(profile: string, isForced: boolean): Promise<Attempt> {
    const current = findCurrentKey(deps, profile)
    const item = current?.record.item ?? profile
    const wasDue = isForced || isDue(deps, profile)
    const lostBefore = notes.lostEntries(profile)
    askedAt.set(item, clock.monotonic())
    try {
      const outcome = await attemptRenewal(deps, profile, { isForced })
      holds.clear(item)
      if (outcome === 'rejected' && current !== undefined) await notes.rejected(current)
      if (outcome === 'renewed') await notes.renewed(profile)
      return outcome
    } catch (error) {
      if (isBrokerError(error, 'shutting_down')) throw error
      const setback = classifySetback(error, notes.lostEntries(profile) > lostBefore)
      const delay = holds.set(item, { setback, lifeMs: lifeOf(current), error })
      wakeIn(delay, profile)
      // What was only a question is no failed renewal.
      if (wasDue || isDue(deps, profile)) await notes.failed(profile, { error, setback, delay })
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
    const isPending = pendingRotation(deps, profile) !== undefined
    if (current === undefined) return isPending && holds.isOver(profile)
    const { item, expiresAt } = current.record
    if (!holds.isOver(item)) return false
    if (isPending || isDue(deps, profile)) return true
    const since = clock.monotonic() - (askedAt.get(item) ?? Number.NEGATIVE_INFINITY)
    if (since >= ASK_EVERY_MS || (!time.isFresh() && since >= ASK_AFTER_JUMP_MS)) return true
    return expiresAt !== undefined && time.clock.now() >= expiresAt && since >= ASK_PAST_EXPIRY_MS
  }

  async function look(profile: string): Promise<void> {
    try {
      if (!isClosed && wantsAttempt(profile, findCurrentKey(deps, profile))) await attempt(profile, false)
    } catch (error) {
      log.warn({ profile, error }, 'a key could not be renewed, or asked about, now')
    }
    try {
      await notes.warn(profile)
    } catch (error) {
      log.warn({ profile, error }, 'a warning could not be noted')
    }
  }

  async function lookAtAll(): Promise<void> {
    const profiles = Object.keys(keeper.ledger().profiles)
    await Promise.all(profiles.map(look))
    if (!isClosed) await retirer.run()
    nextAt = Math.min(...profiles.map(dueAt))
  }

  /** When glancing at the clock should find something to do; what is held back has timers and ticks. */
  function dueAt(profile: string): number {
    const plan = findCurrentKey(deps, profile)?.plan
    const isAhead = plan?.kind === 'renew' && plan.at > time.clock.now()
    return isAhead ? plan.at : Number.POSITIVE_INFINITY
  }

  function noticeJump(): void {
    const jump = watch.look()
    if (jump === 0) return
    log.info({ ms: jump }, 'the wall clock moved, or the machine slept')
    time.forget()
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
      if (isClosed || time.clock.now() < nextAt || looks.isRunning('all')) return
      nextAt = Number.POSITIVE_INFINITY
      tick().catch((error: unknown) => log.error({ error }, 'looking at the keys failed'))
    },
    async renew(profile, { isForced }) {
      if (isClosed) throw shuttingDown()
      let outcome = await attempt(profile, isForced)
      // Somebody else's attempt that was shared may have been a question only.
      if (outcome === 'not_due' && isForced) outcome = await attempt(profile, true)
      if (outcome !== 'rejected') return outcome
      throw new BrokerError(
        'key_rejected',
        `Prefect no longer accepts the key of profile ${shownName(profile)}`,
        {
          hint: 'prefect-auth login',
        },
      )
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

function lifeOf(current: CurrentKey | undefined): number {
  const { issuedAt = 0, expiresAt = 30 * 24 * 60 * MINUTE_MS } = current?.record ?? {}
  return expiresAt - issuedAt
}

interface ClockWatch {
  /**
   * By how much the wall clock moved against the monotonic one since the last look, ms; 0 where both went along, as they do
   * but for a little drift.
   */
  look(): number
}

/** More than any drift between two looks, less than any sleep that matters. */
const TOLERANCE_MS = 5_000

export function createClockWatch(clock: Clock): ClockWatch {
  let wall = clock.now()
  let mono = clock.monotonic()
  return {
    look() {
      const [nowWall, nowMono] = [clock.now(), clock.monotonic()]
      const jump = nowWall - wall - (nowMono - mono)
      wall = nowWall
      mono = nowMono
      return Math.abs(jump) > TOLERANCE_MS ? jump : 0
    },
  }
}
