/** Settles the rotations that the journal names and nobody is at work on: finished, undone, or kept for the next look. */

import { dropEntry, type RotationEntry } from './journal.js'
import type { KeyKeeper } from './keeper.js'
import { abandon, type FinishRotationDeps, finishRotation, retire, settleLost } from './settle-rotation.js'

/** Never rejects. `underWay`: ids of entries that are somebody's work at this moment. */
export async function recoverRotations(
  deps: FinishRotationDeps,
  underWay: ReadonlySet<string>,
): Promise<void> {
  const { journal, keeper, clock, log, isTimeSure = () => true } = deps
  for (const entry of Object.values(journal.read().entries)) {
    if (entry.kind !== 'rotation' || underWay.has(entry.id)) continue
    const { id, profile, step } = entry
    try {
      log.info({ entry: id, profile, step }, 'settling what was left in the journal')
      await recoverEntry(deps, entry)
    } catch (error) {
      log.warn({ entry: id, profile, error }, 'a journal entry could not be settled yet')
    }
  }
  if (!isTimeSure()) return
  await purgeExpired(keeper, clock.now()).catch((error: unknown) =>
    log.warn({ error }, 'expired keys could not be forgotten yet'),
  )
}

async function recoverEntry(deps: FinishRotationDeps, entry: RotationEntry): Promise<void> {
  const { keeper, journal } = deps
  if (keeper.profile(entry.profile).currentItem === entry.item) {
    await retire(deps, entry)
    return dropEntry(journal, entry.id)
  }
  const record = keeper.ledger().keys[entry.item]
  const { cloudId } = record ?? entry
  const known = cloudId === undefined ? entry : { ...entry, cloudId }
  // The ledger is written after the vault: a record means that the item is there.
  if (entry.step !== 'lost' && record !== undefined) {
    await keeper.load()
    await finishRotation(deps, known)
    return
  }
  if (entry.step === 'lost' && record === undefined) return settleLost(deps, known)
  await abandon(deps, known)
}

/** Retired keys are kept until they are dead: until then they may be somebody's, and ours to revoke. */
async function purgeExpired(keeper: KeyKeeper, now: number): Promise<void> {
  for (const { item, retiredAt, expiresAt } of Object.values(keeper.ledger().keys)) {
    if (retiredAt !== undefined && expiresAt !== undefined && expiresAt < now) await keeper.forget(item)
  }
}
