/** The audit log on disk: JSON lines, written in batches a few times a second, rotated by size. */
import { join } from 'node:path'
import { BrokerError } from '../base/errors.js'
import { readBackwards } from '../os/rotating-file.js'
import { createSerial } from '../std/async.js'
import type { Clock } from '../std/clock.js'
import type { Log } from '../std/log.js'
import { formatAuditLine, parseAuditLine } from './audit.js'
import type { Audit, AuditEntry } from './audit-part.js'
import { createAuditBatch } from './open-audit.js'

export interface AuditFile extends Audit {
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
