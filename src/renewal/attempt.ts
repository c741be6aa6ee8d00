/** One attempt to renew one key: finishes what is begun, asks Prefect about the key, and only then makes a new one. */
import { BrokerError, isBrokerError } from '../base/errors.js'
import type { Events } from '../base/events.js'
import type { Journal, RotationEntry } from '../keys/journal.js'
import type { KeyKeeper } from '../keys/keeper.js'
import type { KeyRotator } from '../keys/rotate.js'
import type { Document } from '../os/document.js'
import { type CloudApi, verifyKey } from '../prefect/cloud.js'
import type { ServerTime } from '../prefect/server-time.js'
import { shownName } from '../profiles/bundled.js'
import type { Credentials } from '../serve/credentials.js'
import { type CurrentKey, findCurrentKey } from './due.js'

interface AskAboutKeyDeps {
  readonly keeper: KeyKeeper
  readonly cloud: CloudApi
  readonly time: ServerTime
}

/**
 * `rejected`: Prefect said 401 twice, or could not say but told a time past the key's expiry. Rejects with everything that
 * says nothing about the key, and with `owner_mismatch` where it is another's than before.
 */
async function askAboutKey(deps: AskAboutKeyDeps, current: CurrentKey): Promise<'good' | 'rejected'> {
  const { cloud } = deps
  const target = { cloudApiUrl: current.record.cloudApiUrl, key: current.key }
  try {
    const { owner, workspaces } = await verifyKey(cloud, target)
    requireSameOwner(current, owner.id)
    // An empty list may be a moment's: the names we know are worth more.
    if (workspaces.length > 0) await deps.keeper.note(current.record.profile, { workspaces })
    return 'good'
  } catch (error) {
    if (!isBrokerError(error, 'key_rejected')) {
      if (isPastExpiry(deps, current, error)) return 'rejected'
      throw error
    }
  }
  // One 401 may be a hiccup: the next call proves it, or says what else is wrong.
  try {
    await cloud.workspaces(target)
  } catch (error) {
    if (isBrokerError(error, 'key_rejected')) return 'rejected'
    throw error
  }
  throw new BrokerError('prefect_failed', 'Prefect refused the key, and accepted it a moment later')
}

function requireSameOwner({ owner, record }: CurrentKey, id: string): void {
  if (owner === undefined || owner.id === id) return
  throw new BrokerError(
    'owner_mismatch',
    `Prefect says that the key of profile ${shownName(record.profile)} belongs to somebody else than before`,
    { hint: 'prefect-auth login --switch-owner' },
  )
}

/** Prefect's own time says that it is over, although Prefect could not say so itself just now. */
function isPastExpiry({ time }: AskAboutKeyDeps, { record }: CurrentKey, error: unknown): boolean {
  const isAnswer = isBrokerError(error, 'prefect_failed', 'prefect_rate_limited', 'prefect_forbidden')
  const told = time.toldAt()
  if (!isAnswer || told === undefined || record.expiresAt === undefined) return false
  return record.isExpiryAssumed !== true && told > record.expiresAt
}

export interface AttemptRenewalDeps extends AskAboutKeyDeps {
  readonly credentials: Credentials
  readonly rotator: KeyRotator
  readonly journal: Document<Journal>
  readonly events: Events
}

export type Attempt = 'renewed' | 'not_due' | 'rejected'

/** Rejects with what stood in the way; the key that was served is served on. */
export async function attemptRenewal(
  deps: AttemptRenewalDeps,
  profile: string,
  { isForced }: { readonly isForced: boolean },
): Promise<Attempt> {
  const { keeper, rotator, events } = deps
  if (pendingRotation(deps, profile) !== undefined && !rotator.isRotating(profile)) {
    const before = keeper.profile(profile).currentItem
    await rotator.recover()
    if (keeper.profile(profile).currentItem !== before) return 'renewed'
    // A second key beside one that only waits to be verified would help nobody.
    if (pendingRotation(deps, profile) !== undefined) throw unsettled(profile)
  }
  const current = findCurrentKey(deps, profile)
  if (current === undefined) {
    throw new BrokerError('login_required', `profile ${shownName(profile)} has no key of ours to renew`)
  }
  if ((await askAboutKey(deps, current)) === 'rejected') return 'rejected'
  // Only now is it known what time it is, and nobody replaced the key meanwhile.
  if (!isForced && !isDue(deps, profile)) return 'not_due'
  const { fingerprint } = current.record
  events.emit('renewal.started', { profile, facts: { fingerprint } })
  await rotator.rotate(profile)
  return 'renewed'
}

/** Whether the profile's key should be renewed at this moment, as far as our clock knows it. */
export function isDue(
  deps: Pick<AttemptRenewalDeps, 'keeper' | 'credentials' | 'time'>,
  profile: string,
): boolean {
  const plan = findCurrentKey(deps, profile)?.plan
  return plan?.kind === 'renew' && deps.time.clock.now() >= plan.at
}

/** A rotation that somebody has begun and nobody has finished. */
export function pendingRotation(
  { journal }: Pick<AttemptRenewalDeps, 'journal'>,
  profile: string,
): RotationEntry | undefined {
  return Object.values(journal.read().entries).find(
    (entry): entry is RotationEntry =>
      entry.kind === 'rotation' && entry.profile === profile && entry.step !== 'lost',
  )
}

function unsettled(profile: string): BrokerError {
  return new BrokerError(
    'prefect_unreachable',
    `the new key of profile ${shownName(profile)} is made and stored, but could not be verified yet`,
    { hint: 'prefect-auth doctor' },
  )
}
