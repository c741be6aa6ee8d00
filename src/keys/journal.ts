/** The journal of key changes under way: names items, never holds a secret. Each step is durable before the next begins. */

import type { Document } from '../os/document.js'
import type { Owner, Workspace } from '../prefect/cloud.js'

/**
 * `intended`: a key may have been minted at Prefect under `keyName`, its answer not yet stored.
 * `stored`: it is in the vault under `item`. `lost`: it is not ours to use: Prefect's answer never came, or the key
 * did not pass. It is known by name, or by `cloudId` where an answer told it, and is to be deleted at Prefect.
 */
type JournalStep = 'intended' | 'stored' | 'lost'

export interface RotationEntry {
  readonly kind: 'rotation'
  readonly id: string
  readonly profile: string
  readonly step: JournalStep
  /** The vault item that the new key gets. */
  readonly item: string
  /** The item of the key that it replaces. */
  readonly oldItem: string
  /** The name the key was minted under: host, profile and journal id, so that a person at Prefect's key page knows it. */
  readonly keyName: string
  readonly userId: string
  readonly cloudApiUrl: string
  /** Epoch ms. */
  readonly startedAt: number
  /** The new key's id at Prefect, once an answer told it: what it can be deleted by. */
  readonly cloudId?: string
}

/** A login whose key is (to be) stored under `item`: the key must become current and the profile get its URL, both or neither. */
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

/** A profile that is (to be) called `to`: the file and the ledger must agree on it. */
export interface RenameEntry {
  readonly kind: 'rename'
  readonly id: string
  readonly profile: string
  readonly to: string
}

/** A service account's key that is (to be) made at Prefect, stored under `item` and taken into use. */
export interface BotEntry {
  readonly kind: 'service_account'
  readonly id: string
  readonly profile: string
  readonly item: string
  /** The item of the key before, where there was one. */
  readonly oldItem?: string
  readonly accountId: string
  /** The service account's. */
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

/** Whether it is to be finished or undone at once; a lost key is only to be looked for now and then. */
export function isHalfDone(entry: JournalEntry): boolean {
  return entry.kind !== 'rotation' || entry.step !== 'lost'
}

/** Writes or replaces an entry. A newer login makes an unfinished older one of the same profile obsolete. */
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
