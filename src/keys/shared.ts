/** Shared keys: what this machine must not forget of each share that it takes part in. Pure. */

import { BrokerError } from '../base/errors.js'
import { shownName } from '../profiles/bundled.js'
import { defined } from '../std/defined.js'
import { quoteWord } from '../std/text.js'

/** A key of the fleet in our vault. Times in epoch ms by Prefect's clock. */
export interface SharedKey {
  readonly item: string
  readonly id: string
  readonly createdAt: number
  readonly expiresAt?: number
}

export interface ShareRecord {
  /** This machine's name among the others; never another one's. */
  readonly machine: string
  /** The profiles that are served the shared key. */
  readonly profiles: readonly string[]
  /** The service account whose key it is; another document at the same path is refused. */
  readonly bound?: {
    readonly apiUrl: string
    readonly accountId: string
    readonly serviceAccountId: string
  }
  /** The key that is served; `n`: its number in the document. */
  readonly held?: SharedKey & { readonly n: number }
  /** Keys that this machine minted, until they are published or a newer one is. */
  readonly kept: readonly SharedKey[]
  /** The last time that this machine claimed its turn. */
  readonly intents: readonly { readonly machine: string; readonly nonce: string; readonly at: number }[]
}

/** The ledger's part. */
export interface SharedState {
  readonly shares?: Readonly<Record<string, ShareRecord>>
  /** Names of the secrets of stores that the vault has. */
  readonly shareSecrets?: readonly string[]
}

type WithShares = Pick<SharedState, 'shares'>

export function shareRecord({ shares = {} }: WithShares, name: string): ShareRecord | undefined {
  return Object.hasOwn(shares, name) ? shares[name] : undefined
}

/** `undefined` removes it. */
export function withShare<T extends WithShares>(ledger: T, name: string, record: ShareRecord | undefined): T {
  const { [name]: _, ...others } = ledger.shares ?? {}
  return { ...ledger, shares: { ...others, ...defined({ [name]: record }) } }
}

/** The share that the profile is served the key of. */
export function shareOf({ shares = {} }: WithShares, profile: string): string | undefined {
  return Object.entries(shares).find(([, { profiles }]) => profiles.includes(profile))?.[0]
}

/** The share that a stored key is of: it is stored for the share itself, or for a profile that uses it. */
export function sharedBy(
  ledger: WithShares,
  { profile, origin }: { readonly profile: string; readonly origin: string },
): string | undefined {
  if (origin !== 'service_account') return undefined
  return (
    shareOf(ledger, profile) ?? Object.keys(ledger.shares ?? {}).find((name) => holderOf(name) === profile)
  )
}

/** The share whose record names this item. */
export function shareKeeping({ shares = {} }: WithShares, item: string): string | undefined {
  return Object.entries(shares).find(([, { held, kept }]) =>
    [...kept, held ?? []].flat().some((key) => key.item === item),
  )?.[0]
}

/** Another key of its own would be replaced by the next shared one. Throws `profile_in_use`. */
export function requireUnshared(ledger: WithShares, profile: string): void {
  const share = shareOf(ledger, profile)
  if (share === undefined) return
  throw new BrokerError('profile_in_use', `profile ${shownName(profile)} has the key of share ${share}`, {
    hint: `prefect-auth share leave ${share} --profile ${quoteWord(profile)}      (or another profile)`,
  })
}

/** The share whose key a service account has: whoever rotates or deletes it does so for every machine. */
export function shareBoundTo(
  { shares = {} }: WithShares,
  account: { readonly apiUrl: string; readonly id: string },
): string | undefined {
  return Object.entries(shares).find(
    ([, { bound }]) => bound?.apiUrl === account.apiUrl && bound.serviceAccountId === account.id,
  )?.[0]
}

/** The profile leaves its share. Without a profile nothing is held; a key that is not published yet is still kept. */
export function withoutTie<T extends WithShares>(ledger: T, profile: string): T {
  const name = shareOf(ledger, profile)
  const record = name === undefined ? undefined : shareRecord(ledger, name)
  if (name === undefined || record === undefined) return ledger
  const profiles = record.profiles.filter((one) => one !== profile)
  const { held, bound, ...rest } = record
  const isOver = profiles.length === 0
  const isNeeded = !isOver || rest.kept.length > 0
  return withShare(ledger, name, {
    ...rest,
    profiles,
    ...defined(isOver ? {} : { held }),
    ...defined(isNeeded ? { bound } : {}),
  })
}

/** What was tied under the old name is tied under the new one. */
export function withRenamedShares<T extends WithShares>(ledger: T, from: string, to: string): T {
  if (shareOf(ledger, from) === undefined) return ledger
  const shares = Object.entries(ledger.shares ?? {}).map(([name, record]) => {
    const profiles = record.profiles.map((profile) => (profile === from ? to : profile))
    return [name, { ...record, profiles }] as const
  })
  return { ...ledger, shares: Object.fromEntries(shares) }
}

/** What a minted key is stored for until a profile is served it: to log a profile out must not take the only copy along. */
export function holderOf(share: string): string {
  return `share ${share}`
}

/** The vault item of a secret for a store. */
export function secretItem(name: string): string {
  return `share-secret:${name}`
}

interface Stored {
  readonly item: string
  readonly profile: string
  readonly cloudId?: string
  readonly issuedAt: number
  readonly expiresAt?: number
  readonly handedOut: boolean
  readonly retiredAt?: number
}

/** Minted keys of the share that its record does not know, because a crash came between the two. */
export function strayKeys(
  ledger: WithShares & { readonly keys: Readonly<Record<string, Stored>> },
  name: string,
): readonly SharedKey[] {
  const { kept = [], held } = shareRecord(ledger, name) ?? {}
  const known = new Set([...kept, held ?? []].flat().map(({ item }) => item))
  return Object.values(ledger.keys).flatMap((stored) => {
    const { item, profile, cloudId: id, issuedAt: createdAt, expiresAt } = stored
    const isStray = profile === holderOf(name) && !known.has(item) && !stored.handedOut
    if (!isStray || stored.retiredAt !== undefined || id === undefined) return []
    return [{ item, id, createdAt, ...defined({ expiresAt }) }]
  })
}
