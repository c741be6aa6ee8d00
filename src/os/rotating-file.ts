/** Append-only files that are rotated by size: `file`, `file.1` (newer) … `file.N` (oldest). */
import { closeSync, constants, fchmodSync, fstatSync, openSync, readSync, writeSync } from 'node:fs'
import { type FileHandle, open, rename, stat } from 'node:fs/promises'
import { readLinesBackwards } from './lines.js'
import { ignoreMissing } from './system-error.js'

/** A pipe or device in the file's place must not make the writer wait. */
const FLAGS =
  constants.O_RDWR |
  constants.O_APPEND |
  constants.O_CREAT |
  (constants.O_NOFOLLOW ?? 0) |
  (constants.O_NONBLOCK ?? 0)

/** Appends `text` whole or not at all, as far as the disk allows. Creates the file, and keeps it, 0600. */
export async function appendToFile(path: string, text: string): Promise<void> {
  // Opened each time (a few times a second at most), so that a file may be moved or removed at any moment.
  const file = await open(path, FLAGS, 0o600)
  try {
    const facts = await file.stat()
    if (!facts.isFile()) throw new Error(`${path} is not a plain file`)
    const { size, mode } = facts
    if ((mode & 0o177) !== 0) await file.chmod(0o600).catch(() => undefined)
    // After a crash in the middle of a line, the next line must not continue it.
    const separator = (await endsWithNewline(file, size)) ? '' : '\n'
    try {
      await file.appendFile(separator + text)
    } catch (error) {
      await file.truncate(size).catch(() => undefined)
      throw error
    }
  } finally {
    await file.close()
  }
}

/** As `appendToFile`, before it returns. For a line that must be there before an answer is. Throws what the system says. */
export function appendNow(path: string, text: string): void {
  const file = openSync(path, FLAGS, 0o600)
  try {
    const { mode, size } = fstatSync(file)
    if ((mode & 0o177) !== 0) fchmodSync(file, 0o600)
    const last = Buffer.alloc(1)
    const isWhole = size === 0 || (readSync(file, last, 0, 1, size - 1) === 1 && last[0] === 0x0a)
    writeSync(file, isWhole ? text : `\n${text}`)
  } finally {
    closeSync(file)
  }
}

async function endsWithNewline(file: FileHandle, size: number): Promise<boolean> {
  if (size === 0) return true
  const { buffer } = await file.read(Buffer.alloc(1), 0, 1, size - 1)
  return buffer[0] === 0x0a
}

/** If `path` has `maxBytes` or more: renames every file to the next number; the oldest is dropped. */
export async function rotateFile(path: string, maxBytes: number, keep: number): Promise<void> {
  const size = await sizeOf(path)
  if (size < maxBytes) return
  for (let number = keep; number >= 1; number -= 1) {
    await rename(number === 1 ? path : `${path}.${number - 1}`, `${path}.${number}`).catch(ignoreMissing)
  }
}

/** Passes the lines of all these files to `take`, newest first, until it returns false; see `readLinesBackwards`. */
export async function readBackwards(
  path: string,
  keep: number,
  take: (line: Buffer) => boolean,
): Promise<boolean> {
  for (let number = 0; number <= keep; number += 1) {
    if (!(await readLinesBackwards(number === 0 ? path : `${path}.${number}`, take))) return false
  }
  return true
}

export async function sizeOf(path: string): Promise<number> {
  const found = await stat(path).catch(ignoreMissing)
  return found?.size ?? 0
}
