/** What setup wrote, in the state directory: only that is taken away again, and it says whether a daemon may be started. */

// The fast path loads this: no package is imported here.
import type { Stats } from 'node:fs'
import { lstat, readFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { failWith } from '../../client/failure.js'
import { resolvePaths, type Surroundings } from '../../config/paths.js'
import { shellWord } from '../../std/text.js'

/** Of this file. A newer one is refused. */
const FORMAT = 1

export interface WrittenBlock {
  /** As the user names it; it may be a link. */
  readonly path: string
  readonly part: 'completion' | 'hook'
  /** The exact bytes that were inserted, one character a byte. */
  readonly inserted: string
  /** Whether there was no file. */
  readonly isNew: boolean
}

export interface SetupRecord {
  /** No service manager: commands start the daemon, with these variables. */
  readonly onDemand?: { readonly env: Readonly<Record<string, string>> }
  /** The service was installed by setup. */
  readonly service: boolean
  readonly blocks: readonly WrittenBlock[]
  /** Interpreters of the Python environments that got the plugin. */
  readonly pythons: readonly string[]
  /** Directories that were not there before, deepest last. */
  readonly directories: readonly string[]
}

export const NOTHING: SetupRecord = { service: false, blocks: [], pythons: [], directories: [] }

export function recordPath(around: Surroundings): string {
  return join(resolvePaths(around).stateDir, 'setup.json')
}

/** `NOTHING` if there is none. Fails with `setup_record_unreadable` if it is damaged, of a newer version, or not ours alone. */
export async function readRecord(around: Surroundings): Promise<SetupRecord> {
  const path = recordPath(around)
  const facts = await factsOf(path)
  if (facts === undefined) return NOTHING
  // Somebody else's could name variables that make the daemon run their code.
  await requirePrivateDirectory(around)
  requirePrivate(path, facts, around)
  // Whatever cannot be read is not nothing: what setup wrote would be forgotten.
  const text = await readFile(path, 'utf8').catch((error: unknown) => unreadable(path, codeOf(error)))
  return parseRecord(text) ?? unreadable(path, 'it is damaged, or of a newer version')
}

/** That a record written there can be read again. Fails with `setup_record_unreadable`. */
export async function requirePrivateDirectory(around: Surroundings): Promise<void> {
  const folder = dirname(recordPath(around))
  const facts = await factsOf(folder)
  if (facts !== undefined) requirePrivate(folder, facts, around)
}

async function factsOf(path: string): Promise<Stats | undefined> {
  return lstat(path).catch((error: unknown) => {
    const code = codeOf(error)
    return code === 'ENOENT' || code === 'ENOTDIR' ? undefined : unreadable(path, code)
  })
}

function requirePrivate(path: string, facts: Stats, { uid }: Pick<Surroundings, 'uid'>): void {
  if (!facts.isDirectory() && !facts.isFile()) unreadable(path, 'it is a link, or no plain file')
  if (uid === undefined) return
  if (facts.uid !== uid) unreadable(path, `it belongs to user ${facts.uid}`, `ls -ld ${shellWord(path)}`)
  if ((facts.mode & 0o077) === 0) return
  const mode = facts.isDirectory() ? '700' : '600'
  unreadable(path, 'other users can reach it', `chmod ${mode} ${shellWord(path)}`)
}

function unreadable(path: string, why: string, hint?: string): never {
  const other = 'install the newer version again, or move it away and take out by hand what setup wrote'
  return failWith({
    code: 'setup_record_unreadable',
    kind: 'invalid',
    detail: `cannot use ${path}: ${why}`,
    hint: hint ?? other,
  })
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : String(error)
}

export function formatRecord(record: SetupRecord): string {
  return `${JSON.stringify({ format: FORMAT, ...record }, undefined, 2)}\n`
}

/** `undefined` if it is not what `formatRecord` of this version writes. */
export function parseRecord(text: string): SetupRecord | undefined {
  try {
    const { format, onDemand, service, blocks, pythons, directories } = JSON.parse(text)
    const isWhole =
      format === FORMAT &&
      typeof service === 'boolean' &&
      [pythons, directories].every(isTexts) &&
      Array.isArray(blocks) &&
      blocks.every(isBlock)
    if (!isWhole) return undefined
    const record = { service, blocks, pythons, directories }
    if (onDemand === undefined) return record
    return isTexts(Object.values(onDemand.env)) ? { ...record, onDemand: { env: onDemand.env } } : undefined
  } catch {
    return undefined
  }
}

function isTexts(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every((one) => typeof one === 'string')
}

function isBlock(value: unknown): value is WrittenBlock {
  if (typeof value !== 'object' || value === null) return false
  const { path, part, inserted, isNew }: { readonly [name: string]: unknown } = { ...value }
  const isPart = part === 'completion' || part === 'hook'
  return isPart && isTexts([path, inserted]) && typeof isNew === 'boolean'
}
