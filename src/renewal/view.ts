/** Pure: how it stands with the renewal of one profile's key, for status, readiness and doctor. */

import { retryOf } from '../base/errors.js'
import type { KeyKeeper } from '../keys/keeper.js'
import type { KeyFacts, KeyRecord, LastRenewal } from '../keys/ledger.js'
import { shownName } from '../profiles/bundled.js'
import { defined } from '../std/defined.js'
import { loginCommand, quoteWord } from '../std/text.js'
import { type CurrentKey, planFor } from './due.js'
import { type RenewalPlan, WARNING_DAYS } from './plan.js'

/** A replaced key that may still work at Prefect. Times in epoch ms. */
interface OldKey {
  readonly fingerprint: string
  readonly isHandedOut: boolean
  readonly retiredAt: number
  /** Absent: not known. */
  readonly expiresAt?: number
}

/** How it stands with the renewal of one profile's key. */
export interface RenewalView {
  readonly plan: RenewalPlan
  readonly last?: LastRenewal
  /** The key should have been renewed by now and was not, or can't be and its end is near: why, and what helps. */
  readonly trouble?: { readonly message: string; readonly hint: string }
  readonly oldKeys: readonly OldKey[]
}

type RenewalOutcome =
  | { readonly kind: 'renewed'; readonly key: KeyFacts }
  /** `at`: when it is due, epoch ms; absent where it does not expire. */
  | { readonly kind: 'not_due'; readonly key: KeyFacts; readonly at?: number }

export interface ServiceAccountAdmin {
  /**
   * Has Prefect make a new key for the service account of this name, with the key of `ownerProfile` (the active one where
   * absent), and keeps it for `profile`. The old key lives on for `oldKeyLivesMs` (default: a day). Rejects with
   * `prefect_not_found` where there is no such service account, `prefect_forbidden` where the owner may not, or as `CloudApi`
   * and `Vault` do.
   */
  rotate(wanted: {
    readonly profile: string
    readonly name: string
    readonly ownerProfile?: string
    readonly oldKeyLivesMs?: number
    /** Absent: as long as the key before lived; without end where that had none. */
    readonly expiresInMs?: number
  }): Promise<{ readonly key: KeyFacts; readonly oldKeyExpiresAt: number }>
}

export interface RenewalAdmin {
  /**
   * Renews the profile's key, and waits for the outcome; where `ifDue` only if that is due. Rejects with what stands in the
   * way: `login_required`, `key_rejected`, `key_minting_refused`, or as `CloudApi` and `Vault` do; the old key is served on.
   */
  renew(profile: string | undefined, options: { readonly ifDue: boolean }): Promise<RenewalOutcome>
  /** `undefined` for a profile that we hold no key for. */
  view(profile: string): RenewalView | undefined
}

const DAY_MS = 24 * 3_600_000

/** `undefined` where we hold no key for the profile. `now`: epoch ms, set right by Prefect's. */
export function viewRenewal(keeper: KeyKeeper, profile: string, now: number): RenewalView | undefined {
  const { currentItem, lastRenewal } = keeper.profile(profile)
  const record = currentItem === undefined ? undefined : keeper.ledger().keys[currentItem]
  const oldKeys = Object.values(keeper.ledger().keys)
    .filter((key) => key.profile === profile && key.item !== currentItem)
    .flatMap((key) => oldKey(key, now))
  if (record === undefined) return undefined
  const plan = planFor(keeper, record)
  const trouble = findTrouble({ record, plan, ...(lastRenewal ? { last: lastRenewal } : {}) }, now)
  return {
    plan,
    ...(lastRenewal ? { last: lastRenewal } : {}),
    ...defined({ trouble }),
    oldKeys,
  }
}

function oldKey(
  { fingerprint, handedOut, retiredAt, expiresAt, isExpiryAssumed }: KeyRecord,
  now: number,
): OldKey[] {
  if (retiredAt === undefined) return []
  if (expiresAt !== undefined && expiresAt <= now && isExpiryAssumed !== true) return []
  return [{ fingerprint, isHandedOut: handedOut, retiredAt, ...defined({ expiresAt }) }]
}

/** A rejected key is no matter of renewal any more: that a login is needed is said elsewhere. */
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

/** The one command that fixes it. */
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
