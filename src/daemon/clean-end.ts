/** The mark of a clean end: without it, the next start counts every key as handed out. */

import { unlink } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { syncDirectory, writeFileAtomic } from '../os/atomic-file.js'
import { ensurePrivateDirectory, readPrivateFile } from '../os/private-files.js'
import { ignoreMissing } from '../os/system-error.js'
import type { Log } from '../std/log.js'

export interface CleanEnd {
  /**
   * Whether the last daemon ended cleanly and nothing was written since `seq`, the ledger's. Takes the mark away: it counts
   * once. Never rejects.
   */
  take(seq: number): Promise<boolean>
  /** Leaves the mark, durably. Rejects with the system's error. */
  leave(seq: number): Promise<void>
}

/**
 * `trace`: a file outside the state directory. A daemon that cannot take the mark away, on a read-only disk, leaves this
 * trace, so that the next one does not believe the mark.
 */
export function createCleanEnd(stateDir: string, log: Log, trace?: string): CleanEnd {
  const mark = join(stateDir, 'clean-end')
  const remove = async (path: string) => {
    await unlink(path).catch(ignoreMissing)
  }
  return {
    async take(seq) {
      const content = await readPrivateFile(mark).catch(() => undefined)
      const isTraced = trace !== undefined && (await readPrivateFile(trace).catch(() => trace)) !== undefined
      try {
        if (content !== undefined) {
          await remove(mark)
          await syncDirectory(stateDir)
        }
      } catch (error) {
        log.warn({ error }, 'mark of the last clean end not removed')
        if (trace !== undefined) {
          const leaveTrace = async () => {
            await ensurePrivateDirectory(dirname(trace))
            await writeFileAtomic(trace, '')
          }
          await leaveTrace().catch((failure: unknown) =>
            log.error({ trace, error: failure }, 'a crash of this daemon may go unnoticed'),
          )
        }
        return false
      }
      if (isTraced) await remove(trace).catch(() => undefined)
      return content !== undefined && !isTraced && content.toString('utf8').trim() === String(seq)
    },
    async leave(seq) {
      await writeFileAtomic(mark, `${seq}\n`)
    },
  }
}
