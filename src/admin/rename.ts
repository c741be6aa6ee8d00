/** Renames a profile in the file and in the ledger: both or neither, kept by the journal. */

import { dropEntry, type Journal, type RenameEntry, writeEntry } from '../keys/journal.js'
import type { KeyKeeper } from '../keys/keeper.js'
import type { Document } from '../os/document.js'
import type { ProfileStore } from '../profiles/profile.js'
import type { Log } from '../std/log.js'

interface RenameParts {
  readonly store: ProfileStore
  readonly keeper: KeyKeeper
  readonly journal: Document<Journal>
  readonly newId: () => string
}

/** Rejects as `ProfileStore.edit` does; nothing has changed then. */
export async function renameProfile(
  { store, keeper, journal, newId }: RenameParts,
  name: string,
  to: string,
): Promise<void> {
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

/** After a start: the file says whether a profile was renamed; the ledger follows. Never rejects. */
export async function recoverRenames({ store, keeper, journal }: RenameParts, log: Log): Promise<void> {
  for (const entry of Object.values(journal.read().entries)) {
    if (entry.kind !== 'rename') continue
    const { file, state } = store.reading()
    if (state === 'invalid' || state === 'unreadable') continue
    try {
      const isDone = file.profiles.has(entry.to) && !file.profiles.has(entry.profile)
      if (isDone) await keeper.renameProfile(entry.profile, entry.to)
      await dropEntry(journal, entry.id)
    } catch (error) {
      log.warn({ profile: entry.profile, error }, 'profile rename not finished; will retry')
    }
  }
}
