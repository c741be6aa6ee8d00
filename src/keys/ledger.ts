/** The ledger: what is known of every profile and key, and each kind of change of it. Pure. */

import type { Owner, Workspace } from '../prefect/cloud.js'
import { defined } from '../std/defined.js'
import { type ChangeEntry, itemsNeeded, type Journal, type JournalEntry } from './journal.js'
import type { MadeKeys } from './made.js'
import type { SharedState } from './shared.js'

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
  /** The key's id at Prefect, if an API response contained it. */
  readonly cloudId?: string
  /** The id of the user who owns the key; deleting it takes this and `cloudId`. */
  readonly userId?: string
  readonly name?: string
  readonly issuedAt: number
  readonly expiresAt?: number
  /** True if `expiresAt` is our guess (29 days for a browser key), not Prefect's. */
  readonly isExpiryAssumed?: boolean
  /** Durable before the key is first sent to anyone. */
  readonly handedOut: boolean
  /** When another key replaced it. */
  readonly retiredAt?: number
  /** Prefect has begun to refuse it; see `verdict.ts`; times in epoch ms. */
  readonly doubt?: {
    /** The first refusal. */
    readonly since: number
    /** The last refusal that counted. */
    readonly last: number
    readonly refusals: number
  }
  /** When Prefect's refusals were believed; it is asked about again. */
  readonly rejectedAt?: number
  /** The last expiry warning that was given: this many days before. */
  readonly warned?: number
}

/** How the last renewal of a profile's key ended. */
export interface LastRenewal {
  /** Epoch ms. */
  readonly at: number
  readonly outcome: 'done' | 'failed'
  /** The error's code and message, if it failed. */
  readonly code?: string
  readonly message?: string
}

/** What we hold for one profile. */
export interface ProfileRecord {
  /** The item of the key that is served. */
  readonly currentItem?: string
  /** The item of a server profile's auth string, if it is in the vault and not in the file. */
  readonly authItem?: string
  readonly owner?: Owner
  /** As of the last request to Prefect. */
  readonly workspaces: readonly Workspace[]
  /** Counts every change of what is served for the profile; never goes back. */
  readonly generation: number
  /** Of what is served at `generation`; reveals no secrets. */
  readonly digest: string
  /** Why the last login's key could not be exchanged, for the status. */
  readonly exchangeRefused?: string
  readonly lastRenewal?: LastRenewal
}

/** Everything durable except the secrets. Replaced whole, atomically. Profile names may be anything, `__proto__` too. */
export interface Ledger extends SharedState {
  readonly profiles: Readonly<Record<string, ProfileRecord>>
  readonly keys: Readonly<Record<string, KeyRecord>>
  /** Forgotten items that the vault has not deleted yet. */
  readonly doomed?: readonly string[]
  /** What a profile without a record counts from; default 0. */
  readonly generationsFrom?: number
  /** Keys that were created for use elsewhere, by our own names for them. */
  readonly made?: MadeKeys
  /** The journal: in this document, so that one write can apply a change and note that it is done. */
  readonly changes?: Journal['entries']
}

export const EMPTY_LEDGER: Ledger = { profiles: {}, keys: {} }

const NOTHING_KNOWN: ProfileRecord = { workspaces: [], generation: 0, digest: '' }

/** What is known of a profile besides its keys; `exchangeRefused: undefined` removes a refusal. */
export type ProfileNote = Partial<
  Pick<ProfileRecord, 'owner' | 'workspaces' | 'generation' | 'digest' | 'lastRenewal'>
> & {
  readonly exchangeRefused?: string | undefined
}

export function profileRecord({ profiles, generationsFrom }: Ledger, name: string): ProfileRecord {
  const record = Object.hasOwn(profiles, name) ? profiles[name] : undefined
  if (record !== undefined) return record
  return generationsFrom === undefined ? NOTHING_KNOWN : { ...NOTHING_KNOWN, generation: generationsFrom }
}

/** The record of the profile's current key, with its item. */
export function currentKey(ledger: Ledger, name: string): KeyRecord | undefined {
  const { currentItem } = profileRecord(ledger, name)
  return currentItem === undefined ? undefined : ledger.keys[currentItem]
}

/** All keys of the profile: the current one, which another profile may have too, and retired ones. */
export function keysOf(ledger: Ledger, name: string): readonly KeyRecord[] {
  const { currentItem } = profileRecord(ledger, name)
  return Object.values(ledger.keys).filter(({ profile, item }) => profile === name || item === currentItem)
}

/** The profiles that are served this item. */
export function profilesServing({ profiles }: Ledger, item: string): readonly string[] {
  return Object.entries(profiles).flatMap(([name, { currentItem }]) => (currentItem === item ? [name] : []))
}

export function withProfile(ledger: Ledger, name: string, record: ProfileRecord): Ledger {
  return { ...ledger, profiles: { ...ledger.profiles, [name]: record } }
}

export function withKey(ledger: Ledger, record: KeyRecord): Ledger {
  return { ...ledger, keys: { ...ledger.keys, [record.item]: record } }
}

function noted(record: ProfileRecord, patch: ProfileNote): ProfileRecord {
  const { exchangeRefused, ...rest } = { ...record, ...patch }
  return exchangeRefused === undefined ? rest : { ...rest, exchangeRefused }
}

/** The journal without this entry. */
export function withoutChange(ledger: Ledger, id: string): Ledger {
  const { [id]: _, ...changes } = ledger.changes ?? {}
  return { ...ledger, changes }
}

export function withChange(ledger: Ledger, entry: JournalEntry): Ledger {
  return { ...ledger, changes: { ...ledger.changes, [entry.id]: entry } }
}

/**
 * The item becomes the current one of its profile, and the current one retired. Nothing changes if the item is unknown, or
 * if `replacing` is given and another item is current. A renewal (`replacing`) is one for every profile with that key.
 */
export function promoted(
  ledger: Ledger,
  item: string,
  {
    patch = {},
    replacing,
    profile = ledger.keys[item]?.profile ?? '',
  }: {
    readonly patch?: Partial<ProfileRecord>
    readonly replacing?: string
    /** Default: the profile that the key was stored for. */
    readonly profile?: string
  },
  now: number,
): Ledger {
  const record = ledger.keys[item]
  if (record === undefined) return ledger
  const { exchangeRefused: _, ...before } = profileRecord(ledger, profile)
  if (replacing !== undefined && before.currentItem !== replacing) return ledger
  const { retiredAt: __, ...known } = record
  const isOthers = profilesServing(ledger, item).some((name) => name !== profile)
  const live = isOthers ? known : { ...known, profile }
  const old = currentKey(ledger, profile)
  // Only a renewal passes `replacing`. Same write, so that a crash cannot separate the two.
  const isRenewal = replacing !== undefined
  const sharing = isRenewal ? profilesServing(ledger, replacing).filter((name) => name !== profile) : []
  const renewal = isRenewal ? { lastRenewal: { at: now, outcome: 'done' as const } } : {}
  const own = { ...before, ...patch, ...renewal, currentItem: item }
  const moved = [profile, ...sharing].reduce(
    (next, name) => {
      if (name === profile) return withProfile(next, name, own)
      return withProfile(next, name, { ...profileRecord(next, name), ...renewal, currentItem: item })
    },
    withKey(ledger, live),
  )
  return old === undefined || old.item === item ? moved : replaced(moved, old, now)
}

/** A key that its profile no longer uses is retired, or stays the key of another profile. */
function replaced(ledger: Ledger, old: KeyRecord, at: number): Ledger {
  const [other] = profilesServing(ledger, old.item)
  return withKey(ledger, other === undefined ? { ...old, retiredAt: at } : { ...old, profile: other })
}

/**
 * Removes the record; its item stays doomed until the vault has deleted it. A key that a change under way still needs becomes
 * one that this change has created. `by`: the profiles of the change that forgets it.
 */
export function forgotten(ledger: Ledger, item: string, by: readonly string[] = []): Ledger {
  const { [item]: record, ...keys } = ledger.keys
  const heir = Object.values(ledger.changes ?? {}).find(
    (entry): entry is ChangeEntry =>
      entry.kind === 'change' &&
      itemsNeeded(entry).includes(item) &&
      !entry.tables.some(({ profile }) => by.includes(profile)),
  )
  const rest: Ledger =
    heir === undefined || record === undefined
      ? { ...ledger, keys, doomed: [...new Set([...(ledger.doomed ?? []), item])] }
      : withChange(withKey(ledger, { ...record, profile: heir.profile }), {
          ...heir,
          created: [...new Set([...heir.created, item])],
        })
  return profilesServing(ledger, item).reduce((current, name) => {
    const { currentItem: __, ...profile } = profileRecord(current, name)
    return withProfile(current, name, profile)
  }, rest)
}

/** Forgets the items as far as no other profile is served them: those become the other profile's alone. */
export function forgottenFor(ledger: Ledger, name: string, items: readonly string[]): Ledger {
  return items.reduce((current, item) => {
    const other = profilesServing(current, item).find((one) => one !== name)
    if (other === undefined) return forgotten(current, item, [name])
    const record = current.keys[item]
    const moved = record === undefined ? current : withKey(current, { ...record, profile: other })
    const { currentItem, ...profile } = profileRecord(moved, name)
    return currentItem === item ? withProfile(moved, name, profile) : moved
  }, ledger)
}

/** The vault has deleted these. */
export function buried({ doomed = [], ...rest }: Ledger, items: readonly string[]): Ledger {
  const left = doomed.filter((item) => !items.includes(item))
  return left.length === 0 ? rest : { ...rest, doomed: left }
}

/** What is noted of one profile, in the ledger. */
export function withNote(ledger: Ledger, [name, patch]: readonly [string, ProfileNote]): Ledger {
  return withProfile(ledger, name, noted(profileRecord(ledger, name), patch))
}

/** Everything of `from` now belongs to `to`, if there is anything. Both keep their generation: none is ever used twice. */
export function renamed(ledger: Ledger, from: string, to: string): Ledger {
  const record = profileRecord(ledger, from)
  const { generation, currentItem, authItem } = record
  if (currentItem === undefined && authItem === undefined && keysOf(ledger, from).length === 0) return ledger
  const keys = Object.fromEntries(
    Object.entries(ledger.keys).map(([item, key]) => [
      item,
      key.profile === from ? { ...key, profile: to } : key,
    ]),
  )
  const changes = Object.fromEntries(
    Object.entries(ledger.changes ?? {}).map(([id, entry]) => [
      id,
      entry.kind !== 'change' && entry.profile === from ? { ...entry, profile: to } : entry,
    ]),
  )
  const moved = ledger.changes === undefined ? { ...ledger, keys } : { ...ledger, keys, changes }
  const count = Math.max(generation, profileRecord(ledger, to).generation)
  const left = withProfile(moved, from, { ...NOTHING_KNOWN, generation })
  return withProfile(left, to, { ...record, generation: count, digest: '' })
}

/** Forgets everything known of the profile except its generation. */
export function reset(ledger: Ledger, name: string): Ledger {
  const { generation, digest } = profileRecord(ledger, name)
  return withProfile(ledger, name, { ...NOTHING_KNOWN, generation, digest })
}

/** Every item that the ledger names: current and retired keys, auth strings, and what a change under way has made. */
export function itemsInUse({ keys, profiles, changes = {} }: Ledger): readonly string[] {
  const authItems = Object.values(profiles).flatMap(({ authItem }) => authItem ?? [])
  const created = Object.values(changes).flatMap((entry) => (entry.kind === 'change' ? entry.created : []))
  return [...new Set([...Object.keys(keys), ...authItems, ...created])]
}

/** A key as every caller may see it. Times in epoch ms. */
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

/** `renewsAt`: when the key will be renewed, epoch ms. */
export function keyFacts(record: KeyRecord, renewsAt?: number): KeyFacts {
  const { fingerprint, origin, cloudId, name, issuedAt, expiresAt, isExpiryAssumed } = record
  return {
    fingerprint,
    origin,
    issuedAt,
    ...defined({ id: cloudId, name, expiresAt, isExpiryAssumed, renewsAt }),
  }
}
