/** Shared keys: what this machine must not forget of each share that it takes part in. Pure. */

import { defined } from '../std/defined.js'

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

export type ShareRecords = Readonly<Record<string, ShareRecord>>

interface WithShares {
  readonly shares?: ShareRecords
}

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
