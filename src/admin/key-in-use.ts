/** Whether a key at Prefect, known by its id, is one that a profile uses: certainly, or as far as can be told. Pure. */

import type { Disposal } from '../keys/disposal.js'
import type { KeyKeeper } from '../keys/keeper.js'
import { profileRecord, profilesServing } from '../keys/ledger.js'
import type { CloudKey } from '../prefect/cloud.js'
import type { Credentials } from '../serve/credentials.js'
import { MINUTE_MS } from '../std/clock.js'
import { defined } from '../std/defined.js'

export interface KeyInUse {
  /** Absent: the profile file could not be read yet, and may name any key. */
  readonly profile?: string
  /** False: the profile uses a key whose id is not known, and it may be this one. */
  readonly isCertain: boolean
}

interface AskedKey {
  readonly id: string
  readonly userId: string
  readonly cloudApiUrl: string
  /** If the key was created here, or the vault has it. */
  readonly fingerprint?: string
  /** What Prefect says of it; absent: nothing. */
  readonly read?: CloudKey
}

interface Places {
  readonly credentials: Pick<Credentials, 'states'>
  readonly keeper: Pick<KeyKeeper, 'ledger' | 'find'>
  readonly disposal: Pick<Disposal, 'isInUse'>
}

/** Two machines' clocks differ by less. */
const SKEW_MS = 10 * MINUTE_MS

/** `undefined`: no profile uses it. */
export function findKeyInUse(places: Places, key: AskedKey): KeyInUse | undefined {
  const { keeper, disposal } = places
  const { id, cloudApiUrl, fingerprint } = key
  const ledger = keeper.ledger()
  if (disposal.isInUse({ cloudApiUrl, cloudId: id, ...defined({ fingerprint }) })) {
    const record = Object.values(ledger.keys).find(
      (one) => one.cloudApiUrl === cloudApiUrl && (one.cloudId === id || one.fingerprint === fingerprint),
    )
    const [serving] = record === undefined ? [] : profilesServing(ledger, record.item)
    const profile = serving ?? record?.profile ?? profileWith(places, fingerprint)
    return { isCertain: true, ...defined({ profile }) }
  }
  // A key of which the fingerprint is known: no other key can be it.
  if (fingerprint !== undefined || key.read === undefined) return undefined
  return findCandidate(places, key, key.read)
}

function profileWith({ credentials }: Places, fingerprint: string | undefined): string | undefined {
  return credentials.states().find(({ resolved }) => resolved.fileKey?.fingerprint() === fingerprint)
    ?.resolved.name
}

/** A key in use without an id: of the same user, and not older than the one that is asked about. */
function findCandidate(
  { credentials, keeper }: Places,
  { userId, cloudApiUrl }: AskedKey,
  { createdAt, expiresAt }: CloudKey,
): KeyInUse | undefined {
  const ledger = keeper.ledger()
  const served = Object.values(ledger.keys).find((record) => {
    const [profile] = profilesServing(ledger, record.item)
    if (profile === undefined || record.cloudId !== undefined) return false
    if (record.cloudApiUrl !== cloudApiUrl || record.origin === 'service_account') return false
    const { owner } = profileRecord(ledger, profile)
    if ((record.userId ?? owner?.id ?? userId) !== userId) return false
    if (record.isExpiryAssumed !== true && record.expiresAt !== undefined && record.expiresAt !== expiresAt)
      return false
    // We had ours before this one was created.
    return createdAt === undefined || createdAt <= record.issuedAt + SKEW_MS
  })
  if (served !== undefined) {
    return { profile: profilesServing(ledger, served.item)[0] ?? served.profile, isCertain: false }
  }
  const written = credentials.states().find(({ resolved: { fileKey, cloudApiUrl: itsHost, kind } }) => {
    if (fileKey === undefined || kind !== 'cloud' || itsHost !== cloudApiUrl) return false
    return !fileKey.startsWith('pnb_') && keeper.find(fileKey, cloudApiUrl) === undefined
  })
  return written && { profile: written.resolved.name, isCertain: false }
}
