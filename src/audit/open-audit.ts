/** The audit log on disk: lines are written in batches, files are rotated, and lines wait while the disk fails. */

import { join } from 'node:path'
import { BrokerError } from '../base/errors.js'
import { writeFileAtomic } from '../os/atomic-file.js'
import { readLinesBackwards } from '../os/lines.js'
import { appendNow, appendToFile, readBackwards, rotateFile, sizeOf } from '../os/rotating-file.js'
import { diskFailed } from '../os/system-error.js'
import { createSerial } from '../std/async.js'
import { type Clock, SECOND_MS, type Timer } from '../std/clock.js'
import type { Log } from '../std/log.js'
import { type Audit, type AuditEntry, formatAuditLine } from './audit.js'
import { createNewestLines } from './newest.js'
import { createShares } from './shares.js'

export interface AuditFile extends Audit {
  /** The current problem with the disk, for status and doctor. */
  problem(): string | undefined
  /** What a person should know, also after the disk works again: lines that were lost. */
  notices(): readonly string[]
}

export interface AuditFileOptions {
  /** An existing directory, for `audit.jsonl`. */
  readonly stateDir: string
  readonly clock: Clock
  readonly log: Log
  /** A file of at least this size is rotated. */
  readonly maxBytes?: number
  /** How many rotated files are kept: `audit.jsonl.1` is the newest. */
  readonly keep?: number
  /** How many lines wait in memory while the disk fails; the oldest are dropped, and counted. */
  readonly maxPending?: number
}

const FLUSH_EVERY_MS = 250
/** While the disk fails. */
const RETRY_EVERY_MS = 5 * SECOND_MS
const MAX_PENDING = 50_000
const MAX_READ = 10_000
/** More waiting lines than this are left to the next batch. */
const MAX_NOW = 200

/** Opens no file until there is something to write. Only `read` can reject (`disk_failed`). */
export function openAuditFile({
  stateDir,
  clock,
  log,
  maxBytes = 10 * 1024 * 1024,
  keep = 3,
  maxPending = MAX_PENDING,
}: AuditFileOptions): AuditFile {
  const path = join(stateDir, 'audit.jsonl')
  const keptPath = join(stateDir, 'audit-kept.jsonl')
  const turn = createSerial()
  const stamp = createStamp()
  /** Newest last. */
  let pending: string[] = []
  let lost = 0
  let problem: string | undefined
  let timer: Timer | undefined
  let isClosed = false

  function schedule(): void {
    if (isClosed) return
    timer ??= clock.after(problem === undefined ? FLUSH_EVERY_MS : RETRY_EVERY_MS, () => {
      timer = undefined
      void turn.run(flush)
    })
  }

  /** Never rejects: what could not be written stays pending. Runs one at a time. */
  async function flush(): Promise<void> {
    if (pending.length === 0) return
    const lines = pending
    pending = []
    try {
      await rotate()
      await appendToFile(path, lines.join(''))
      if (problem !== undefined) log.info({ path, lost }, 'audit log write recovered')
      problem = undefined
    } catch (error) {
      pending = lines.concat(pending)
      trim()
      // Once per outage: a full disk is no reason to fill it with log lines.
      if (problem === undefined) log.error({ error, path }, 'audit log write failed; will retry')
      problem = diskFailed('write', path, error).message
      schedule()
    }
  }

  async function rotate(): Promise<void> {
    if ((await sizeOf(path)) < maxBytes) return
    // Beyond the files: of the oldest, each caller keeps a share.
    const kept = await keepShares([`${path}.${keep}`, keptPath], maxBytes)
    if (kept !== undefined) await writeFileAtomic(keptPath, kept)
    await rotateFile(path, maxBytes, keep)
  }

  /** Together with what waits, so that the lines stay in order. What cannot be written now is written later. */
  function writeNow(): void {
    if (problem !== undefined || pending.length > MAX_NOW) return
    try {
      appendNow(path, pending.join(''))
      pending = []
    } catch {
      // The flush finds out why, and says so.
    }
  }

  function trim(): void {
    const surplus = pending.length - maxPending
    if (surplus <= 0) return
    lost += surplus
    pending = pending.slice(surplus)
  }

  return {
    record(entry, { isUrgent = false } = {}) {
      if (isClosed) return
      pending.push(formatAuditLine(stamp(clock.now()), entry))
      if (pending.length > maxPending * 2) trim()
      if (isUrgent) writeNow()
      if (pending.length > 0) schedule()
    },
    read: (since = 0) =>
      // One turn for both, so that no line moves from memory to disk between the two looks.
      turn.run(async () => {
        await flush()
        return readNewest([path, keptPath], keep, pending, since)
      }),
    problem: () =>
      problem && `${problem}; ${Math.min(pending.length, maxPending)} lines wait in memory, ${lost} are lost`,
    notices: () => (lost === 0 ? [] : [`${lost} lines of the audit log were lost while its disk failed`]),
    async close() {
      isClosed = true
      timer?.cancel()
      await turn.run(flush)
    },
  }
}

/** What is kept of these files, newest first, oldest line first; `undefined` if the first of them has no line. */
async function keepShares(
  [leaving, kept]: readonly [string, string],
  maxBytes: number,
): Promise<Buffer | undefined> {
  const shares = createShares(maxBytes)
  let isEmpty = true
  const count = (line: Buffer): true => {
    isEmpty = false
    shares.count(line.toString('utf8'), line.length + 1)
    return true
  }
  await readLinesBackwards(leaving, count)
  if (isEmpty) return undefined
  await readLinesBackwards(kept, count)
  const out = createBackwardsText()
  const keep = (line: Buffer): true => {
    const text = line.toString('utf8')
    if (shares.keeps(text)) out.add(text)
    return true
  }
  for (const file of [leaving, kept]) await readLinesBackwards(file, keep)
  return out.take()
}

/** Text made of lines that come last one first; put together in parts, so that no turn is long. */
function createBackwardsText() {
  const parts: Buffer[] = []
  let lines: string[] = []
  const close = () => {
    parts.push(
      Buffer.from(
        lines
          .reverse()
          .map((line) => `${line}\n`)
          .join(''),
      ),
    )
    lines = []
  }
  return {
    add(line: string) {
      lines.push(line)
      if (lines.length >= MAX_NOW) close()
    },
    take(): Buffer {
      close()
      return Buffer.concat(parts.reverse())
    },
  }
}

/** The lines still in memory are the newest. */
async function readNewest(
  [path, keptPath]: readonly [string, string],
  keep: number,
  pending: readonly string[],
  since: number,
): Promise<Iterable<readonly AuditEntry[]>> {
  const { add, pages } = createNewestLines(since, MAX_READ)
  const inMemory = pending.slice(-MAX_READ).reverse()
  try {
    if (inMemory.every((line) => add(Buffer.from(line.trimEnd())))) {
      if (await readBackwards(path, keep, add)) await readLinesBackwards(keptPath, add)
    }
  } catch (cause) {
    throw new BrokerError('disk_failed', `cannot read the audit log ${path}`, {
      cause,
      hint: `ls -l ${path}`,
    })
  }
  return pages()
}

/** Formats a time once for all entries of the same millisecond: under load that is most of the cost of a line. */
function createStamp(): (at: number) => string {
  let last = Number.NaN
  let text = ''
  return (at) => {
    if (at !== last) [last, text] = [at, new Date(at).toISOString()]
    return text
  }
}
