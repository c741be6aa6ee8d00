/** What setup wrote, in the state directory: only that is taken away again, and it says whether a daemon may be started. */

// The fast path loads this: no package is imported here.
import { lstat, readFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { failWith } from '../../client/failure.js'
import { resolvePaths, type Surroundings } from '../../config/paths.js'

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

/** `NOTHING` if there is none. Fails with `setup_record_unreadable` if it is damaged, or of a newer version. */
export async function readRecord(around: Surroundings): Promise<SetupRecord> {
  const path = recordPath(around)
  const text = await readFile(path, 'utf8').catch(() => undefined)
  if (text === undefined) return NOTHING
  // Somebody else's could name variables that make the daemon run their code.
  const isOurs = (await isPrivate(dirname(path), around)) && (await isPrivate(path, around))
  const record = isOurs ? parseRecord(text) : undefined
  if (record !== undefined) return record
  return failWith({
    code: 'setup_record_unreadable',
    kind: 'invalid',
    detail: `cannot use ${path}: it is damaged, of a newer version, or other users can write to it`,
    hint: `install the newer version again, or move ${path} away and take out by hand what setup wrote`,
  })
}

async function isPrivate(path: string, { uid }: Pick<Surroundings, 'uid'>): Promise<boolean> {
  const facts = await lstat(path)
  const isKind = facts.isDirectory() || facts.isFile()
  return isKind && (uid === undefined || (facts.uid === uid && (facts.mode & 0o077) === 0))
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
