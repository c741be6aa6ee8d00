/**
 * Opens the profile file: the last good reading outlives every bad state of the file, changes are seen within a second,
 * and nothing is written except by `edit`.
 */
import { dirname } from 'node:path'
import { type FileWatch, watchFile } from '../os/watch-file.js'
import { createSerial } from '../std/async.js'
import { type Clock, SECOND_MS, type Timer } from '../std/clock.js'
import type { Log } from '../std/log.js'
import { startTicking } from '../std/tick.js'
import { createEditor } from './editor.js'
import type { ProfileReading, ProfileStore } from './profile.js'
import { isSameReading, judgeFile, nextReading, readProfilesFile, unread } from './reading.js'

/** A look younger than this is fresh enough for a request. */
const FRESH_MS = SECOND_MS
/** Prefect truncates the file, then writes: an empty or broken file is reported only if it stays so this long. */
const GRACE_MS = 250
/** How often a file that turned bad is looked at: what broke it may have broken the watch, too. */
const BAD_MS = SECOND_MS
/** A start, and its first answer, do not wait for the watch; the look that arms it finds what has changed until then. */
const WATCH_AFTER_MS = 100
/** Finds changes without an event: on network file systems, or after the watch failed. */
const TICK_MS = 30 * SECOND_MS

interface ProfileStoreDependencies {
  /** Of `profiles.toml`; neither it nor its directory need exist. */
  readonly path: string
  readonly clock: Clock
  readonly log: Log
  /** Private directory for copies of texts that could be lost; default beside the file. */
  readonly keepIn?: string
  /** `false`: no watching; the tick and `refresh` still look. */
  readonly watch?: boolean
}

/** Resolves after the first look, whatever it found. */
export async function openProfileStore(dependencies: ProfileStoreDependencies): Promise<ProfileStore> {
  const { path, clock, log, watch = true, keepIn = dirname(path) } = dependencies
  // Looks and edits take turns: no look sees half an edit, and no edit starts from an old look.
  const serial = createSerial()
  let running: Promise<void> | undefined
  const lookSoon = (): Promise<void> => {
    running ??= serial
      .run(() => looker.look('patient'))
      .finally(() => {
        running = undefined
      })
    return running
  }
  const onStir = () => void lookSoon()
  let watcher: FileWatch | undefined
  const rearm = async () => watcher?.rearm()
  const looker = createLooker({ path, clock, log, rearm, run: serial.run })
  const editor = createEditor({ path, clock, log, keepIn, run: serial.run })
  await editor.sweep()
  await serial.run(() => looker.look('final'))
  const beginWatch = () => {
    watcher = watchFile({ path, clock, log, onStir })
    onStir()
  }
  const watching = watch ? clock.after(WATCH_AFTER_MS, beginWatch) : undefined
  const ticking = startTicking({ clock, everyMs: TICK_MS, log, run: lookSoon })

  const isFresh = () => looker.age() < FRESH_MS

  return {
    reading: looker.reading,
    isFresh,
    async refresh({ force = false } = {}) {
      if (force) await serial.run(() => looker.look('final'))
      else if (!isFresh()) await lookSoon()
      return looker.reading()
    },
    edit: (edits) =>
      serial.run(async () => {
        try {
          await editor.edit(edits, looker.reading)
        } finally {
          await looker.look('final')
        }
        return looker.reading()
      }),
    onChange: looker.onChange,
    onOverwritten: editor.onOverwritten,
    async close() {
      looker.close()
      watching?.cancel()
      await ticking.close()
      await serial.run(editor.close)
      await watcher?.close()
    },
  }
}

interface Looker {
  /** `patient`: a bad state is reported only after `GRACE_MS`; `final`: at once. */
  look(how: 'patient' | 'final'): Promise<void>
  reading(): ProfileReading
  /** Milliseconds since the last look. */
  age(): number
  onChange(listener: (reading: ProfileReading) => void): () => void
  close(): void
}

interface LookerDependencies {
  readonly path: string
  readonly clock: Clock
  readonly log: Log
  /** Watches the file where it is now. Never rejects. */
  readonly rearm: () => Promise<void>
  readonly run: (work: () => Promise<void>) => Promise<void>
}

function createLooker({ path, clock, log, rearm, run }: LookerDependencies): Looker {
  const listeners = new Set<(reading: ProfileReading) => void>()
  let held = unread(path, clock.now())
  let lookedAt = clock.monotonic()
  let recheck: Timer | undefined
  let isClosed = false

  function publish(finding: Parameters<typeof nextReading>[1]): void {
    const before = held.reading
    held = nextReading(held, finding, clock.now())
    if (isSameReading(before, held.reading)) return
    const { state, file, problem } = held.reading
    log.info({ path, state, profiles: file.profiles.size, problem }, 'profile file changed')
    for (const listener of listeners) {
      try {
        listener(held.reading)
      } catch (error) {
        log.error({ error }, 'profile file listener failed')
      }
    }
  }

  async function look(how: 'patient' | 'final'): Promise<void> {
    if (isClosed) return
    lookedAt = clock.monotonic()
    const finding = judgeFile(path, await readProfilesFile(path), held)
    await rearm()
    const isBad = finding.state !== 'good'
    if (how === 'patient' && isBad && finding.state !== held.reading.state) {
      recheck ??= clock.after(GRACE_MS, () => void run(() => look('final')))
      return
    }
    recheck?.cancel()
    recheck =
      isBad && held.text !== undefined ? clock.after(BAD_MS, () => void run(() => look('final'))) : undefined
    publish(finding)
  }

  return {
    look,
    reading: () => held.reading,
    age: () => clock.monotonic() - lookedAt,
    onChange(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
    close() {
      isClosed = true
      recheck?.cancel()
      listeners.clear()
    },
  }
}
