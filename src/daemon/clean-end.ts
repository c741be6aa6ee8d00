/** The mark of a clean end: without it, the next start counts every key as handed out. */

import { unlinkSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { syncDirectory, writeFileAtomic } from '../os/atomic-file.js'
import { ensurePrivateDirectory, readPrivateFile } from '../os/private-files.js'
import { ignoreMissing } from '../os/system-error.js'
import type { Log } from '../std/log.js'

export interface LastEnd {
  /** Whether the last daemon ended cleanly and nothing was written since. */
  readonly isClean: boolean
  /** How many daemons before this one, in a row, could not write that they began: what each has used is not on the disk. */
  readonly unwritten: number
}

export interface CleanEnd {
  /** `seq`: the ledger's. Takes the mark away: it counts once. Never rejects. */
  take(seq: number): Promise<LastEnd>
  /** Leaves a trace of a beginning that could not be written (`isDurable`), else takes the trace away. Never rejects. */
  begin(begun: { readonly isDurable: boolean; readonly unwritten: number }): Promise<void>
  /** Leaves the mark, durably. Rejects with the system's error. */
  leave(seq: number): Promise<void>
}

/**
 * `trace`: a file outside the state directory. A daemon on a disk that cannot be written leaves it, so that the next one does
 * not believe a mark that could not be taken away, and uses no generation again.
 */
export function createCleanEnd(stateDir: string, log: Log, trace?: string): CleanEnd {
  const mark = join(stateDir, 'clean-end')
  let isMarkTaken = true
  const remove = (path: string) => {
    try {
      unlinkSync(path)
    } catch (error) {
      ignoreMissing(error)
    }
  }
  const removeTrace = (path: string) => {
    try {
      remove(path)
    } catch {
      // The next start takes it for one more end without a mark.
    }
  }
  const readTrace = async () => {
    if (trace === undefined) return undefined
    // One that cannot be read is one.
    return readPrivateFile(trace).catch(() => Buffer.from('1'))
  }
  return {
    async take(seq) {
      const content = await readPrivateFile(mark).catch(() => undefined)
      const traced = await readTrace()
      const count = Number.parseInt(traced?.toString('utf8') ?? '0', 10) || 0
      const unwritten = Math.min(MAX_UNWRITTEN, Math.max(0, count))
      try {
        if (content !== undefined) {
          remove(mark)
          await syncDirectory(stateDir)
        }
      } catch (error) {
        log.warn({ error }, 'mark of the last clean end not removed')
        isMarkTaken = false
        return { isClean: false, unwritten }
      }
      const isMarked = content?.toString('utf8').trim() === String(seq)
      return { isClean: isMarked && traced === undefined, unwritten }
    },
    async begin({ isDurable, unwritten }) {
      if (trace === undefined) return
      if (isDurable && isMarkTaken) return removeTrace(trace)
      try {
        await ensurePrivateDirectory(dirname(trace))
        await writeFileAtomic(trace, `${isDurable ? 0 : unwritten + 1}\n`)
      } catch (error) {
        log.error({ trace, error }, 'a crash of this daemon may go unnoticed')
      }
    },
    async leave(seq) {
      await writeFileAtomic(mark, `${seq}\n`)
      if (trace !== undefined) removeTrace(trace)
    },
  }
}

/** Far more than there ever are: what is skipped for them must stay a number that is exact. */
const MAX_UNWRITTEN = 1_000_000
