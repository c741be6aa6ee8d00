/** Pure: the ledger before and after each kind of change. Names of profiles may be anything, `__proto__` too. */

import type { Owner, Workspace } from '../prefect/cloud.js'
import { defined } from '../std/defined.js'

export type KeyOrigin = 'browser' | 'pasted' | 'minted' | 'service_account' | 'profile'

/** One key in the vault. Times in epoch ms. */
export interface KeyRecord {
  /** The vault item that holds it. */
  readonly item: string
  readonly profile: string
  /** The Cloud API base this key belongs to; it is sent nowhere else. */
  readonly cloudApiUrl: string
  readonly fingerprint: string
  readonly origin: KeyOrigin
  /** The key's id at Prefect, where an answer of the API told it. */
  readonly cloudId?: string
  /** The user id the key was minted under; with `cloudId` what a deletion needs. */
  readonly userId?: string
  readonly name?: string
  readonly issuedAt: number
  readonly expiresAt?: number
  /** True where `expiresAt` is our guess (29 days for a browser key), not Prefect's word. */
  readonly isExpiryAssumed?: boolean
  /** Durable before the first answer that carried the key. */
  readonly handedOut: boolean
  /** When another key took its place. */
  readonly retiredAt?: number
  /** When Prefect answered 401 to it. */
  readonly rejectedAt?: number
  /** The last warning of its end that was given: so many days before it. */
  readonly warned?: number
}

/** How the last renewal of a profile's key ended. */
export interface LastRenewal {
  /** Epoch ms. */
  readonly at: number
  readonly outcome: 'done' | 'failed'
  /** Of the error, and its message, where it failed. */
  readonly code?: string
  readonly message?: string
}

/** What we hold for one profile. */
export interface ProfileRecord {
  /** The item of the key that is served. */
  readonly currentItem?: string
  /** The item of a server profile's auth string, where it was given to us and not to the file. */
  readonly authItem?: string
  readonly owner?: Owner
  /** As of the last look at Prefect; names for ids. */
  readonly workspaces: readonly Workspace[]
  /** Counts every change of the profile's answer; never goes back. */
  readonly generation: number
  /** Of the answer that `generation` counts; no secrets can be read from it. */
  readonly digest: string
  /** Said once to a person: why the key could not be exchanged. */
  readonly exchangeRefused?: string
  readonly lastRenewal?: LastRenewal
}

/** Everything durable but the secrets. Replaced whole, atomically. */
export interface Ledger {
  readonly profiles: Readonly<Record<string, ProfileRecord>>
  readonly keys: Readonly<Record<string, KeyRecord>>
  /** Items that nobody names any more and that the vault has not deleted yet: tried again until it has. */
  readonly doomed?: readonly string[]
}

export const EMPTY_LEDGER: Ledger = { profiles: {}, keys: {} }

const NOTHING_KNOWN: ProfileRecord = { workspaces: [], generation: 0, digest: '' }

/** What is known of a profile besides its keys; a refusal is taken back by `undefined`. */
export type ProfileNote = Partial<
  Pick<ProfileRecord, 'owner' | 'workspaces' | 'generation' | 'digest' | 'lastRenewal'>
> & {
  readonly exchangeRefused?: string | undefined
}

export function profileRecord(ledger: Ledger, name: string): ProfileRecord {
  return Object.hasOwn(ledger.profiles, name) ? (ledger.profiles[name] ?? NOTHING_KNOWN) : NOTHING_KNOWN
}

export function withProfile(ledger: Ledger, name: string, record: ProfileRecord): Ledger {
  return { ...ledger, profiles: { ...ledger.profiles, [name]: record } }
}

export function withKey(ledger: Ledger, record: KeyRecord): Ledger {
  return { ...ledger, keys: { ...ledger.keys, [record.item]: record } }
}

export function noted(record: ProfileRecord, patch: ProfileNote): ProfileRecord {
  const { exchangeRefused, ...rest } = { ...record, ...patch }
  return exchangeRefused === undefined ? rest : { ...rest, exchangeRefused }
}

/**
 * The item becomes the current one of its profile, what was current becomes retired. Nothing changes where the item is
 * unknown, or where `replacing` is given and something else is current.
 */
export function promoted(
  ledger: Ledger,
  item: string,
  { patch = {}, replacing }: { readonly patch?: Partial<ProfileRecord>; readonly replacing?: string },
  now: number,
): Ledger {
  const record = ledger.keys[item]
  if (record === undefined) return ledger
  const { exchangeRefused: _, ...before } = profileRecord(ledger, record.profile)
  if (replacing !== undefined && before.currentItem !== replacing) return ledger
  const { retiredAt: __, ...live } = record
  const old = before.currentItem === undefined ? undefined : ledger.keys[before.currentItem]
  const retired =
    old === undefined || old.item === item ? ledger : withKey(ledger, { ...old, retiredAt: now })
  // Only a renewal names what it replaces; in the same write, so that no crash can part the two.
  const renewal = replacing === undefined ? {} : { lastRenewal: { at: now, outcome: 'done' as const } }
  return withProfile(withKey(retired, live), record.profile, {
    ...before,
    ...patch,
    ...renewal,
    currentItem: item,
  })
}

/** The record is gone, its item doomed: it is named until the vault has really deleted it. */
export function forgotten(ledger: Ledger, item: string): Ledger {
  const { [item]: record, ...keys } = ledger.keys
  const rest = { ...ledger, keys, doomed: [...new Set([...(ledger.doomed ?? []), item])] }
  if (record === undefined) return rest
  const { currentItem, ...profile } = profileRecord(ledger, record.profile)
  return currentItem === item ? withProfile(rest, record.profile, profile) : rest
}

/** The vault has deleted these. */
export function buried({ doomed = [], ...rest }: Ledger, items: readonly string[]): Ledger {
  const left = doomed.filter((item) => !items.includes(item))
  return left.length === 0 ? rest : { ...rest, doomed: left }
}

/** All of `from` belongs to `to` now. Both keep counting from where they are: no generation is ever used twice. */
export function renamed(ledger: Ledger, from: string, to: string): Ledger {
  const record = profileRecord(ledger, from)
  const { generation, currentItem, authItem } = record
  // Done before: what `to` has must not be replaced by nothing.
  if (currentItem === undefined && authItem === undefined && !hasKeys(ledger, from)) return ledger
  const keys = Object.fromEntries(
    Object.entries(ledger.keys).map(([item, key]) => [
      item,
      key.profile === from ? { ...key, profile: to } : key,
    ]),
  )
  const count = Math.max(generation, profileRecord(ledger, to).generation)
  const left = withProfile({ ...ledger, keys }, from, { ...NOTHING_KNOWN, generation })
  return withProfile(left, to, { ...record, generation: count, digest: '' })
}

function hasKeys({ keys }: Ledger, name: string): boolean {
  return Object.values(keys).some(({ profile }) => profile === name)
}

/** Nothing is known of the profile any more but how often its answer has changed. */
export function reset(ledger: Ledger, name: string): Ledger {
  const { generation, digest } = profileRecord(ledger, name)
  return withProfile(ledger, name, { ...NOTHING_KNOWN, generation, digest })
}

/** Every item that the ledger names: served keys, auth strings, and replaced keys that may still live. */
export function itemsInUse(ledger: Ledger): readonly string[] {
  const authItems = Object.values(ledger.profiles).flatMap(({ authItem }) => authItem ?? [])
  return [...Object.keys(ledger.keys), ...authItems]
}
/** A key as everyone may see it. Times in epoch ms. */

export interface KeyFacts {
  readonly fingerprint: string
  readonly origin: KeyRecord['origin']
  readonly id?: string
  readonly name?: string
  readonly issuedAt?: number
  readonly expiresAt?: number
  readonly isExpiryAssumed?: boolean
  readonly renewsAt?: number
}
/** A record as everyone may see it. */

export function keyFacts(record: KeyRecord, renewsAt?: number): KeyFacts {
  const { fingerprint, origin, cloudId, name, issuedAt, expiresAt, isExpiryAssumed } = record
  return {
    fingerprint,
    origin,
    issuedAt,
    ...defined({ id: cloudId, name, expiresAt, isExpiryAssumed, renewsAt }),
  }
}
