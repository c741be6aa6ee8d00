/** The durable documents of the state directory: ledger, journal, tokens. */
import { join } from 'node:path'
import { EMPTY_JOURNAL, type Journal } from '../keys/journal.js'
import { type Document, EMPTY_LEDGER, type Ledger } from '../keys/ledger.js'
import { openDocument } from '../os/document.js'
import type { Clock } from '../std/clock.js'
import type { Log } from '../std/log.js'
import type { TokenList } from '../tokens/issue.js'
import { journalSchema, ledgerSchema, tokensSchema } from './state.js'

export interface State {
  readonly ledger: Document<Ledger>
  readonly journal: Document<Journal>
  readonly tokens: Document<TokenList>
  /** What happened at opening that a person should know. */
  readonly notices: readonly string[]
}

/** Rejects as `openDocument` does. Only the holder of the state lock may call this. */
export async function openState({
  stateDir,
  clock,
  log,
}: {
  readonly stateDir: string
  readonly clock: Clock
  readonly log: Log
}): Promise<State> {
  const base = { now: () => clock.now(), log }
  const path = (name: string) => join(stateDir, name)
  const ledger = await openDocument({
    ...base,
    path: path('ledger.json'),
    schema: ledgerSchema,
    empty: EMPTY_LEDGER,
  })
  const journal = await openDocument({
    ...base,
    path: path('journal.json'),
    schema: journalSchema,
    empty: EMPTY_JOURNAL,
  })
  const tokens = await openDocument({
    ...base,
    path: path('tokens.json'),
    schema: tokensSchema,
    empty: { tokens: [] },
  })
  return { ledger, journal, tokens, notices: [ledger, journal, tokens].flatMap(({ notice }) => notice ?? []) }
}
