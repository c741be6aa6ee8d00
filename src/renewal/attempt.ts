/** One attempt to renew one key: finishes what is begun, asks Prefect about the key, and only then makes a new one. */

import { BrokerError } from '../base/errors.js'
import type { Events } from '../base/events.js'
import type { Journal, RotationEntry } from '../keys/journal.js'
import type { Document } from '../keys/ledger.js'
import type { KeyRotator } from '../keys/rotate.js'
import { shownName } from '../profiles/bundled.js'
import type { Credentials } from '../serve/credentials.js'
import { type AskAboutKeyDeps, askAboutKey } from './ask-about-key.js'
import { findCurrentKey } from './due.js'

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
