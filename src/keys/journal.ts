/** The journal of unfinished key changes: names items, never holds a secret. */

import type { Document } from '../os/document.js'
import type { Owner, Workspace } from '../prefect/cloud.js'

/**
 * `intended`: a key may have been minted at Prefect under `keyName`, and is not stored yet.
 * `stored`: it is in the vault under `item`. `lost`: it must not be used, because Prefect's response never came or the key
 * failed verification; it is known by name, or by `cloudId` if that was returned, and must be deleted at Prefect.
 */
type JournalStep = 'intended' | 'stored' | 'lost'

export interface RotationEntry {
  readonly kind: 'rotation'
  readonly id: string
  readonly profile: string
  readonly step: JournalStep
  /** The vault item of the new key. */
  readonly item: string
  /** The item of the key it replaces. */
  readonly oldItem: string
  /** The minted key's name: host, profile and journal id, so that a person recognizes it on Prefect's key page. */
  readonly keyName: string
  readonly userId: string
  readonly cloudApiUrl: string
  /** Epoch ms. */
  readonly startedAt: number
  /** The new key's id at Prefect, once known: deleting it takes this. */
  readonly cloudId?: string
}

/** A login whose key is stored under `item`: the key must become current and the profile get its URL, both or neither. */
export interface LoginEntry {
  readonly kind: 'login'
  readonly id: string
  readonly profile: string
  readonly item: string
  readonly owner: Owner
  readonly workspaces: readonly Workspace[]
  readonly apiUrl: string
  readonly isToBeActive: boolean
}

/** A profile that is being renamed to `to`: the file and the ledger must agree. */
export interface RenameEntry {
  readonly kind: 'rename'
  readonly id: string
  readonly profile: string
  readonly to: string
}

/** A service account's key that is being made at Prefect, stored under `item` and made current. */
export interface BotEntry {
  readonly kind: 'service_account'
  readonly id: string
  readonly profile: string
  readonly item: string
  /** The item of the key it replaces, if there was one. */
  readonly oldItem?: string
  readonly accountId: string
  /** The name of the service account. */
  readonly name: string
  readonly cloudApiUrl: string
  /** Epoch ms. */
  readonly startedAt: number
}

type JournalEntry = RotationEntry | LoginEntry | RenameEntry | BotEntry

export interface Journal {
  readonly entries: Readonly<Record<string, JournalEntry>>
}

export const EMPTY_JOURNAL: Journal = { entries: {} }

/** The journal of a document that keeps it among other things: one write can change both. */
export function journalOf<T extends { readonly changes?: Journal['entries'] }>(
  document: Document<T>,
): Document<Journal> {
  const journal = ({ changes = {} }: T): Journal => ({ entries: changes })
  return {
    read: () => journal(document.read()),
    async update(change) {
      return journal(
        await document.update((current) => ({ ...current, changes: change(journal(current)).entries })),
      )
    },
  }
}

/** Whether to finish or undo it at once; a lost key is only looked for now and then. */
export function isHalfDone(entry: JournalEntry): boolean {
  return entry.kind !== 'rotation' || entry.step !== 'lost'
}

/** Writes or replaces an entry, durably. A login replaces an unfinished older one of the same profile. */
export async function writeEntry(journal: Document<Journal>, entry: JournalEntry): Promise<void> {
  await journal.update(({ entries }) => {
    const kept = Object.entries(entries).filter(
      ([, other]) => !(entry.kind === 'login' && other.kind === 'login' && other.profile === entry.profile),
    )
    return { entries: { ...Object.fromEntries(kept), [entry.id]: entry } }
  })
}

export async function dropEntry(journal: Document<Journal>, id: string): Promise<void> {
  await journal.update((current) => {
    const { [id]: _, ...entries } = current.entries
    return { entries }
  })
}

/** The profile's rotations: unfinished ones, and those whose key is lost. */
export function rotationsOf({ entries }: Journal, profile: string): readonly RotationEntry[] {
  return Object.values(entries).filter(
    (entry): entry is RotationEntry => entry.kind === 'rotation' && entry.profile === profile,
  )
}
