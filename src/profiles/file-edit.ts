/** One edit of `profiles.toml` on the disk: read, change, replace, and merge what another program wrote in between. */
import { join } from 'node:path'
import { isBrokerError } from '../base/errors.js'
import { writeFileAtomic } from '../os/atomic-file.js'
import { type Clock, sleep } from '../std/clock.js'
import { defined } from '../std/defined.js'
import type { Overwritten, ProfileEdit, ProfileFile, ProfileReading } from './profile.js'
import { type FoundFile, isBlank, readProfilesFile, textForEdit } from './reading.js'
import { type Replaced, replaceProfilesFile } from './replace.js'
import { parseProfiles } from './toml.js'

/** Prefect truncates the file, then writes: an empty file counts as empty only if it stays so this long. */
const GRACE_MS = 250
/** A writer that fills the replaced file is done when two looks this far apart find the same. */
const SETTLE_MS = 20
const SETTLE_LOOKS = 50
/** Rounds with a program that writes all the time. */
const ROUNDS = 10

export interface EditPlace {
  readonly clock: Clock
  /** Private directory for copies; it must exist. */
  readonly keepIn: string
  readonly report: (found: Overwritten) => void
}

/** What an edit has replaced: another program may still write into it. */
export interface DoneEdit {
  /** A program has begun to write. */
  isBeingWritten(): boolean
  /** Merges what was written since, and forgets the replaced file. Never rejects. */
  close(): Promise<void>
}

/** Rejects as `ProfileStore.edit` does. `undefined`: nothing was replaced. */
export async function editProfilesFile(
  edits: readonly ProfileEdit[],
  reading: ProfileReading,
  place: EditPlace,
): Promise<DoneEdit | undefined> {
  const base = await readBase(reading, place.clock)
  const text = textForEdit(base, reading)
  // Loaded only here: edits are rare, and a start is faster without the second parser.
  const { editProfiles } = await import('./edit.js')
  const apply = (to: string) => editProfiles(to, edits)
  const wanted = apply(text)
  if (wanted === text) return undefined
  const replaced = await replaceProfilesFile(reading.path, wanted, base, place)
  if (replaced === undefined) return undefined
  return settle({ path: reading.path, apply, before: text, wanted, mode: modeOf(base), replaced, place })
}

async function readBase({ path, file }: ProfileReading, clock: Clock): Promise<FoundFile> {
  const base = await readProfilesFile(path)
  if (!isBlank(base) || file.profiles.size === 0) return base
  await sleep(clock, GRACE_MS)
  return readProfilesFile(path)
}

function modeOf(base: FoundFile): number {
  return base.kind === 'text' ? base.mode : 0o600
}

interface Swap {
  readonly path: string
  readonly apply: (to: string) => string
  /** The text that was replaced, as far as we know. */
  readonly before: string
  readonly wanted: string
  readonly mode: number
  readonly replaced: Replaced
  readonly place: EditPlace
}

/** Merges until nobody has written in between. Rejects if the edit cannot be applied to what the other program wrote. */
async function settle(first: Swap): Promise<DoneEdit | undefined> {
  let swap: Swap | undefined = first
  for (let round = 0; round < ROUNDS && swap !== undefined; round += 1) {
    const other = await otherText(swap)
    if (other === undefined) break
    swap = await merge(swap, other)
  }
  if (swap === undefined) return undefined
  const last = swap
  await last.replaced.unname()
  return {
    isBeingWritten: () => isOther(last),
    async close() {
      const other = await otherText(last)
      // Nobody waits for this edit any more: if it cannot be applied, the other program's text alone stays.
      const merged = other === undefined ? last : await merge(last, other).catch(() => undefined)
      await merged?.replaced.close()
    },
  }
}

function isOther({ before, replaced }: Swap): boolean {
  return replaced.text() !== before
}

/** What another program wrote into the replaced file, once it has written; `undefined`: nothing so far. */
async function otherText({ before, replaced, place }: Swap): Promise<string | undefined> {
  let last = replaced.text()
  if (last === before) return undefined
  for (let look = 0; look < SETTLE_LOOKS; look += 1) {
    await sleep(place.clock, SETTLE_MS)
    const now = replaced.text()
    if (now !== undefined && now.trim() !== '' && now === last) return now === before ? undefined : now
    last = now
  }
  return undefined
}

/**
 * The other program wrote first: our edit is applied to its text. If that fails, its text is put back and the failure thrown.
 * If its text is no TOML, or the file has changed again, it is kept beside our state. It is reported in any case.
 */
async function merge(swap: Swap, other: string): Promise<Swap | undefined> {
  const { path, apply, wanted, mode, replaced, place } = swap
  const parsed = parseProfiles(other)
  if (parsed.kind === 'invalid') return keep(swap, other)
  const { file } = parsed
  const applied = attempt(() => apply(other))
  const next = applied.kind === 'done' ? applied.text : other
  try {
    const again = await replaceProfilesFile(path, next, { kind: 'text', text: wanted, mode }, place)
    await replaced.close()
    place.report({ file, isMerged: true })
    if (applied.kind === 'done') return again && { ...swap, before: wanted, wanted: next, replaced: again }
    await again?.close()
  } catch (error) {
    if (!isBrokerError(error)) throw error
    return keep(swap, other, file)
  }
  throw applied.error
}

type Attempt =
  | { readonly kind: 'done'; readonly text: string }
  | { readonly kind: 'failed'; readonly error: unknown }

function attempt(work: () => string): Attempt {
  try {
    return { kind: 'done', text: work() }
  } catch (error) {
    return { kind: 'failed', error }
  }
}

async function keep({ replaced, place }: Swap, text: string, file?: ProfileFile): Promise<undefined> {
  const keptAt = await keepOverwritten(text, place).catch(() => undefined)
  // The second name stays until the next start if there is no copy.
  if (keptAt === undefined) replaced.leave()
  else await replaced.close()
  place.report({ isMerged: false, ...defined({ file, keptAt }) })
}

/** Returns the path of the copy. Rejects if it cannot be written. */
export async function keepOverwritten(text: string, { keepIn, clock }: Pick<EditPlace, 'keepIn' | 'clock'>) {
  const stamp = new Date(clock.now()).toISOString().replaceAll(':', '-')
  const path = join(keepIn, `profiles.toml.overwritten-${stamp}`)
  await writeFileAtomic(path, text)
  return path
}
