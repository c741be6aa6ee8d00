/** What a change does to the ledger: the outcome that its entry names, or what is left once it is undone. Pure. */

import type { ChangeEntry } from './journal.js'
import {
  forgotten,
  forgottenFor,
  type Ledger,
  profileRecord,
  profilesServing,
  promoted,
  renamed,
  reset,
  withKey,
  withNote,
  withProfile,
} from './ledger.js'
import { withoutTie, withRenamedShares } from './shared.js'
import { bequeathed, withUser } from './sharing.js'

/** Applies what the entry names, as far as nothing newer has taken its place. */
export function decide(ledger: Ledger, { outcome, tables }: ChangeEntry, now: number): Ledger {
  const { promote, tie, rename, reach, forget, auth, revoke } = outcome
  let next = ledger
  if (promote !== undefined) next = withCurrent(next, promote)
  if (tie !== undefined) {
    // A renewal of the heir's key may have come in between.
    const { heir, item, ...found } = tie
    const current = heir === undefined ? item : profileRecord(next, heir).currentItem
    if (current !== undefined) next = withCurrent(next, { ...found, item: current })
  }
  if (rename !== undefined)
    next = withRenamedShares(renamed(next, rename.from, rename.to), rename.from, rename.to)
  if (reach !== undefined) next = withNote(next, [reach.profile, { workspaces: reach.workspaces }])
  if (auth !== undefined) next = withAuthItem(next, auth.profile, auth.item)
  if (forget === undefined) return next
  next = withoutTie(next, forget.profile)
  next = bequeathed(next, forget.profile, forget.heirs ?? {}, now)
  const found = tables.find(({ profile }) => profile === forget.profile)?.item
  const { currentItem, authItem } = profileRecord(next, forget.profile)
  next = withoutRotations(next, forget.items)
  const isOthers = (item: string) => profilesServing(ledger, item).some((name) => name !== forget.profile)
  // Until Prefect has deleted them, those that are this profile's alone are still known.
  const doomed = revoke === true ? forget.items.filter((item) => !isOthers(item)) : []
  next = doomed.reduce((one, item) => retired(one, item, now), next)
  next = forgottenFor(
    next,
    forget.profile,
    forget.items.filter((item) => !doomed.includes(item)),
  )
  // A key that came later keeps what is known of its owner.
  if (currentItem !== undefined && currentItem !== found && !forget.items.includes(currentItem)) return next
  if (authItem !== undefined && forget.items.includes(authItem)) next = forgotten(next, authItem)
  return reset(next, forget.profile)
}

function withCurrent(ledger: Ledger, found: NonNullable<ChangeEntry['outcome']['promote']>): Ledger {
  const { profile, item, at, ...patch } = found
  return promoted(withUser(ledger, item, patch.owner), item, { profile, patch }, at)
}

/**
 * What an undone change leaves: nothing of what it created, but keys of the file that are `missing` there now, which the
 * vault alone has.
 */
export function retiredFor(
  ledger: Ledger,
  entry: ChangeEntry,
  missing: readonly string[],
  now: number,
): Ledger {
  // As it is by now: another change may have left it a key.
  const { created, tables } = changeOf(ledger, entry.id) ?? entry
  const gone = created.filter((item) => !missing.includes(item) && profilesServing(ledger, item).length === 0)
  const kept = missing.filter((item) => profilesServing(ledger, item).length === 0)
  const by = tables.map(({ profile }) => profile)
  const left = gone.reduce((next, item) => forgotten(next, item, by), ledger)
  return kept.reduce((next, item) => retired(next, item, now), left)
}

function retired(ledger: Ledger, item: string, now: number): Ledger {
  const record = ledger.keys[item]
  return record === undefined ? ledger : withKey(ledger, { retiredAt: now, ...record })
}

function withAuthItem(ledger: Ledger, name: string, item: string | undefined): Ledger {
  const { authItem: before, ...rest } = profileRecord(ledger, name)
  const next = withProfile(ledger, name, item === undefined ? rest : { ...rest, authItem: item })
  return before === undefined || before === item ? next : forgotten(next, before)
}

/** A key that waits to be verified is not made current once it is forgotten: only Prefect may still have it. */
function withoutRotations(ledger: Ledger, items: readonly string[]): Ledger {
  const changes = Object.fromEntries(
    Object.entries(ledger.changes ?? {}).map(([id, entry]) => {
      const isLost = entry.kind === 'rotation' && items.includes(entry.item)
      return [id, isLost ? ({ ...entry, step: 'lost' } as const) : entry]
    }),
  )
  return { ...ledger, changes }
}

/** Another profile may have stored the same key since the intent was noted: it keeps the name that it has there. */
export function withItem(entry: ChangeEntry, item: string | undefined): ChangeEntry {
  const { promote } = entry.outcome
  if (promote === undefined || item === undefined) return entry
  return { ...entry, outcome: { ...entry.outcome, promote: { ...promote, item } } }
}

function changeOf({ changes = {} }: Ledger, id: string): ChangeEntry | undefined {
  const entry = changes[id]
  return entry?.kind === 'change' ? entry : undefined
}
