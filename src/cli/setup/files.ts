/** The user's own files, changed by setup: through links, with their mode, whole or not at all. */
import { lstat, mkdir, readFile, realpath, rmdir, stat, unlink } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { failWith } from '../../client/failure.js'
import { resolvePaths, type Surroundings } from '../../config/paths.js'
import { writeFileAtomic } from '../../os/atomic-file.js'
import { ownUid } from '../../os/private-files.js'
import {
  formatRecord,
  NOTHING,
  readRecord,
  recordPath,
  requirePrivateDirectory,
  type SetupRecord,
} from './record.js'

/** One character a byte; `undefined` if there is no file. Rejects with the system's error. */
export async function readBytes(path: string): Promise<string | undefined> {
  try {
    if (!(await stat(path)).isFile()) return refuse(path, 'it is not a plain file')
    return await readFile(path, 'latin1')
  } catch (error) {
    if (!isMissing(error)) throw error
    // A link to nowhere: what it should lead to may be on a disk that is not mounted.
    if ((await lstat(path).catch(() => undefined)) === undefined) return undefined
    return refuse(path, 'it is a link to a file that does not exist')
  }
}

/** Replaces `before`, as `readBytes` gave it. Fails with `setup_write_failed`; then nothing has changed. */
export async function writeBytes(path: string, before: string | undefined, text: string): Promise<void> {
  try {
    const real = before === undefined ? path : await realpath(path)
    if (before !== undefined && (await stat(real)).uid !== ownUid())
      refuse(path, 'it belongs to another user')
    const mode = before === undefined ? 0o644 : (await stat(real)).mode & 0o7777
    const unchanged = async () => {
      if ((await readBytes(path)) !== before) refuse(path, 'another program has just changed it')
    }
    await writeFileAtomic(real, Buffer.from(text, 'latin1'), { mode, beforeRename: unchanged })
  } catch (error) {
    if (error instanceof Error && error.cause !== undefined) throw error
    refuse(path, codeOf(error))
  }
}

/** Removes a file that is as `readBytes` gave it. Fails with `setup_write_failed`. */
export async function removeFile(path: string, before: string): Promise<void> {
  if ((await readBytes(path)) !== before) refuse(path, 'another program has just changed it')
  await unlink(path).catch((error: unknown) => refuse(path, codeOf(error)))
}

/** Whether the user has moved the file elsewhere, and links to it. */
export async function isLink(path: string): Promise<boolean> {
  return (await lstat(path).catch(() => undefined))?.isSymbolicLink() === true
}

/** The directories above a file that are missing, deepest last. */
export async function missingDirectories(file: string): Promise<readonly string[]> {
  const missing: string[] = []
  for (let path = dirname(file); path !== dirname(path); path = dirname(path)) {
    if ((await lstat(path).catch(() => undefined)) !== undefined) break
    missing.unshift(path)
  }
  return missing
}

/** Makes the directory of a file and what is missing above it. Fails with `setup_write_failed`. */
export async function makeDirectoryOf(file: string): Promise<void> {
  const path = dirname(file)
  await mkdir(path, { recursive: true, mode: 0o700 }).catch((error: unknown) => refuse(path, codeOf(error)))
}

/** Removes those that are empty, deepest first. Never rejects. */
export async function removeEmpty(directories: readonly string[]): Promise<void> {
  const deepestFirst = [...new Set(directories)].sort((a, b) => b.length - a.length)
  for (const path of deepestFirst) await rmdir(path).catch(() => undefined)
}

export interface RecordKeeper {
  read(): Promise<SetupRecord>
  /** Durable when it resolves. An empty record is no file. Fails as `readRecord`, and with `setup_write_failed`. */
  change(edit: (record: SetupRecord) => SetupRecord): Promise<void>
}

export function createRecordKeeper(around: Surroundings): RecordKeeper {
  const path = recordPath(around)
  const read = () => readRecord(around)
  return {
    read,
    async change(edit) {
      const before = await read()
      const missing = before === NOTHING ? await missingDirectories(path) : []
      const next = edit({ ...before, directories: [...before.directories, ...missing] })
      if (isNothing(next)) {
        await unlink(path).catch(() => undefined)
        return removeEmpty([...next.directories, resolvePaths(around).stateDir])
      }
      await makeDirectoryOf(path)
      await requirePrivateDirectory(around)
      await writeFileAtomic(path, formatRecord(next)).catch((error: unknown) => refuse(path, codeOf(error)))
    },
  }
}

function isNothing({ onDemand, service, blocks, pythons }: SetupRecord): boolean {
  return onDemand === undefined && !service && blocks.length === 0 && pythons.length === 0
}

/** The same record with directories that setup is about to make. */
export function withDirectories(record: SetupRecord, more: readonly string[]): SetupRecord {
  return { ...record, directories: [...new Set([...record.directories, ...more])] }
}

function refuse(path: string, why: string): never {
  return failWith({
    code: 'setup_write_failed',
    kind: 'unavailable',
    detail: `cannot write ${path}: ${why}`,
    hint: 'prefect-auth setup --print      (and write it there yourself)',
  })
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error && typeof error.code === 'string'
    ? error.code
    : String(error)
}

function isMissing(error: unknown): boolean {
  return ['ENOENT', 'ENOTDIR'].includes(codeOf(error))
}

export function inHome(path: string, { home }: Pick<Surroundings, 'home'>): string {
  return path.startsWith(join(home, '/')) ? `~${path.slice(home.length)}` : path
}
