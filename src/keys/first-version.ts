/** Journal entries of the first version, which did not note what they found: settled without touching anything newer. */

import type { Document } from '../os/document.js'
import type { ProfileStore } from '../profiles/profile.js'
import type { Log } from '../std/log.js'
import { dropEntry, type Journal, type LoginEntry, type RenameEntry } from './journal.js'
import type { KeyKeeper } from './keeper.js'
import { renamed, withoutChange } from './ledger.js'

interface Parts {
  readonly store: ProfileStore
  readonly keeper: KeyKeeper
  readonly journal: Document<Journal>
  readonly log: Log
}

/** Without the network. Never rejects; what cannot be settled now is left for the next start. */
export async function settleOldEntries(parts: Parts): Promise<void> {
  for (const entry of Object.values(parts.journal.read().entries)) {
    try {
      if (entry.kind === 'rename') await settleRename(parts, entry)
      if (entry.kind === 'login') await settleLogin(parts, entry)
    } catch (error) {
      parts.log.warn({ profile: entry.id, error }, 'journal entry not settled; will retry')
    }
  }
}

/** The file says whether the profile was renamed; the ledger follows. */
async function settleRename({ store, keeper }: Parts, { id, profile, to }: RenameEntry): Promise<void> {
  const { file, state } = store.reading()
  if (state === 'invalid' || state === 'unreadable') return
  const isDone = file.profiles.has(to) && !file.profiles.has(profile)
  await keeper.apply((ledger) => withoutChange(isDone ? renamed(ledger, profile, to) : ledger, id))
}

/**
 * A login that may have been reported as failed, and the user may have written the file since: it gets a URL only if it has
 * none, and a key that has not become current never does.
 */
async function settleLogin({ store, keeper, journal }: Parts, entry: LoginEntry): Promise<void> {
  const { id, profile, item, apiUrl, isToBeActive } = entry
  if (keeper.profile(profile).currentItem !== item) await keeper.forget(item)
  else {
    const table = (await store.refresh({ force: true })).file.profiles.get(profile)
    if (table?.settings.PREFECT_API_URL === undefined && table?.apiKey === undefined) {
      const expected = { PREFECT_API_URL: null, PREFECT_API_KEY: null }
      const set = { kind: 'set', name: profile, settings: { PREFECT_API_URL: apiUrl }, expected } as const
      await store.edit(isToBeActive ? [set, { kind: 'set_active', name: profile }] : [set])
    }
  }
  await dropEntry(journal, id)
}
