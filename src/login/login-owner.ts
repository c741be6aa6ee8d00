/** Pure: whose key a login may take (contract: the owner stored before, the one asked for, or ask). */

import { BrokerError } from '../base/errors.js'
import type { Owner } from '../prefect/cloud.js'
import { cleanText, loginCommand } from '../std/text.js'

export interface OwnerRule {
  readonly profile: string
  /** The owner stored for the profile. */
  readonly stored?: Owner
  /** Email or handle that the key must belong to. */
  readonly wanted?: string
  /** Allows another owner than the stored one. */
  readonly maySwitch: boolean
}

export type OwnerVerdict =
  | { readonly kind: 'known' }
  | { readonly kind: 'unknown' }
  | { readonly kind: 'refused'; readonly error: BrokerError }

/** What the rule says about a key of `owner`: nobody need be asked, somebody must be, or it is refused. */
export function judgeOwner(owner: Owner, rule: OwnerRule): OwnerVerdict {
  const { profile, stored, wanted, maySwitch } = rule
  const isStored = stored !== undefined && stored.kind === owner.kind && stored.id === owner.id
  const isWanted = wanted !== undefined && isCalled(owner, wanted)
  if (wanted !== undefined && !isWanted) {
    return refuse(
      `the key belongs to ${nameOwner(owner)}, and this login is for ${cleanText(wanted)}`,
      `sign in to Prefect as ${cleanText(wanted)}, then: ${loginCommand(profile)}`,
    )
  }
  if (stored !== undefined && !isStored && !maySwitch) {
    return refuse(
      `the key belongs to ${nameOwner(owner)}, and profile '${profile}' to ${nameOwner(stored)}`,
      `${loginCommand(profile)} --switch-owner`,
    )
  }
  // Handles of users and of accounts may come from two name spaces: by name alone only a user is known, or an
  // account that a stranger named like the user would pass for them.
  return { kind: isStored || (isWanted && owner.kind === 'user') ? 'known' : 'unknown' }
}

/** `terry <terry@example.com>`, for people. */
export function nameOwner(owner: Owner): string {
  const handle = cleanText(owner.handle)
  if (owner.kind === 'service_account') return `a service account of ${handle}`
  return owner.email === undefined ? handle : `${handle} <${cleanText(owner.email)}>`
}

/** An email is compared with emails only, so that nobody passes by taking an email as handle. */
function isCalled(owner: Owner, name: string): boolean {
  const text = name.includes('@') ? (owner.kind === 'user' ? owner.email : undefined) : owner.handle
  return text !== undefined && text.toLowerCase() === name.trim().toLowerCase()
}

function refuse(message: string, hint: string): OwnerVerdict {
  return { kind: 'refused', error: new BrokerError('owner_mismatch', message, { hint }) }
}
