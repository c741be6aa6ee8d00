/** Writes files atomically: readers, and restarts after a crash, see the old or the new content. */
import { randomBytes } from 'node:crypto'
import { type FileHandle, open, rename, unlink } from 'node:fs/promises'
import { dirname } from 'node:path'

interface AtomicWrite {
  /** Permission bits of the new file; default 0600. */
  readonly mode?: number
  /** Runs when the new content is on the disk, before the rename. If it rejects, the old file stays. */
  readonly beforeRename?: () => Promise<void>
}

/**
 * Replaces `path` by `content`, durable when it resolves: temporary file beside it, fsync, rename, fsync of the directory.
 * The directory must exist. Rejects with the system's error; the old file stays.
 */
export async function writeFileAtomic(
  path: string,
  content: string | Uint8Array,
  { mode = 0o600, beforeRename }: AtomicWrite = {},
): Promise<void> {
  const temporary = `${path}.${randomBytes(6).toString('hex')}.tmp`
  const file = await open(temporary, 'wx', mode)
  try {
    await fill(file, content, mode)
    await beforeRename?.()
    await rename(temporary, path)
  } catch (error) {
    await unlink(temporary).catch(() => undefined)
    throw error
  }
  await syncDirectory(dirname(path))
}

async function fill(file: FileHandle, content: string | Uint8Array, mode: number): Promise<void> {
  try {
    await file.writeFile(content)
    // The umask may have removed bits at creation.
    await file.chmod(mode)
    await file.sync()
  } finally {
    await file.close()
  }
}

/** Makes renames and unlinks in `directory` durable. */
export async function syncDirectory(directory: string): Promise<void> {
  const handle = await open(directory, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}
