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

/** A login as the first version noted it, without what it found: see `ChangeEntry`. */
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

/** Written by the first version only: see `ChangeEntry`. */
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
  /** The service account itself is being created. */
  readonly isNew?: true
  /** The role that it gets in a workspace, with the key of `ownerProfile`, before its key is used. */
  readonly share?: { readonly ownerProfile: string; readonly workspaceId: string; readonly roleId: string }
}

/** What a change found in the profile file and what it writes there: digests of the profile's table, null where there is none. */
export interface TableNote {
  readonly profile: string
  readonly found: string | null
  readonly written: string | null
  /** The profile's current key, and the generation of its answer, when the change began. */
  readonly item?: string
  readonly generation: number
}

/** An edit that takes one of ours back. A key's text is not here: it is in the vault under `keyItem`. */
export type UndoEdit =
  | {
      readonly kind: 'set'
      readonly name: string
      /** null: the setting was not there. */
      readonly settings: Readonly<Record<string, string | null>>
      readonly keyItem?: string
    }
  | { readonly kind: 'delete'; readonly name: string }
  | { readonly kind: 'rename'; readonly name: string; readonly to: string }
  /** null: there was no such line. Only if `written` is still the active profile. */
  | { readonly kind: 'set_active'; readonly name: string | null; readonly written?: string }

/**
 * A change of profiles and their keys. While it is `intended` nobody has seen any of it, and it is undone after a crash;
 * what it decided is applied and the entry dropped, or `committed` if keys are to be deleted at Prefect, in one write.
 */
export interface ChangeEntry {
  readonly kind: 'change'
  readonly id: string
  /** The first of `tables`, for the log. */
  readonly profile: string
  readonly act: string
  readonly step: 'intended' | 'committed'
  /** `file`: what it writes there cannot be taken back, so it is done once that is written. */
  readonly decidedBy: 'ledger' | 'file'
  /** Epoch ms. */
  readonly startedAt: number
  readonly tables: readonly TableNote[]
  /** In the order in which they are applied. */
  readonly undo: readonly UndoEdit[]
  /** Items that did not exist before. */
  readonly created: readonly string[]
  /** Every key that it needs, those known before too; `profile`: the key was in that profile's table of the file. */
  readonly keys: readonly { readonly item: string; readonly profile?: string }[]
  /** What becomes of the ledger. */
  readonly outcome: ChangeOutcome
  /** It stood in an older copy of the journal, and may have been decided since. */
  readonly isRestored?: true
}

export interface ChangeOutcome {
  /** The key that becomes the profile's current one, and what is known of its owner. */
  readonly promote?: {
    readonly profile: string
    readonly item: string
    /** By the time of the key's own server, epoch ms. */
    readonly at: number
    readonly owner?: Owner
    readonly workspaces?: readonly Workspace[]
  }
  /** The profile gets a key that is known: the current one of `heir`, else the one under `item`. The rest as in `promote`. */
  readonly tie?: NonNullable<ChangeOutcome['promote']> & { readonly heir?: string }
  /** Everything of one profile is the other's. */
  readonly rename?: { readonly from: string; readonly to: string }
  /** The workspaces that the profile's key was found to reach. */
  readonly reach?: { readonly profile: string; readonly workspaces: readonly Workspace[] }
  /** Items of this profile that are forgotten. */
  readonly forget?: {
    readonly profile: string
    readonly items: readonly string[]
    /** Other profiles whose tables contain a key of this one, by item: it becomes theirs. */
    readonly heirs?: Readonly<Record<string, string>>
  }
  /** The profile's auth string is the one under `item`; without one there is none. */
  readonly auth?: { readonly profile: string; readonly item?: string }
  /** Whether the forgotten keys are deleted at Prefect first. */
  readonly revoke?: boolean
  /** Whether those that Prefect has not deleted stay in the vault, out of use. */
  readonly keepUnrevoked?: boolean
}

export type JournalEntry = RotationEntry | LoginEntry | RenameEntry | BotEntry | ChangeEntry

/** Items that an entry may still make current, or put back into the file. */
export function itemsNeeded(entry: JournalEntry): readonly string[] {
  switch (entry.kind) {
    case 'change':
      return entry.step === 'intended'
        ? [...entry.keys.map(({ item }) => item), entry.outcome.tie?.item ?? []].flat()
        : []
    case 'rotation':
      return entry.step === 'lost' ? [] : [entry.item]
    case 'login':
    case 'service_account':
      return [entry.item]
    case 'rename':
      return []
  }
}

export interface Journal {
  readonly entries: Readonly<Record<string, JournalEntry>>
}

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

/** Writes or replaces an entry, durably. */
export async function writeEntry(journal: Document<Journal>, entry: JournalEntry): Promise<void> {
  await journal.update(({ entries }) => ({ entries: { ...entries, [entry.id]: entry } }))
}

export async function dropEntry(journal: Document<Journal>, id: string): Promise<void> {
  await journal.update((current) => {
    const { [id]: _, ...entries } = current.entries
    return { entries }
  })
}

/** The profile's rotations, and those of its key (`item`) by another profile: unfinished ones, and those whose key is lost. */
export function rotationsOf({ entries }: Journal, profile: string, item?: string): readonly RotationEntry[] {
  return Object.values(entries).filter(
    (entry): entry is RotationEntry =>
      entry.kind === 'rotation' && (entry.profile === profile || entry.oldItem === item),
  )
}
/** Those of `rotationsOf` whose key is not given up: a second one beside it would help nobody. */
export function pendingRotations(journal: Journal, profile: string, item?: string): readonly RotationEntry[] {
  return rotationsOf(journal, profile, item).filter(({ step }) => step !== 'lost')
}
