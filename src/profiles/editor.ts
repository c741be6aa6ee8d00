/** The editor of `profiles.toml`: retries edits, minds what they replaced, and reports what they overwrote. */
import { isBrokerError } from '../base/errors.js'
import { type Clock, SECOND_MS, type Timer } from '../std/clock.js'
import type { Log } from '../std/log.js'
import { type DoneEdit, editProfilesFile, keepOverwritten } from './file-edit.js'
import type { Overwritten, ProfileEdit, ProfileReading, ProfileStore } from './profile.js'
import { sweepLeftovers } from './replace.js'
import { recoverInPlace } from './write-in-place.js'

/** How often an edit begins again because another program wrote first. */
const TRIES = 5
/** A program that had opened the file before it was replaced has written by then, or is stopped. */
const LATE_MS = SECOND_MS
/** For one that has truncated it and not written yet. */
const VERY_LATE_MS = 30 * SECOND_MS

interface Editor {
  /** Rejects as `ProfileStore.edit` does. Calls must come one at a time. */
  edit(edits: readonly ProfileEdit[], reading: () => ProfileReading): Promise<void>
  /** Finishes what a crash interrupted, and removes temporary files of ours. Never rejects. */
  sweep(): Promise<void>
  onOverwritten: ProfileStore['onOverwritten']
  /** Looks a last time at what was replaced. Never rejects. */
  close(): Promise<void>
}

interface EditorDependencies {
  readonly path: string
  readonly clock: Clock
  readonly log: Log
  readonly keepIn: string
  readonly run: (work: () => Promise<void>) => Promise<void>
}

export function createEditor({ path, clock, log, keepIn, run }: EditorDependencies): Editor {
  const listeners = new Set<(found: Overwritten) => void>()
  /** Found before anybody listened. */
  let early: Overwritten[] = []
  const minded = new Map<DoneEdit, Timer>()

  function report(found: Overwritten): void {
    const { isMerged, keptAt } = found
    log.warn(
      { path, merged: isMerged, kept_at: keptAt },
      'another program wrote the profile file during an edit',
    )
    if (listeners.size === 0) early.push(found)
    for (const listener of listeners) listener(found)
  }

  function mind(done: DoneEdit | undefined, ms = LATE_MS): void {
    if (done === undefined) return
    const lookLate = () =>
      void run(async () => {
        if (ms === LATE_MS && done.isBeingWritten()) mind(done, VERY_LATE_MS)
        else await forget(done)
      })
    minded.set(done, clock.after(ms, lookLate))
  }

  async function forget(done: DoneEdit): Promise<void> {
    minded.get(done)?.cancel()
    minded.delete(done)
    await done.close()
  }

  async function keepAside(text: string, done: () => Promise<void>): Promise<void> {
    const keptAt = await keepOverwritten(text, { keepIn, clock }).catch(() => undefined)
    if (keptAt === undefined) return
    await done()
    report({ isMerged: false, keptAt })
  }

  return {
    async edit(edits, reading) {
      for (let attempt = 1; ; attempt += 1) {
        try {
          return mind(await editProfilesFile(edits, reading(), { clock, keepIn, report }))
        } catch (error) {
          if (!isBrokerError(error, 'profiles_file_changed') || attempt === TRIES) throw error
        }
      }
    },
    async sweep() {
      const lost = await recoverInPlace(path, keepIn)
      if (lost !== undefined) await keepAside(lost, async () => undefined)
      for (const { text, done } of await sweepLeftovers(path)) await keepAside(text, done)
    },
    onOverwritten(listener) {
      listeners.add(listener)
      for (const found of early) listener(found)
      early = []
      return () => listeners.delete(listener)
    },
    async close() {
      for (const done of [...minded.keys()]) await forget(done)
    },
  }
}
