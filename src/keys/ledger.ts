/** Pure: the ledger before and after each kind of change. Names of profiles may be anything, `__proto__` too. */
import type { KeyRecord, Ledger, ProfileRecord } from './keys.js'

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
