/**
 * Opens the profile file: the last good reading outlives every bad state of the file, changes are seen within a second,
 * and nothing is written except by `edit`.
 */
import { isBrokerError } from '../base/errors.js'
import { type FileWatch, watchFile } from '../os/watch-file.js'
import { createSerial } from '../std/async.js'
import { type Clock, SECOND_MS, sleep, type Timer } from '../std/clock.js'
import type { Log } from '../std/log.js'
import { startTicking } from '../std/tick.js'
import type { ProfileEdit, ProfileReading, ProfileStore } from './profile.js'
import {
  isBlank,
  isSameReading,
  judgeFile,
  nextReading,
  readProfilesFile,
  replaceProfilesFile,
  textForEdit,
  unread,
} from './reading.js'

/** A look younger than this is fresh enough for a request. */
const FRESH_MS = SECOND_MS
/** Prefect truncates the file, then writes: an empty or broken file is reported only if it stays so this long. */
const GRACE_MS = 250
/** How often a file that turned bad is looked at: what broke it may have broken the watch, too. */
const BAD_MS = SECOND_MS
/** Finds changes without an event: on network file systems, or after the watch failed. */
const TICK_MS = 30 * SECOND_MS

interface ProfileStoreDependencies {
  /** Of `profiles.toml`; neither it nor its directory need exist. */
  readonly path: string
  readonly clock: Clock
  readonly log: Log
  /** `false`: no watching; the tick and `refresh` still look. */
  readonly watch?: boolean
}

/** Resolves after the first look, whatever it found. */
export async function openProfileStore(dependencies: ProfileStoreDependencies): Promise<ProfileStore> {
  const { path, clock, log, watch = true } = dependencies
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
  const watcher = watch ? watchFile({ path, clock, log, onStir }) : undefined
  const looker = createLooker({ path, clock, log, watcher, run: serial.run })
  await serial.run(() => looker.look('final'))
  const ticking = startTicking({ clock, everyMs: TICK_MS, log, run: lookSoon })

  return {
    reading: looker.reading,
    async refresh({ force = false } = {}) {
      if (force) await serial.run(() => looker.look('final'))
      else if (looker.age() >= FRESH_MS) await lookSoon()
      return looker.reading()
    },
    edit: (edits) =>
      serial.run(async () => {
        const once = () => editFile(edits, looker.reading(), clock)
        await once().catch((error) => {
          if (!isBrokerError(error, 'profiles_file_changed')) throw error
          return once()
        })
        await looker.look('final')
        return looker.reading()
      }),
    onChange: looker.onChange,
    async close() {
      looker.close()
      await ticking.close()
      await serial.run(async () => undefined)
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
  readonly watcher: FileWatch | undefined
  readonly run: (work: () => Promise<void>) => Promise<void>
}

function createLooker({ path, clock, log, watcher, run }: LookerDependencies): Looker {
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
    const finding = judgeFile(path, await readProfilesFile(path))
    await watcher?.rearm()
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

/** Reads, changes and writes once; rejects with `profiles_file_changed` if another program wrote in between. */
async function editFile(edits: readonly ProfileEdit[], reading: ProfileReading, clock: Clock): Promise<void> {
  const { path, file } = reading
  let base = await readProfilesFile(path)
  if (isBlank(base) && file.profiles.size > 0) {
    // Prefect may have truncated it and be about to write.
    await sleep(clock, GRACE_MS)
    base = await readProfilesFile(path)
  }
  const text = textForEdit(base, reading)
  // Loaded only here: edits are rare, and a start is faster without the second parser.
  const { editProfiles } = await import('./edit.js')
  const edited = editProfiles(text, edits)
  if (edited !== text) await replaceProfilesFile(path, edited, base)
}
