/** The state files: how they are opened, taken over and closed. */

import { unlinkSync } from 'node:fs'
import { join } from 'node:path'
import type { BrokerError } from '../base/errors.js'
import type { FileList } from '../files/files.js'
import { type Journal, journalOf } from '../keys/journal.js'
import { EMPTY_LEDGER, type Ledger } from '../keys/ledger.js'
import { recheckedChanges, takenOver } from '../keys/takeover.js'
import { NO_PORTS, type PortList } from '../login/ports.js'
import { type OnRefused, sweepTemporaryFiles } from '../os/atomic-file.js'
import {
  type Document,
  type NotedDocument,
  type OpenedDocument,
  openDocument,
  readDocument,
} from '../os/document.js'
import { findDiskTrouble } from '../os/system-error.js'
import type { Clock } from '../std/clock.js'
import type { Log } from '../std/log.js'
import type { TokenList } from '../tokens/records.js'
import { markVaultChoice, vaultDirs } from '../vault/choice.js'
import { createCleanEnd, type LastEnd } from './clean-end.js'
import { createPermit, type LateLock } from './late-lock.js'
import {
  fileRecord,
  filesSchema,
  journalEntry,
  journalSchema,
  keyRecord,
  ledgerSchema,
  madeKey,
  portRecord,
  portsSchema,
  profileRecord,
  salvageProfile,
  shareRecord,
  tokensSchema,
} from './state-schemas.js'
import { tokenRecord } from './token-schemas.js'

/** Of ledger.json and tokens.json. 1: without a format, the journal in a file of its own. */
const FORMAT = 2

export interface State {
  readonly ledger: NotedDocument<Ledger>
  readonly journal: Document<Journal>
  readonly tokens: NotedDocument<TokenList>
  /** Ports of logins, bound again by the next start. */
  readonly loginPorts: NotedDocument<PortList>
  /** Files that are kept up to date for other programs. */
  readonly files: NotedDocument<FileList>
  /** What a person should know about how they were opened. */
  readonly notices: readonly string[]
  /** What the file system of the state does not have, a sentence each. */
  limits(): readonly string[]
  /** Why the disk does not have what memory has. */
  trouble(): BrokerError | undefined
  /** Calls back when trouble begins or ends, and at once if there is any. */
  onTrouble(listener: (trouble: BrokerError | undefined) => void): void
  /** Writes what the disk lacks. Never rejects. */
  retry(): Promise<void>
  /** Marks a clean end, if the disk has everything. Nothing may be handed out after it. Never rejects. */
  close(): Promise<void>
}

export interface StateOptions {
  readonly stateDir: string
  readonly clock: Clock
  readonly log: Log
  /** A file outside the state directory: see `createCleanEnd`. */
  readonly trace?: string
  /** Nothing is written while it is not held. Default: it is held. */
  readonly lock?: Pick<LateLock, 'permit' | 'retry'>
}

const HELD: Pick<LateLock, 'permit' | 'retry'> = { permit: () => undefined, retry: async () => false }

/** Rejects as `openDocument` does. Only the holder of the state lock writes. */
export async function openState({ stateDir, clock, log, trace, lock = HELD }: StateOptions): Promise<State> {
  const permit = createPermit(lock)
  if (permit.isGiven()) await sweep(stateDir)
  let disk = findDiskTrouble(stateDir)
  const { listen, onProblem } = createTroubleSignal(() => trouble())
  const limits = new Map<string, string>()
  const onRefused: OnRefused = (what, code) => {
    if (limits.has(what)) return
    log.warn({ stateDir, what, code }, 'the file system of the state has no such thing')
    limits.set(what, `the file system of ${stateDir} ${WITHOUT[what]} (${code})`)
  }
  const base = { now: () => clock.now(), log, permit: permit.require, format: FORMAT, onProblem, onRefused }
  const path = (name: string) => join(stateDir, name)
  const ledger = await openDocument({
    ...base,
    path: path('ledger.json'),
    schema: ledgerSchema,
    records: {
      profiles: { schema: profileRecord, salvage: salvageProfile },
      keys: { schema: keyRecord },
      changes: { schema: journalEntry },
      made: { schema: madeKey },
      shares: { schema: shareRecord },
    },
    empty: EMPTY_LEDGER,
  })
  const tokens = await openDocument<TokenList>({
    ...base,
    path: path('tokens.json'),
    schema: tokensSchema,
    records: { tokens: { schema: tokenRecord } },
    empty: { tokens: [] },
  })
  const loginPorts = await openDocument<PortList>({
    ...base,
    path: path('login-ports.json'),
    schema: portsSchema,
    records: { ports: { schema: portRecord } },
    empty: NO_PORTS,
  })
  const files = await openDocument<FileList>({
    ...base,
    path: path('files.json'),
    schema: filesSchema,
    records: { files: { schema: fileRecord } },
    empty: { files: [] },
  })
  if (ledger.format === 1 || tokens.format === 1) await markVaultChoice(stateDir, log)
  const end = createCleanEnd(stateDir, log, trace)
  const oldPath = path('journal.json')
  const oldJournal = await readOldJournal(base, oldPath, ledger.format)
  const last = await end.take(ledger.seq())
  const begun = await bringUpToDate(ledger, oldJournal, last, clock.now())
  const isWritable = disk === undefined && permit.isGiven()
  await end.begin({ ...last, isDurable: begun.isDurable && isWritable })
  if (begun.isDurable) {
    for (const file of [oldPath, `${oldPath}.previous`]) removeIfPossible(file)
  }
  if (tokens.format === 1) await tokens.note((list) => ({ ...list }))
  const trouble = () => ledger.problem() ?? tokens.problem() ?? files.problem() ?? disk
  const retry = async () => {
    if (await permit.retry()) {
      if ((await ledger.isOurs()) && (await tokens.isOurs())) await sweep(stateDir)
      else permit.withdraw(stateDir)
    }
    disk = findDiskTrouble(stateDir)
    await ledger.retry()
    await tokens.retry()
    await files.retry()
    onProblem()
  }
  return {
    ledger,
    journal: journalOf(ledger),
    tokens,
    loginPorts,
    files,
    notices: [ledger, begun, tokens, loginPorts, files].flatMap(({ notices }) => notices),
    limits: () => [...limits.values()],
    trouble,
    onTrouble: listen,
    retry,
    async close() {
      await retry()
      if (ledger.problem() !== undefined || tokens.problem() !== undefined || !permit.isGiven()) return
      await end.leave(ledger.seq()).catch((error: unknown) => log.warn({ error }, 'clean end not marked'))
    },
  }
}

/** It has been taken over: whatever is left of it is not read again. */
function removeIfPossible(path: string): void {
  try {
    unlinkSync(path)
  } catch {
    // Most starts find none; what could not be removed, the next start tries again.
  }
}

const WITHOUT = {
  mode: 'keeps no file modes: other users of this machine may be able to read what is there',
  sync: 'writes when it likes: a power cut may undo the last changes',
} as const

/** Tells listeners once when trouble begins, and once when it ends. */
function createTroubleSignal(trouble: () => BrokerError | undefined) {
  const listeners = new Set<(trouble: BrokerError | undefined) => void>()
  let isTold = false
  const onProblem = () => {
    const found = trouble()
    if ((found !== undefined) === isTold) return
    isTold = !isTold
    for (const listener of listeners) listener(found)
  }
  return {
    onProblem,
    listen(listener: (trouble: BrokerError | undefined) => void) {
      listeners.add(listener)
      isTold = trouble() !== undefined
      if (isTold) listener(trouble())
    },
  }
}

/** Files that killed writers left. They may hold keys. */
async function sweep(stateDir: string): Promise<void> {
  await sweepTemporaryFiles(stateDir)
  for (const dir of vaultDirs(stateDir)) await sweepTemporaryFiles(dir)
}

/** Beside a ledger that has a format, whatever is left of it was taken over before. */
async function readOldJournal(
  base: Pick<Parameters<typeof readDocument>[0], 'now' | 'log' | 'permit' | 'format'>,
  path: string,
  format = 1,
): Promise<OldJournal> {
  if (format !== 1) return undefined
  return readDocument<Journal>({
    ...base,
    path,
    schema: journalSchema,
    records: { entries: { schema: journalEntry } },
    empty: { entries: {} },
  })
}

/** The first version's journal, a file of its own; undefined beside a ledger that has taken it over. */
type OldJournal = Awaited<ReturnType<typeof readDocument<Journal>>> | undefined

/** What every start does to the ledger, in one write: takes over, re-checks, and supposes what no mark rules out. `now`: epoch ms. Never rejects. */
export async function bringUpToDate(
  ledger: OpenedDocument<Ledger>,
  journal: OldJournal,
  { isClean, unwritten }: LastEnd,
  now: number,
): Promise<{ readonly isDurable: boolean; readonly notices: readonly string[] }> {
  const entries = journal?.found?.value.entries ?? {}
  if (ledger.origin === 'missing' && Object.keys(entries).length === 0 && unwritten === 0) {
    return { isDurable: true, notices: journal?.notices ?? [] }
  }
  const isOld = ledger.origin === 'previous' || journal?.origin === 'previous'
  const whole = journal === undefined ? ledger.read() : takenOver(ledger.read(), entries)
  const checked = isOld ? recheckedChanges(whole) : { ledger: whole, dropped: [] }
  const isCertain = isClean && ledger.origin === 'current'
  const isDurable = await ledger.note(() =>
    isCertain ? checked.ledger : afterUncleanEnd(checked.ledger, unwritten + 1, now),
  )
  const notices = checked.dropped.map(
    (change) => `the ${change} is not continued: the state was restored from an older copy`,
  )
  return { isDurable, notices: [...(journal?.notices ?? []), ...notices] }
}

/** More than a daemon can count while its disk fails. */
const SKIPPED_GENERATIONS = 1_000_000

/**
/**
 * After ends that left no mark: any key may have been given without its mark, and any generation may have been used that was
 * not written, by each of so many daemons. `now`: where that is more, daemons that could leave no trace either count apart.
 */
function afterUncleanEnd(ledger: Ledger, daemons: number, now: number): Ledger {
  const { generationsFrom = 0 } = ledger
  const skipped = (generation: number) =>
    Math.max(generation, generationsFrom, now - SKIPPED_GENERATIONS) + daemons * SKIPPED_GENERATIONS
  const keys = mapValues(ledger.keys, (key) => (key.handedOut ? key : { ...key, handedOut: true }))
  const profiles = mapValues(ledger.profiles, (record) => ({
    ...record,
    generation: skipped(record.generation),
  }))
  return { ...ledger, keys, profiles, generationsFrom: skipped(generationsFrom) }
}

function mapValues<T>(
  map: Readonly<Record<string, T>>,
  change: (value: T) => T,
): Readonly<Record<string, T>> {
  return Object.fromEntries(Object.entries(map).map(([name, value]) => [name, change(value)]))
}
