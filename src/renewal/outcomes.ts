/** What is written down and said about a renewal: in the ledger, as events, in the log. */

import { BrokerError } from '../base/errors.js'
import type { Log } from '../std/log.js'
import type { AttemptRenewalDeps } from './attempt.js'
import { describeSetback, type Setback } from './backoff.js'
import { type CurrentKey, findCurrentKey } from './due.js'
import { planWarning } from './plan.js'
import { findTrouble } from './view.js'

interface RenewalNotesDeps extends AttemptRenewalDeps {
  readonly settle: () => Promise<void>
  readonly log: Log
}

export interface RenewalNotes {
  renewed(profile: string): Promise<void>
  failed(
    profile: string,
    failure: { readonly error: unknown; readonly setback: Setback; readonly delay: number },
  ): Promise<void>
  /** The key is not served any more. */
  rejected(current: CurrentKey): Promise<void>
  /** Gives the warning that is due, once: where renewal is impossible, or overdue and failing. */
  warn(profile: string): Promise<void>
  /** How many keys the journal names that may live at Prefect and that we do not hold. */
  lostEntries(profile: string): number
}

export function createRenewalNotes(deps: RenewalNotesDeps): RenewalNotes {
  const { keeper, credentials, events, journal, time, settle, log } = deps
  return {
    async renewed(profile) {
      await settle()
      const { currentItem } = keeper.profile(profile)
      const record = currentItem === undefined ? undefined : keeper.ledger().keys[currentItem]
      if (record === undefined) return
      const { fingerprint, expiresAt } = record
      const end = expiresAt === undefined ? {} : { expires_at: new Date(expiresAt).toISOString() }
      log.info({ profile, fingerprint, ...end }, 'the key was renewed')
      events.emit('renewal.done', { profile, facts: { fingerprint, ...end } })
    },
    async failed(profile, { error, setback, delay }) {
      if (setback === 'overtaken') return
      const { code, message } = describe(error, setback)
      events.emit('renewal.failed', {
        profile,
        facts: { code, message, setback, retry_in_s: Math.ceil(delay / 1000) },
      })
      const lastRenewal = { at: time.clock.now(), outcome: 'failed', code, message } as const
      await keeper
        .note(profile, { lastRenewal })
        .catch((failure: unknown) => log.warn({ profile, error: failure }, 'a failure could not be noted'))
    },
    async rejected({ record }) {
      const { profile, item, fingerprint } = record
      await keeper.markRejected(item)
      await settle()
      log.warn({ profile, fingerprint }, 'Prefect does not accept this key any more')
      events.emit('key.rejected', { profile, facts: { fingerprint } })
    },
    async warn(profile) {
      const current = findCurrentKey({ keeper, credentials }, profile)
      if (current === undefined) return
      const now = time.clock.now()
      const days = planWarning(current.record, now)
      const trouble = days === undefined ? undefined : findTrouble(current, now)
      if (days === undefined || trouble === undefined) return
      // Noted first: said twice is worse than, after a crash in between, seen in the status only.
      await keeper.markWarned(current.record.item, days)
      log.warn({ profile, days, ...trouble }, 'a key comes to its end')
      events.emit('renewal.warning', { profile, facts: { days, ...trouble } })
    },
    lostEntries: (profile) =>
      Object.values(journal.read().entries).filter(
        (entry) => entry.kind === 'rotation' && entry.profile === profile && entry.step === 'lost',
      ).length,
  }
}

function describe(error: unknown, setback: Setback): { readonly code: string; readonly message: string } {
  if (!(error instanceof BrokerError)) return { code: 'internal', message: 'an unexpected error' }
  return { code: error.code, message: describeSetback(setback, error) }
}
