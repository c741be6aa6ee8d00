/** One look at `profiles.toml`: reading it, and what a look makes of the reading before. */

import { constants, type Stats } from 'node:fs'
import { type FileHandle, lstat, open } from 'node:fs/promises'
import { BrokerError } from '../base/errors.js'
import { systemCode } from '../os/system-error.js'
import { defined } from '../std/defined.js'
import { sha256Hex } from '../std/secret.js'
import type { ProfileFile, ProfileReading } from './profile.js'
import { MAX_PROFILES_BYTES, parseProfiles } from './toml.js'

export type FoundFile =
  | { readonly kind: 'text'; readonly text: string; readonly mode: number }
  | { readonly kind: 'missing' }
  /** `problem` completes a sentence that starts with the file's name. */
  | { readonly kind: 'invalid' | 'unreadable'; readonly problem: string }

/** Reads at most 1 MiB, never waits for a pipe, never rejects. */
export async function readProfilesFile(path: string): Promise<FoundFile> {
  let handle: FileHandle | undefined
  try {
    // Without O_NONBLOCK a pipe would be waited for.
    handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK)
    const found = await handle.stat()
    if (!found.isFile()) return { kind: 'unreadable', problem: notAFile(found) }
    if (found.size > MAX_PROFILES_BYTES) return { kind: 'invalid', problem: 'is larger than 1 MiB' }
    const bytes = await handle.readFile()
    const text = decode(bytes)
    if (isUtf16(bytes)) {
      return {
        kind: 'invalid',
        problem: 'is UTF-16, which Prefect cannot read: save it as UTF-8 without a mark',
      }
    }
    if (text === undefined) return { kind: 'invalid', problem: 'is not UTF-8' }
    return { kind: 'text', text, mode: found.mode & 0o777 }
  } catch (error) {
    const code = systemCode(error)
    if (code === 'ENOENT' || code === 'ENOTDIR') return { kind: 'missing' }
    // A socket cannot be opened at all.
    const special = code === 'ENXIO' ? await lstat(path).catch(() => undefined) : undefined
    if (special !== undefined) return { kind: 'unreadable', problem: notAFile(special) }
    return { kind: 'unreadable', problem: `cannot be read (${code ?? 'unknown error'})` }
  } finally {
    await handle?.close()
  }
}

function notAFile(found: Stats): string {
  if (found.isDirectory()) return 'is a directory, not a file'
  if (found.isFIFO()) return 'is a pipe, not a file'
  return found.isSocket() ? 'is a socket, not a file' : 'is a device, not a file'
}

/** As PowerShell and Notepad write it: with its mark, or with every other byte of the first words empty. */
export function isUtf16(bytes: Uint8Array): boolean {
  const [first, second, third, fourth] = bytes
  if ((first === 0xff && second === 0xfe) || (first === 0xfe && second === 0xff)) return true
  return (second === 0 && fourth === 0 && first !== 0) || (first === 0 && third === 0 && second !== 0)
}

/** UTF-8, or `undefined`. */
export function decode(bytes: Uint8Array): string | undefined {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch {
    return undefined
  }
}

/** What one look at the disk means. */
type Finding =
  | {
      readonly state: 'good'
      readonly text: string
      readonly file: ProfileFile
      readonly warnings: readonly string[]
    }
  | { readonly state: Exclude<ProfileReading['state'], 'good'>; readonly problem: string }

/** A reading with the text it came from; without text there was no good one yet. */
interface HeldReading {
  readonly reading: ProfileReading
  readonly text?: string
}

/** Before the first look: as if there were no file. */
export function unread(path: string, now: number): HeldReading {
  return { reading: { path, file: { profiles: new Map() }, readAt: now, state: 'missing' } }
}

/** `known`: the last good text with what was made of it, which is not made again. */
export function judgeFile(path: string, found: FoundFile, known?: HeldReading): Finding {
  if (found.kind === 'missing') return { state: 'missing', problem: `${path} is gone` }
  if (found.kind !== 'text') return { state: found.kind, problem: `${path} ${found.problem}` }
  if (isBlank(found)) return { state: 'empty', problem: `${path} is empty` }
  const parsed =
    found.text === known?.text
      ? ({ kind: 'good', file: known.reading.file } as const)
      : parseProfiles(found.text)
  if (parsed.kind === 'invalid') return { state: 'invalid', problem: `${path} ${parsed.problem}` }
  const warnings = fileWarnings(path, found, parsed.file)
  return { state: 'good', text: found.text, file: parsed.file, warnings }
}

/** A good finding replaces the reading; any other keeps its profiles and says why they are out of date. */
export function nextReading({ reading, text }: HeldReading, finding: Finding, now: number): HeldReading {
  const { path, readAt } = reading
  if (finding.state === 'good') {
    // The same text keeps the same object, so that a comparison by identity finds no change.
    const file = finding.text === text ? reading.file : finding.file
    const warnings = finding.warnings.length > 0 ? finding.warnings : undefined
    const good = { path, file, readAt: now, state: 'good', ...defined({ warnings }) } as const
    return { text: finding.text, reading: good }
  }
  const { state, problem } = finding
  // As long as there was no good file, a missing or empty one is not a problem.
  const isHarmless = text === undefined && (state === 'missing' || state === 'empty')
  const isUnread = text === undefined && !isHarmless
  const effect = isUnread ? 'no profile is known until it is fixed' : 'the last good version stays in effect'
  const shown = isHarmless ? undefined : `${problem}; ${effect}`
  const next = {
    path,
    file: reading.file,
    readAt,
    state,
    ...defined({ problem: shown }),
    ...(isUnread && { isUnread }),
  }
  return { reading: next, ...defined({ text }) }
}

/** Whether nothing changed but the time of the look. */
export function isSameReading(before: ProfileReading, now: ProfileReading): boolean {
  if (before === now) return true
  return (
    before.file === now.file &&
    before.state === now.state &&
    before.problem === now.problem &&
    before.warnings?.join() === now.warnings?.join()
  )
}

/**
 * SHA-256 of everything that a profile's table says, in any order; `undefined` if the file has no such table. Equal digests:
 * nobody has changed a setting of the profile.
 */
export function tableDigest({ file }: ProfileReading, name: string): string | undefined {
  const entry = file.profiles.get(name)
  if (entry === undefined) return undefined
  const { settings, apiKey, authString, notStrings, unusable } = entry
  const values = Object.entries(settings)
  if (apiKey !== undefined) values.push(['PREFECT_API_KEY', apiKey.reveal()]) // to be hashed
  if (authString !== undefined) values.push(['PREFECT_API_AUTH_STRING', authString.reveal()]) // to be hashed
  const sorted = values.sort(([one], [other]) => (one < other ? -1 : 1))
  return sha256Hex(JSON.stringify([sorted, [...(notStrings ?? [])].sort(), [...(unusable ?? [])].sort()]))
}

/** Nothing but white space, which a program leaves that truncates the file before it writes. */
export function isBlank(found: FoundFile): boolean {
  return found.kind === 'text' && found.text.trim() === ''
}

/** The text that edits start from. Throws if starting from it would lose profiles that we cannot see. */
export function textForEdit(base: FoundFile, { path, file }: ProfileReading): string {
  if (base.kind === 'missing') return ''
  if (base.kind === 'text') {
    if (!isBlank(base) || file.profiles.size === 0) return base.text
    throw new BrokerError(
      'profiles_file_invalid',
      `cannot change ${path}: it is empty but had profiles before`,
      {
        hint: `restore the file, or remove it to start over: rm ${path}`,
      },
    )
  }
  const code = base.kind === 'invalid' ? 'profiles_file_invalid' : 'profiles_file_unreadable'
  throw new BrokerError(code, `cannot change ${path}: it ${base.problem}`, {
    hint: `nothing was written; check: ls -l ${path}`,
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
      `${path} contains a key in plain text that other users can read (mode ${mode}); run: chmod 600 ${path}`,
    )
  }
  if (found.text.startsWith('\ufeff')) {
    warnings.push(`${path} starts with a byte order mark, which Prefect cannot read; save it without one`)
  }
  return warnings
}
