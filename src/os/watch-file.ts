/** A watch on one file: says when it may have changed, through renames and new directories; the listener looks. */
import { type FSWatcher as ParentWatcher, watch as watchDirectory } from 'node:fs'
import { realpath, stat } from 'node:fs/promises'
import { basename, dirname, resolve } from 'node:path'
import { type FSWatcher, watch as watchWithChokidar } from 'chokidar'
import { createSerial } from '../std/async.js'
import type { Clock, Timer } from '../std/clock.js'
import type { Log } from '../std/log.js'

/** Quiet time before a look: programs that truncate and rewrite are done by then. */
const DEBOUNCE_MS = 100
/** A file that changes all the time is looked at this often anyway. */
const MAX_DEBOUNCE_MS = 500
/** chokidar swallows a change within 50 ms of another: a second look finds it. */
const SECOND_LOOK_MS = 700

interface FileWatchDependencies {
  readonly path: string
  readonly clock: Clock
  readonly log: Log
  /** Called after the quiet time, and after each (re)arming, for what happened before that. */
  readonly onStir: () => void
}

export interface FileWatch {
  /** Watches the directory of the file if it is no longer the one that is watched. Cheap if it is. */
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
    return serial.run(arm).catch((error) => log.warn({ error, path }, 'file watch failed; polling only'))
  }

  function watchDirectories({ directories, files }: WatchPlan): FSWatcher | undefined {
    if (directories.length === 0) return undefined
    const isOther = (name: string) => !directories.includes(name) && !files.includes(name)
    // On the file itself chokidar goes deaf after a rename.
    const watcher = watchWithChokidar([...directories], { depth: 0, ignoreInitial: true, ignored: isOther })
    watcher.on('all', debounce.stir)
    watcher.on('ready', debounce.stir)
    watcher.on('error', (error) => log.warn({ error, path }, 'file watch failed; polling only'))
    return watcher
  }

  /** For the day the directory appears or is replaced. */
  function watchParent({ ancestor, child }: WatchPlan): ParentWatcher | undefined {
    try {
      const watcher = watchDirectory(ancestor, (_event, name) => {
        if (name !== child && name !== null) return
        void rearm().then(debounce.stir)
      })
      watcher.on('error', () => watcher.close())
      return watcher
    } catch (error) {
      log.debug({ error, path: ancestor }, 'parent directory watch failed')
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
  /** The directories that hold the file: that of the path, and that of its link's target. */
  readonly directories: readonly string[]
  readonly files: readonly string[]
  /** The nearest existing directory above, and the name that is to appear (or be replaced) in it. */
  readonly ancestor: string
  readonly child: string
  /** Equal for plans with the same watches: names, and identities of the directories. */
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
  // A new directory often gets the inode of the one it replaces; the birth time differs.
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
