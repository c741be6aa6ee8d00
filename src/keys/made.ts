/** Made keys: created at Prefect for use elsewhere. Their text is not kept; what identifies them is. Pure. */

/** Times in epoch ms. */
export interface MadeKey {
  readonly name: string
  /** The profile whose key created it. */
  readonly profile: string
  readonly cloudApiUrl: string
  readonly userId: string
  /** When Prefect was asked. */
  readonly startedAt: number
  /** The key's id at Prefect. Absent: the answer never came, so the key may or may not exist. */
  readonly id?: string
  readonly fingerprint?: string
  /** Absent: never expires, or unknown without an `id`. */
  readonly expiresAt?: number
}

export type MadeKeys = Readonly<Record<string, MadeKey>>

interface WithMade {
  readonly made?: MadeKeys
}

/** `ours`: our own name of it, known before Prefect is asked. */
export function withMade<T extends WithMade>(ledger: T, ours: string, key: MadeKey): T {
  return { ...ledger, made: { ...ledger.made, [ours]: key } }
}

export function withoutMade<T extends WithMade>(
  ledger: T,
  isGone: (key: MadeKey, ours: string) => boolean,
): T {
  const kept = Object.entries(ledger.made ?? {}).filter(([ours, key]) => !isGone(key, ours))
  return { ...ledger, made: Object.fromEntries(kept) }
}

/** The made key with this fingerprint, if it is one: whoever brings its text brings a key that is known. */
export function findMade(
  { made = {} }: WithMade,
  { fingerprint, cloudApiUrl }: { readonly fingerprint: string; readonly cloudApiUrl: string },
): MadeKey | undefined {
  return Object.values(made).find((key) => key.fingerprint === fingerprint && key.cloudApiUrl === cloudApiUrl)
}
