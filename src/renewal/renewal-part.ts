/** What may be asked of the renewal, and what it tells. Types; `renew-keys.ts` does it. */

import type { LastRenewal } from '../keys/ledger.js'
import type { KeyFacts } from '../serve/credentials.js'
import type { RenewalPlan } from './plan.js'

/** A replaced key that may still work at Prefect. Times in epoch ms. */
export interface OldKey {
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

export type RenewalOutcome =
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
