/** Pure: what one look at `profiles.toml` means, and what it makes of the reading before. */
import { BrokerError } from '../base/errors.js'
import type { ProfileFile, ProfileReading } from './profile.js'
import type { FoundFile } from './profiles-file.js'
import { parseProfiles } from './toml.js'

/** One look at the disk, judged. */
export type Finding =
  | {
      readonly state: 'good'
      readonly text: string
      readonly file: ProfileFile
      readonly warnings: readonly string[]
    }
  | { readonly state: Exclude<ProfileReading['state'], 'good'>; readonly problem: string }

/** A reading with the text it came from; no text: there has been no good one. */
export interface HeldReading {
  readonly reading: ProfileReading
  readonly text?: string
}

/** Before the first look: as if there were no file. */
export function unread(path: string, now: number): HeldReading {
  return { reading: { path, file: { profiles: new Map() }, readAt: now, state: 'missing' } }
}

export function judgeFile(path: string, found: FoundFile): Finding {
  const still = 'the profiles read before still count'
  if (found.kind === 'missing') return { state: 'missing', problem: `${path} is gone; ${still}` }
  if (found.kind !== 'text') return { state: found.kind, problem: `${path} ${found.problem}; ${still}` }
  if (isBlank(found)) return { state: 'empty', problem: `${path} is empty; ${still}` }
  const parsed = parseProfiles(found.text)
  if (parsed.kind === 'invalid') return { state: 'invalid', problem: `${path} ${parsed.problem}; ${still}` }
  const warnings = fileWarnings(path, found, parsed.file)
  return { state: 'good', text: found.text, file: parsed.file, warnings }
}

/** A good finding replaces the reading; any other one keeps its profiles and says why they are old. */
export function nextReading({ reading, text }: HeldReading, finding: Finding, now: number): HeldReading {
  const { path, readAt } = reading
  if (finding.state === 'good') {
    // The same text keeps the same object, so that whoever compares by identity has nothing to do.
    const file = finding.text === text ? reading.file : finding.file
    const warnings = finding.warnings.length > 0 ? { warnings: finding.warnings } : {}
    return { text: finding.text, reading: { path, file, readAt: now, state: 'good', ...warnings } }
  }
  const { state, problem } = finding
  // Where there never was a good file, a missing or empty one is no problem, but what it is.
  const isHarmless = text === undefined && (state === 'missing' || state === 'empty')
  const next = { path, file: reading.file, readAt, state, ...(isHarmless ? {} : { problem }) }
  return { reading: next, ...(text === undefined ? {} : { text }) }
}

/** Whether nothing changed but the time of the look. */
export function isSameReading(before: ProfileReading, now: ProfileReading): boolean {
  return (
    before.file === now.file &&
    before.state === now.state &&
    before.problem === now.problem &&
    before.warnings?.join() === now.warnings?.join()
  )
}

/** Nothing but white space: what a program leaves that truncates before it writes. */
export function isBlank(found: FoundFile): boolean {
  return found.kind === 'text' && found.text.trim() === ''
}

/** The text that edits start from. Throws where starting from it would lose what we do not see. */
export function textForEdit(base: FoundFile, { path, file }: ProfileReading): string {
  if (base.kind === 'missing') return ''
  if (base.kind === 'text') {
    if (!isBlank(base) || file.profiles.size === 0) return base.text
    throw new BrokerError(
      'profiles_file_invalid',
      `can't change ${path}: it is empty and had profiles before`,
      {
        hint: `restore the file, or remove it to begin anew: rm ${path}`,
      },
    )
  }
  const code = base.kind === 'invalid' ? 'profiles_file_invalid' : 'profiles_file_unreadable'
  throw new BrokerError(code, `can't change ${path}: it ${base.problem}`, {
    hint: `look at it: ls -l ${path}; nothing was written`,
  })
}

function fileWarnings(path: string, found: { text: string; mode: number }, file: ProfileFile): string[] {
  const warnings: string[] = []
  const entries = [...file.profiles.values()]
  const hasSecret = entries.some(
    ({ apiKey, authString }) => authString !== undefined || (apiKey?.length ?? 0) > 0,
  )
  if (hasSecret && (found.mode & 0o077) !== 0) {
    const mode = found.mode.toString(8)
    warnings.push(
      `${path} holds a key in plain text and other users may read it (mode ${mode}); run: chmod 600 ${path}`,
    )
  }
  if (found.text.startsWith('\ufeff')) {
    warnings.push(`${path} begins with a byte order mark, which Prefect can't read; save it without one`)
  }
  return warnings
}
