/** What every start does to the ledger before it is used: takes over, re-checks, and supposes what no mark rules out. */

import type { Journal } from '../keys/journal.js'
import { afterUncleanEnd, type Ledger } from '../keys/ledger.js'
import { recheckedChanges, takenOver } from '../keys/takeover.js'
import type { OpenedDocument, readDocument } from '../os/document.js'

/** The first version's journal, a file of its own; undefined beside a ledger that has taken it over. */
export type OldJournal = Awaited<ReturnType<typeof readDocument<Journal>>> | undefined

/** One write. `isClean`: the last daemon marked its end. Never rejects. */
export async function bringUpToDate(
  ledger: OpenedDocument<Ledger>,
  journal: OldJournal,
  isClean: boolean,
): Promise<{ readonly isDurable: boolean; readonly notices: readonly string[] }> {
  const entries = journal?.found?.value.entries ?? {}
  if (ledger.origin === 'missing' && Object.keys(entries).length === 0) {
    return { isDurable: true, notices: journal?.notices ?? [] }
  }
  const isOld = ledger.origin === 'previous' || journal?.origin === 'previous'
  const whole = journal === undefined ? ledger.read() : takenOver(ledger.read(), entries)
  const checked = isOld ? recheckedChanges(whole) : { ledger: whole, dropped: [] }
  const isCertain = isClean && ledger.origin === 'current'
  const isDurable = await ledger.note(() => (isCertain ? checked.ledger : afterUncleanEnd(checked.ledger)))
  const notices = checked.dropped.map(
    (change) => `the ${change} is not continued: the state was restored from an older copy`,
  )
  return { isDurable, notices: [...(journal?.notices ?? []), ...notices] }
}
