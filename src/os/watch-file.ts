/**
 * Tells when one file may have changed: chokidar on its directory (on the file itself it goes deaf after a rename), a
 * watch on the nearest parent for the day the directory appears or is replaced, and one debounce over both. What
 * happened is not told: whoever listens looks.
 */
import { type FSWatcher as ParentWatcher, watch as watchDirectory } from 'node:fs'
import { realpath, stat } from 'node:fs/promises'
import { basename, dirname, resolve } from 'node:path'
import { type FSWatcher, watch as watchWithChokidar } from 'chokidar'
import { createSerial } from '../std/async.js'
import type { Clock, Timer } from '../std/clock.js'
import type { Log } from '../std/log.js'

/** Quiet time before a look: programs that truncate and write again are done by then. */
const DEBOUNCE_MS = 100
/** A file that never comes to rest is looked at this often all the same. */
const MAX_DEBOUNCE_MS = 500
/** chokidar swallows a change that comes within 50 ms of another: after each look comes one more, for what it kept. */
const SECOND_LOOK_MS = 700

interface FileWatchDependencies {
  readonly path: string
  readonly clock: Clock
  readonly log: Log
  /** Called after the quiet time; also after each (re)arming, for what happened before the watch stood. */
  readonly onStir: () => void
}

export interface FileWatch {
  /** Looks whether the directory is still the one that is watched, and watches the right one. Cheap when it is. */
  rearm(): Promise<void>
  close(): Promise<void>
}

/** Watches nothing until the first `rearm()`. Failures (no inotify watches left) are logged, never thrown. */
export function watchFile({ path: given, clock, log, onStir }: FileWatchDependencies): FileWatch {
  const path = resolve(given)
  const serial = createSerial()
  const debounce = createDebounce(clock, onStir)
  let armed: { readonly signature: string; disarm(): Promise<void> } | undefined
  let isClosed = false

  async function arm(): Promise<void> {
    if (isClosed) return
    const wanted = await planWatch(path)
    if (wanted.signature === armed?.signature) return
    await armed?.disarm()
    const parent = watchParent(wanted)
    const watcher = watchDirectories(wanted)
    armed = {
      signature: wanted.signature,
      async disarm() {
        parent?.close()
        await watcher?.close()
      },
    }
  }

  function rearm(): Promise<void> {
    return serial
      .run(arm)
      .catch((error) => log.warn({ error, path }, 'cannot watch a file; looking at it from time to time'))
  }

  function watchDirectories({ directories, files }: WatchPlan): FSWatcher | undefined {
    if (directories.length === 0) return undefined
    const isOther = (name: string) => !directories.includes(name) && !files.includes(name)
    const watcher = watchWithChokidar([...directories], { depth: 0, ignoreInitial: true, ignored: isOther })
    watcher.on('all', debounce.stir)
    watcher.on('ready', debounce.stir)
    watcher.on('error', (error) =>
      log.warn({ error, path }, 'watching a file failed; looking at it from time to time'),
    )
    return watcher
  }

  function watchParent({ ancestor, child }: WatchPlan): ParentWatcher | undefined {
    try {
      const watcher = watchDirectory(ancestor, (_event, name) => {
        if (name !== child && name !== null) return
        void rearm().then(debounce.stir)
      })
      watcher.on('error', () => watcher.close())
      return watcher
    } catch (error) {
      log.debug({ error, path: ancestor }, 'cannot watch a parent directory')
      return undefined
    }
  }

  return {
    rearm,
    async close() {
      isClosed = true
      debounce.cancel()
      await serial.run(async () => armed?.disarm())
    },
  }
}

interface WatchPlan {
  /** The directories that hold the file: of the path, and of what it links to. */
  readonly directories: readonly string[]
  readonly files: readonly string[]
  /** The nearest directory above that exists, and what is to appear (or be replaced) in it. */
  readonly ancestor: string
  readonly child: string
  /** Equal for plans that need no other watches: names, and identities of the directories. */
  readonly signature: string
}

async function planWatch(path: string): Promise<WatchPlan> {
  const real = await realpath(path).catch(() => path)
  const candidates = [...new Set([dirname(path), dirname(real)])]
  const identities = await Promise.all(candidates.map(identityOf))
  const directories = candidates.filter((_, index) => identities[index] !== undefined)
  let child = dirname(path)
  let ancestor = dirname(child)
  let above = await identityOf(ancestor)
  while (above === undefined && ancestor !== dirname(ancestor)) {
    child = ancestor
    ancestor = dirname(ancestor)
    above = await identityOf(ancestor)
  }
  return {
    directories,
    files: [...new Set([path, real])],
    ancestor,
    child: basename(child),
    signature: JSON.stringify([candidates, identities, real, ancestor, above]),
  }
}

async function identityOf(directory: string): Promise<string | undefined> {
  const found = await stat(directory, { bigint: true }).catch(() => undefined)
  // A new directory often gets the inode of the one it replaces: the time of birth tells them apart.
  return found?.isDirectory() ? `${found.dev}:${found.ino}:${found.birthtimeNs}` : undefined
}

function createDebounce(clock: Clock, run: () => void): { stir(): void; cancel(): void } {
  let timer: Timer | undefined
  let second: Timer | undefined
  let firstAt = 0
  return {
    stir() {
      const now = clock.monotonic()
      if (timer === undefined) firstAt = now
      else if (now - firstAt >= MAX_DEBOUNCE_MS) return
      timer?.cancel()
      second?.cancel()
      timer = clock.after(DEBOUNCE_MS, () => {
        timer = undefined
        second = clock.after(SECOND_LOOK_MS, run)
        run()
      })
    },
    cancel() {
      timer?.cancel()
      second?.cancel()
    },
  }
}
