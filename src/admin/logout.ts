/** Log-out: forgets a profile's keys here and, if asked to, deletes at Prefect those whose id is known. */

import type { Events } from '../base/events.js'
import type { Changes } from '../keys/change.js'
import { heirsOf, plannedFromFile } from '../keys/from-file.js'
import type { ChangePlan } from '../keys/intent.js'
import { rotationsOf } from '../keys/journal.js'
import type { KeyKeeper } from '../keys/keeper.js'
import { keysOf } from '../keys/ledger.js'
import { NO_ID, USED_ELSEWHERE } from '../keys/revocation.js'
import type { KeyRotator } from '../keys/rotate.js'
import { shareOf } from '../keys/shared.js'
import type { ProfileReading } from '../profiles/profile.js'
import { unreadFile } from '../serve/answer.js'
import type { Credentials } from '../serve/credentials.js'
import { defined } from '../std/defined.js'
import type { Secret } from '../std/secret.js'

/** Keys by fingerprint. */
export interface LogoutOutcome {
  readonly forgotten: readonly string[]
  readonly revoked: readonly string[]
  readonly notRevoked: readonly { readonly fingerprint: string; readonly reason: string }[]
  /** The share that the profile has left: its key was forgotten here only. */
  readonly share?: string
}

interface LogOutParts {
  readonly changes: Changes
  readonly keeper: KeyKeeper
  readonly rotator: Pick<KeyRotator, 'recover'>
  readonly credentials: Credentials
  readonly events: Events
  readonly now: () => number
  readonly newId: () => string
  /** Forgets the shared key of the profile here, and nothing at Prefect; returns the fingerprints. */
  readonly leaveShare: (share: string, profile: string) => Promise<readonly string[]>
  /** Brings what is served up to date. */
  readonly settle: () => Promise<void>
}

/**
 * Rejects as `ProfileStore.edit` does; nothing has changed then. Whatever the change of this profile before it was, it is
 * over: a key that a renewal has just minted is among those that are forgotten and revoked.
 */
export async function logOut(
  { changes, keeper, rotator, credentials, events, now, newId, leaveShare, settle }: LogOutParts,
  name: string,
  revoke: boolean,
  keepUnrevoked = false,
): Promise<LogoutOutcome> {
  const share = shareOf(keeper.ledger(), name)
  const left = share === undefined ? [] : await leaveShare(share, name)
  // Settled first while there is a key to ask with: what a renewal has begun must not outlive the log-out at Prefect.
  if (revoke && rotationsOf({ entries: keeper.ledger().changes ?? {} }, name).length > 0)
    await rotator.recover()
  let ours: readonly string[] = []
  let inFile: readonly string[] = []
  let isCopy = false
  let kept: readonly string[] = []
  const plan = async (reading: ProfileReading): Promise<ChangePlan> => {
    const { file } = reading
    // It may have a key.
    const unread = unreadFile(reading)
    if (unread !== undefined) throw unread
    await settle()
    const records = keysOf(keeper.ledger(), name)
    ours = records.map(({ fingerprint }) => fingerprint)
    const heirs = heirsOf(file, name, records)
    kept = records.flatMap(({ item, fingerprint }) => (Object.hasOwn(heirs, item) ? [fingerprint] : []))
    // A profile that is no longer in the file may still have keys here: logging out removes them.
    const isKeptOnly = records.length > 0 && !file.profiles.has(name)
    const resolved = isKeptOnly ? undefined : credentials.state(name).resolved
    const planned = resolved && plannedFromFile(resolved, { item: `key-${newId()}`, now: now() })
    inFile = fingerprints(resolved?.fileKey)
    const known = planned && keeper.find(planned.key, planned.about.cloudApiUrl)
    // A copy of another profile's key: its jobs may hold it.
    isCopy =
      known !== undefined && known.profile !== name && keysOf(keeper.ledger(), known.profile).length > 0
    const item = planned && !isCopy ? (known?.item ?? planned.about.item) : undefined
    const { authItem } = keeper.profile(name)
    const items = [...records.map((record) => record.item), item ?? [], authItem ?? []]
      .flat()
      .filter((one) => !Object.hasOwn(heirs, one))
    return {
      act: 'logout',
      // Only for the case that the log-out fails and the file gets its key back.
      keys: planned === undefined ? [] : [{ ...planned, isOptional: true }],
      edits: inFile.length > 0 ? [{ kind: 'set', name, settings: { PREFECT_API_KEY: undefined } }] : [],
      outcome: {
        forget: { profile: name, items: [...new Set(items)], heirs },
        revoke,
        ...(keepUnrevoked ? { keepUnrevoked } : {}),
      },
    }
  }
  const { revoked: asked } = await changes.run([name], plan)
  const revoked = asked.flatMap(({ fingerprint, reason }) => (reason === undefined ? [fingerprint] : []))
  const notRevoked = asked.flatMap(({ fingerprint, reason }) =>
    reason === undefined ? [] : [{ fingerprint, reason }],
  )
  const forgotten = [...new Set([...left, ...ours, ...inFile])]
  events.emit('logout.done', { profile: name, facts: { forgotten, revoked } })
  const told = new Set(asked.map(({ fingerprint }) => fingerprint))
  const untold = revoke ? [...new Set([...kept, ...inFile])].filter((one) => !told.has(one)) : []
  const others = untold.map((fingerprint) => {
    const isUsed = isCopy || kept.includes(fingerprint)
    return { fingerprint, reason: isUsed ? USED_ELSEWHERE : NO_ID }
  })
  return { forgotten, revoked, notRevoked: [...notRevoked, ...others], ...defined({ share }) }
}

function fingerprints(key: Secret | undefined): readonly string[] {
  return key === undefined || key.length === 0 ? [] : [key.fingerprint()]
}
