/** The state of a profile's renewal, for status, readiness and doctor. Pure. */

import { retryOf } from '../base/errors.js'
import { currentKey, type KeyRecord, type LastRenewal, type Ledger, profileRecord } from '../keys/ledger.js'
import { shownName } from '../profiles/bundled.js'
import { DAY_MS } from '../std/clock.js'
import { defined } from '../std/defined.js'
import { loginCommand, quoteWord } from '../std/text.js'
import { type CurrentKey, planFor } from './due.js'
import { planWarning, type RenewalPlan, WARNING_DAYS } from './plan.js'

/** A replaced key that may still work at Prefect. Times in epoch ms. */
interface OldKey {
  readonly fingerprint: string
  readonly isHandedOut: boolean
  readonly retiredAt: number
  /** Absent: unknown. */
  readonly expiresAt?: number
}

export interface RenewalView {
  readonly plan: RenewalPlan
  readonly last?: LastRenewal
  /** Why the key was not renewed in time, or cannot be and expires soon; and the command that fixes it. */
  readonly trouble?: { readonly message: string; readonly hint: string }
  readonly oldKeys: readonly OldKey[]
}

/**
 * Undefined if we hold no key for the profile. `own`: the keys that are the profile's own. `now`: epoch ms, corrected by
 * Prefect's.
 */
export function viewRenewal(
  ledger: Ledger,
  profile: string,
  own: readonly KeyRecord[],
  now: number,
): RenewalView | undefined {
  const record = currentKey(ledger, profile)
  if (record === undefined) return undefined
  const known = profileRecord(ledger, profile)
  const last = defined({ last: known.lastRenewal })
  const plan = planFor(ledger, profile, record)
  const trouble = findTrouble({ record, plan, ...last }, now)
  const oldKeys = own.filter(({ item }) => item !== record.item).flatMap((key) => oldKey(key, now))
  return { plan, ...last, ...defined({ trouble }), oldKeys }
}

function oldKey(
  { fingerprint, handedOut, retiredAt, expiresAt, isExpiryAssumed }: KeyRecord,
  now: number,
): OldKey[] {
  if (retiredAt === undefined) return []
  if (expiresAt !== undefined && expiresAt <= now && isExpiryAssumed !== true) return []
  return [{ fingerprint, isHandedOut: handedOut, retiredAt, ...defined({ expiresAt }) }]
}

/** The warning to give now: renewal is impossible, or overdue and failing. */
export function findWarning(
  current: Pick<CurrentKey, 'record' | 'plan' | 'last'>,
  now: number,
): ({ readonly days: number } & NonNullable<RenewalView['trouble']>) | undefined {
  const days = planWarning(current.record, now)
  const trouble = days === undefined ? undefined : findTrouble(current, now)
  return days === undefined || trouble === undefined ? undefined : { days, ...trouble }
}

/** Undefined for a rejected key: the status already says that a login is required. */
export function findTrouble(
  { record, plan, last }: Pick<CurrentKey, 'record' | 'plan' | 'last'>,
  now: number,
): RenewalView['trouble'] {
  const { profile, expiresAt, rejectedAt } = record
  if (rejectedAt !== undefined || expiresAt === undefined) return undefined
  const name = shownName(profile)
  switch (plan.kind) {
    case 'not_needed':
      return undefined
    case 'not_renewable': {
      if (expiresAt - now > WARNING_DAYS[0] * DAY_MS) return undefined
      return { message: `the key of profile ${name} ${endOf(record, now)}: ${plan.why}`, hint: plan.hint }
    }
    case 'renew': {
      const failure = now < plan.at ? undefined : failureOf(last, record)
      if (failure === undefined) return undefined
      const message = `the key of profile ${name} could not be renewed and ${endOf(record, now)}: ${failure.message ?? failure.code ?? 'an unexpected error'}`
      return { message, hint: remedyOf(failure, profile) }
    }
  }
}

function failureOf(last: LastRenewal | undefined, { issuedAt }: KeyRecord): LastRenewal | undefined {
  return last?.outcome === 'failed' && last.at >= issuedAt ? last : undefined
}

function endOf({ expiresAt = 0, isExpiryAssumed }: KeyRecord, now: number): string {
  const about = isExpiryAssumed === true ? 'about ' : ''
  const when = new Date(expiresAt).toISOString().slice(0, 16).replace('T', ' ')
  return `${expiresAt <= now ? 'expired' : 'expires'} ${about}${when} UTC`
}

/** The command that fixes it. */
function remedyOf({ code = '' }: LastRenewal, profile: string): string {
  if (code === 'vault_locked') return 'prefect-auth unlock'
  if (code === 'owner_mismatch') return `${loginCommand(profile)} --switch-owner`
  if (code === 'prefect_unexpected') return 'prefect-auth doctor'
  switch (retryOf(code)) {
    case 'soon':
      return 'prefect-auth doctor'
    case 'seldom':
      return loginCommand(profile)
    case 'never':
      return `prefect-auth renew --now --profile ${quoteWord(profile)}`
  }
}
