/** Lines on their way to the audit file: kept in memory, written together, kept longer while the disk fails. */

import { appendToFile, rotateFile } from '../os/rotating-file.js'
import type { Clock, Timer } from '../std/clock.js'
import type { Log } from '../std/log.js'

export interface AuditBatch {
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

export interface AuditBatchOptions {
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

export function createAuditBatch({ path, clock, log, maxBytes, keep, onDue }: AuditBatchOptions): AuditBatch {
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
