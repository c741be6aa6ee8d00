/** Lines on their way to the audit file: kept in memory, written together, kept longer while the disk fails. */

import { join } from 'node:path'
import { BrokerError } from '../base/errors.js'
import { appendToFile, readBackwards, rotateFile } from '../os/rotating-file.js'
import { createSerial } from '../std/async.js'
import type { Clock, Timer } from '../std/clock.js'
import type { Log } from '../std/log.js'
import { type Audit, type AuditEntry, formatAuditLine, parseAuditLine } from './audit.js'

interface AuditBatch {
  push(line: string): void
  /** Never rejects: what could not be written stays pending. One at a time. */
  flush(): Promise<void>
  /** Newest last. */
  pending(): readonly string[]
  problem(): string | undefined
  /** No more timers; `flush` still works. */
  stop(): void
}

const FLUSH_EVERY_MS = 250
/** While the disk fails. */
const RETRY_EVERY_MS = 5_000
/** What is kept in memory while the disk fails; the oldest go first. */
const MAX_PENDING = 50_000

interface AuditBatchOptions {
  readonly path: string
  readonly clock: Clock
  readonly log: Log
  readonly maxBytes: number
  readonly keep: number
  /** It is time to flush. */
  readonly onDue: () => void
}

interface State {
  pending: string[]
  lost: number
  isStopped: boolean
  problem?: string | undefined
  timer?: Timer | undefined
}

function createAuditBatch({ path, clock, log, maxBytes, keep, onDue }: AuditBatchOptions): AuditBatch {
  const state: State = { pending: [], lost: 0, isStopped: false }

  const schedule = (): void => {
    if (state.isStopped) return
    state.timer ??= clock.after(state.problem === undefined ? FLUSH_EVERY_MS : RETRY_EVERY_MS, () => {
      state.timer = undefined
      onDue()
    })
  }

  const succeed = (): void => {
    if (state.problem !== undefined) log.info({ path, lost: state.lost }, 'the audit log is written again')
    state.problem = undefined
    state.lost = 0
  }

  /** Told once per outage: a full disk is no reason to fill it with log lines. */
  const fail = (error: unknown): void => {
    if (state.problem === undefined) log.error({ error, path }, 'could not write the audit log')
    state.problem = `the audit log can't be written: ${error instanceof Error ? error.message : 'unknown error'}`
  }

  return {
    push(line) {
      state.pending.push(line)
      if (state.pending.length > MAX_PENDING * 2) trim(state)
      schedule()
    },
    async flush() {
      if (state.pending.length === 0) return
      const lines = state.pending
      state.pending = []
      try {
        await rotateFile(path, maxBytes, keep)
        await appendToFile(path, lines.join(''))
        succeed()
      } catch (error) {
        state.pending = lines.concat(state.pending)
        trim(state)
        fail(error)
        schedule()
      }
    },
    pending: () => state.pending,
    problem: () => state.problem,
    stop() {
      state.isStopped = true
      state.timer?.cancel()
    },
  }
}

function trim(state: State): void {
  const surplus = state.pending.length - MAX_PENDING
  if (surplus <= 0) return
  state.lost += surplus
  state.pending = state.pending.slice(surplus)
}

interface AuditFile extends Audit {
  /** What is wrong with the disk at this moment, for status and doctor. */
  problem(): string | undefined
}

export interface AuditFileOptions {
  /** `audit.jsonl` stands in it. It exists. */
  readonly stateDir: string
  readonly clock: Clock
  readonly log: Log
  /** A file of at least this size is rotated. */
  readonly maxBytes?: number
  /** How many rotated files are kept: `audit.jsonl.1` is the newest. */
  readonly keep?: number
}

const MAX_READ = 10_000

/** Opens nothing until there is something to write. Nothing but `read` ever rejects (`disk_failed`). */
export function openAuditFile({
  stateDir,
  clock,
  log,
  maxBytes = 10 * 1024 * 1024,
  keep = 3,
}: AuditFileOptions): AuditFile {
  const path = join(stateDir, 'audit.jsonl')
  const turn = createSerial()
  const stamp = createStamp()
  const onDue = () => void turn.run(() => batch.flush())
  const batch = createAuditBatch({ path, clock, log, maxBytes, keep, onDue })
  let isClosed = false
  return {
    record(entry) {
      if (!isClosed) batch.push(formatAuditLine(stamp(clock.now()), entry))
    },
    read: (since = 0) =>
      // One turn for both, so that no line moves from memory to disk between the looks at them.
      turn.run(async () => {
        await batch.flush()
        return readEntries(path, keep, batch.pending(), since)
      }),
    problem: () => batch.problem(),
    async close() {
      isClosed = true
      batch.stop()
      await turn.run(() => batch.flush())
    },
  }
}

/** Those still in memory are the newest. */
async function readEntries(
  path: string,
  keep: number,
  pending: readonly string[],
  since: number,
): Promise<readonly AuditEntry[]> {
  const from = new Date(Math.min(Math.max(since, 0), 8.64e15)).toISOString()
  const newestFirst: AuditEntry[] = []
  const take = (line: string): boolean => {
    const entry = parseAuditLine(line, from)
    if (entry !== undefined) newestFirst.push(entry)
    return newestFirst.length < MAX_READ
  }
  try {
    const inMemory = pending.map((line) => line.trimEnd()).reverse()
    if (inMemory.every(take)) await readBackwards(path, keep, take)
  } catch (cause) {
    throw new BrokerError('disk_failed', `could not read the audit log ${path}`, {
      cause,
      hint: `ls -l ${path}`,
    })
  }
  return newestFirst.reverse()
}

/** Formats a time once for all entries of the same millisecond: under load that is most of a line's cost. */
function createStamp(): (at: number) => string {
  let last = Number.NaN
  let text = ''
  return (at) => {
    if (at !== last) [last, text] = [at, new Date(at).toISOString()]
    return text
  }
}
