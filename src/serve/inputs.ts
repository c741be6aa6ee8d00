/** What an answer is decided from: gathered for a profile, and compared with what it was decided from before. Pure. */

import type { KeyKeeper } from '../keys/keeper.js'
import { currentKey, type Ledger, profileRecord } from '../keys/ledger.js'
import type { Verdicts } from '../keys/verdicts.js'
import type { ProfileReading, ResolvedProfile } from '../profiles/profile.js'
import { defined } from '../std/defined.js'
import { type AnswerInputs, unreadFile } from './answer.js'

/** What is known of `resolved` by `ledger`, and of what memory holds of it now. */
export function gatherInputs(
  {
    keeper,
    verdicts,
    renewsAt,
    reading,
  }: {
    readonly keeper: KeyKeeper
    readonly verdicts: Pick<Verdicts, 'of'> | undefined
    readonly renewsAt: ((item: string) => number | undefined) | undefined
    readonly reading: ProfileReading
  },
  ledger: Ledger,
  resolved: ResolvedProfile,
): AnswerInputs {
  const known = profileRecord(ledger, resolved.name)
  const record = currentKey(ledger, resolved.name)
  const { authItem } = known
  const { cloudApiUrl, fileKey } = resolved
  const fingerprint = fileKey?.fingerprint()
  const fileStanding = fingerprint && verdicts?.of(cloudApiUrl, fingerprint)
  const inFile = fileKey && keeper.find(fileKey, cloudApiUrl)
  const { keysWith, ownerOf } = keeper.index(ledger)
  return {
    resolved,
    known,
    keys: fingerprint === undefined ? [] : keysWith(fingerprint),
    isFileKeyDoubted: fileStanding !== undefined && fileStanding !== 'good',
    ...defined({
      unread: unreadFile(reading),
      fileOwner: inFile && ownerOf(inFile),
      current: record && {
        record,
        held: keeper.held(record.item),
        ...defined({ renewsAt: renewsAt?.(record.item) }),
      },
      auth: authItem === undefined ? undefined : { item: authItem, held: keeper.held(authItem) },
    }),
  }
}

/**
 * Whether the same is known: the same records, secrets and tables, not only equal ones. The answer is the same then; inputs
 * that are not the same may still lead to an equal answer.
 */
export function isSameInputs(before: AnswerInputs, now: AnswerInputs): boolean {
  const { keys, current, auth, ...others } = now
  return (
    isSameParts({ ...before, keys: 0, current: 0, auth: 0 }, { ...others, keys: 0, current: 0, auth: 0 }) &&
    isSameParts(before.keys, keys) &&
    isSameParts(before.current, current) &&
    isSameParts(before.auth, auth)
  )
}

function isSameParts(before: object | undefined, now: object | undefined): boolean {
  if (before === undefined || now === undefined) return before === now
  const parts = Object.entries(now)
  const known = new Map<string, unknown>(Object.entries(before))
  return parts.length === known.size && parts.every(([name, part]) => known.get(name) === part)
}
