/** Writes files atomically: readers, and restarts after a crash, see the old or the new content. */
import { randomBytes } from 'node:crypto'
import { readdirSync } from 'node:fs'
import { type FileHandle, open, rename, unlink } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { systemCode } from './system-error.js'

/** What a file system refuses because it has no such thing; `code`: its error. */
export type OnRefused = (what: 'mode' | 'sync', code: string) => void

interface AtomicWrite {
  /** Permission bits of the new file; default 0600. */
  readonly mode?: number
  /** Runs when the new content is on the disk, before the rename. If it rejects, the old file stays. */
  readonly beforeRename?: () => Promise<void>
  /** Called for what the file was written without. */
  readonly onRefused?: OnRefused
}

/**
 * Replaces `path` by `content`, durable when it resolves: temporary file beside it, fsync, rename, fsync of the directory.
 * The directory must exist. Rejects with the system's error; the old file stays.
 */
export async function writeFileAtomic(
  path: string,
  content: string | Uint8Array,
  { mode = 0o600, beforeRename, onRefused }: AtomicWrite = {},
): Promise<void> {
  const temporary = `${path}.${randomBytes(6).toString('hex')}.tmp`
  const file = await open(temporary, 'wx', mode)
  try {
    await fill(file, content, mode, onRefused)
    await beforeRename?.()
    await rename(temporary, path)
  } catch (error) {
    await unlink(temporary).catch(() => undefined)
    throw error
  }
  await syncDirectory(dirname(path), onRefused)
}

async function fill(
  file: FileHandle,
  content: string | Uint8Array,
  mode: number,
  onRefused: OnRefused | undefined,
): Promise<void> {
  try {
    await file.writeFile(content)
    await setMode(file, mode, onRefused)
    await unlessUnsupported(() => file.sync(), onRefused)
  } finally {
    await file.close()
  }
}

/** The umask may have removed bits at creation. A file system that keeps no modes has none that could be set. */
async function setMode(file: FileHandle, mode: number, onRefused?: OnRefused): Promise<void> {
  if (((await file.stat()).mode & 0o777) === mode) return
  await file.chmod(mode).catch((error: unknown) => {
    const code = systemCode(error) ?? ''
    if (!['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EINVAL'].includes(code)) throw error
    onRefused?.('mode', code)
  })
}

/** Makes renames and unlinks in `directory` durable, as far as its file system can. */
export async function syncDirectory(directory: string, onRefused?: OnRefused): Promise<void> {
  await unlessUnsupported(async () => {
    const handle = await open(directory, 'r')
    try {
      await handle.sync()
    } finally {
      await handle.close()
    }
  }, onRefused)
}

/** Some file systems (vfat, FUSE, network shares) sync neither directories nor files on demand; EIO is a failure, though. */
async function unlessUnsupported(sync: () => Promise<void>, onRefused?: OnRefused): Promise<void> {
  try {
    await sync()
  } catch (error) {
    const code = systemCode(error) ?? ''
    if (!UNSUPPORTED.includes(code)) throw error
    onRefused?.('sync', code)
  }
}

const UNSUPPORTED = ['EINVAL', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EBADF', 'EISDIR', 'EPERM', 'EACCES']

const TEMPORARY = /^(.+)\.(?:[0-9a-f]{12}|previous)\.tmp$/

/**
 * Deletes the temporary files that killed writers left in `directory`, of the files that `isOurs` accepts: they may hold
 * keys. Never rejects. Nobody else may be writing.
 */
export async function sweepTemporaryFiles(
  directory: string,
  isOurs: (name: string) => boolean = () => true,
): Promise<void> {
  for (const name of namesIn(directory)) {
    const [, target] = TEMPORARY.exec(name) ?? []
    if (target !== undefined && isOurs(target)) await unlink(join(directory, name)).catch(() => undefined)
  }
}

/** What is in `directory`; nothing if it cannot be read. */
export function namesIn(directory: string): readonly string[] {
  try {
    return readdirSync(directory)
  } catch {
    return []
  }
}

/** The same for one file in a directory that others use, too. */
export async function sweepTemporaryFilesOf(path: string): Promise<void> {
  await sweepTemporaryFiles(dirname(path), (target) => target === basename(path))
}
