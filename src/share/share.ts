/** One share on this machine: runs the protocol against the store, Prefect and the vault, and says how it stands. */

import { BrokerError, isBrokerError } from '../base/errors.js'
import { type ShareRecord, shareRecord, strayKeys, withShare } from '../keys/shared.js'
import { createSingleFlight } from '../std/async.js'
import { HOUR_MS, MINUTE_MS, type Timer } from '../std/clock.js'
import { defined } from '../std/defined.js'
import type { Secret } from '../std/secret.js'
import { backoffMs } from '../std/time.js'
import type { ShareContext, ShareParts, ShareStanding } from './context.js'
import { JITTER } from './pace.js'
import { plan, type Standing, type Step } from './plan.js'
import { createRotatorWatch } from './rotator.js'
import { perform } from './steps.js'
import { type Heard, heard, newView, type View } from './view.js'

export interface Share {
  readonly context: ShareContext
  /** One pass of the protocol, and then one at each interval. Never rejects; concurrent callers share one. */
  look(): Promise<ShareStanding>
  /** Rotates as soon as every machine has the last key. */
  want(): Promise<ShareStanding>
  standing(): ShareStanding
  close(): Promise<void>
}

const SEEN_FIRST: ShareStanding = { standing: 'unread' }
/** A pass ends after so many steps, whatever the store and Prefect answer. */
const MAX_STEPS = 100

export function createShare(
  parts: ShareParts,
  { name, settings, store }: Pick<ShareContext, 'name' | 'settings' | 'store'>,
): Share {
  const { keeper, clock, random, newId, log, events } = parts
  const flights = createSingleFlight<ShareStanding>()
  const texts = new Map<string, Secret>()
  let failures = 0
  let last: ShareStanding = SEEN_FIRST
  let timer: Timer | undefined
  let isClosed = false

  const record = (): ShareRecord => {
    const found = shareRecord(keeper.ledger(), name)
    if (found === undefined) throw new BrokerError('internal', `share ${name} has no record`)
    return found
  }
  const context: ShareContext = {
    ...parts,
    ...{ name, settings, store, texts, record },
    keep: (change) => keeper.apply((ledger) => withShare(ledger, name, change(record()))),
    retryAt(error) {
      failures += 1
      const isRefused = isBrokerError(error) && error.retry === 'seldom'
      const policy = isRefused
        ? { firstMs: HOUR_MS, maxMs: HOUR_MS }
        : { firstMs: MINUTE_MS, maxMs: HOUR_MS / 2 }
      return clock.monotonic() + policy.firstMs / 2 + backoffMs(failures, policy, random)
    },
  }
  const watch = createRotatorWatch(context)
  const { machine, held, kept, intents } = record()
  const mayRotate = settings.rotateWith !== undefined
  let strays = strayKeys(keeper.ledger(), name)
  let view: View = newView({ machine, mayRotate, kept: [...kept, ...strays], intents, ...defined({ held }) })

  const tell = (event: Heard) => {
    view = heard(view, event)
  }

  /** Doubt is enough: what the store has is asked for before a job notices. */
  function isHeldRefused(): boolean {
    const item = record().held?.item
    const known = item === undefined ? undefined : keeper.ledger().keys[item]
    return known !== undefined && (known.rejectedAt !== undefined || known.doubt !== undefined)
  }

  /** What a crash has kept out of the record is there before anything else happens. */
  async function noteStrays(): Promise<void> {
    if (strays.length === 0) return
    await context.keep((known) => ({ ...known, kept: [...known.kept, ...strays] }))
    strays = []
  }

  async function pass(): Promise<ShareStanding> {
    await noteStrays()
    const { held: served, kept: unpublished } = record()
    tell({ kind: 'durable', kept: unpublished, ...defined({ held: served }) })
    tell({ kind: 'pass', now: clock.monotonic(), nonce: newId(), isHeldRefused: isHeldRefused() })
    let trouble: BrokerError | undefined
    for (let steps = 0; steps < MAX_STEPS && !isClosed; steps += 1) {
      const step = plan(view, clock.monotonic())
      if (step.do === 'rest') return settle(step.standing, trouble)
      const outcome = await perform(context, view, step, tell)
      for (const event of outcome.heard) tell(event)
      trouble = outcome.trouble ?? trouble
      note(step, outcome.trouble)
    }
    return settle('unread', trouble)
  }

  function note(step: Step, trouble: BrokerError | undefined): void {
    if (trouble !== undefined)
      log.warn({ share: name, step: step.do, error: trouble }, 'share step failed; will retry')
    if (step.do === 'mint') watch.rotated(trouble)
    if (trouble === undefined && step.do === 'mint') failures = 0
    if (trouble !== undefined || step.do !== 'write') return
    log.info({ share: name, why: step.why, n: step.document.n }, 'share document written')
    if (step.why === 'publish') events.emit('share.rotated', { facts: { share: name, n: step.document.n } })
  }

  async function settle(standing: Standing, trouble: BrokerError | undefined): Promise<ShareStanding> {
    const { document } = view.seen ?? {}
    if (document !== undefined && mayRotate) await watch.look(document)
    const before = last
    last = { standing, ...defined({ trouble, document, rotator: watch.finding(document) }) }
    const isStrange = standing === 'foreign' || standing === 'second_owner'
    if (isStrange && before.standing !== standing) {
      const hint = `prefect-auth share adopt ${name}, or: prefect-auth share rotate ${name} --now`
      events.emit('share.foreign', { facts: { share: name, standing, hint } })
      log.warn({ share: name, standing, hint }, 'somebody else rotated the shared key')
    }
    tellTrouble(before.trouble, trouble)
    tellTrouble(before.rotator?.problem, last.rotator?.problem)
    return last
  }

  function tellTrouble(before: BrokerError | undefined, now: BrokerError | undefined): void {
    if (now === undefined || before?.message === now.message) return
    events.emit('share.trouble', { facts: { share: name, message: now.message, hint: now.hint ?? '' } })
  }

  function schedule(): void {
    timer?.cancel()
    if (isClosed) return
    const everyMs = view.seen?.document.pace.everyMs ?? MINUTE_MS
    timer = clock.after(everyMs * (1 + JITTER * (2 * random() - 1)), () => void look())
  }

  async function look(): Promise<ShareStanding> {
    if (isClosed) return last
    try {
      return await flights.run('pass', pass)
    } catch (error) {
      log.error({ share: name, error }, 'share pass failed; will retry')
      if (isBrokerError(error)) last = { ...last, trouble: error }
      return last
    } finally {
      schedule()
    }
  }

  // A refused key has been replaced, or is about to be: the store knows.
  const stopListening = events.onEvent(({ type, profile = '' }) => {
    const isRefusal = type === 'key.doubted' || type === 'key.rejected'
    if (isRefusal && record().profiles.includes(profile)) void look()
    if (profile === settings.rotateWith && type.startsWith('key.') && type !== 'key.accepted') watch.changed()
  })

  return {
    context,
    look,
    async want() {
      // The pass under way may have looked already.
      await look()
      tell({ kind: 'wanted' })
      return look()
    },
    standing: () => last,
    async close() {
      isClosed = true
      stopListening()
      timer?.cancel()
      if (flights.isRunning('pass')) await flights.run('pass', async () => last).catch(() => undefined)
      await store.close()
    },
  }
}
