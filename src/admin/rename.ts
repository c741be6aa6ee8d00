/** Renames a profile in the file and in the ledger, both or neither: the journal names it until both agree. */

import type { Events } from '../base/events.js'
import { dropEntry, type Journal, type RenameEntry, writeEntry } from '../keys/journal.js'
import type { KeyKeeper } from '../keys/keeper.js'
import type { Document } from '../os/document.js'
import type { CloudApi, CloudDefaults } from '../prefect/cloud.js'
import type { ProfileStore } from '../profiles/profile.js'
import type { Credentials } from '../serve/credentials.js'
import type { Log } from '../std/log.js'

interface RenameProfileDeps {
  readonly store: ProfileStore
  readonly keeper: KeyKeeper
  readonly journal: Document<Journal>
  readonly newId: () => string
}

/** Rejects as `ProfileStore.edit` does; nothing has changed then. */
export async function renameProfile(deps: RenameProfileDeps, name: string, to: string): Promise<void> {
  const { store, keeper, journal, newId } = deps
  const entry: RenameEntry = { kind: 'rename', id: newId(), profile: name, to }
  await writeEntry(journal, entry)
  try {
    await store.edit([{ kind: 'rename', name, to }])
  } catch (error) {
    await dropEntry(journal, entry.id)
    throw error
  }
  await keeper.renameProfile(name, to)
  await dropEntry(journal, entry.id)
}

/** After a start: the file says whether the renaming happened. Never rejects. */
export async function recoverRenames({ store, keeper, journal }: RenameProfileDeps, log: Log): Promise<void> {
  for (const entry of Object.values(journal.read().entries)) {
    if (entry.kind !== 'rename') continue
    const { file, state } = store.reading()
    if (state === 'invalid' || state === 'unreadable') continue
    try {
      const isDone = file.profiles.has(entry.to) && !file.profiles.has(entry.profile)
      if (isDone) await keeper.renameProfile(entry.profile, entry.to)
      await dropEntry(journal, entry.id)
    } catch (error) {
      log.warn({ profile: entry.profile, error }, 'a renaming could not be finished yet')
    }
  }
}

export interface ProfileChangeDeps extends RenameProfileDeps {
  readonly credentials: Credentials
  readonly cloud: CloudApi
  readonly events: Events
  readonly defaults: CloudDefaults
  readonly now: () => number
  /** Brings the served answers up to date. */
  readonly settle: () => Promise<void>
}
