/** Writes `profiles.toml` in place if it cannot be replaced: after its old text is safe in a file of ours. */
import { constants, fstatSync, fsyncSync, ftruncateSync, writeSync } from 'node:fs'
import { type FileHandle, open, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { writeFileAtomic } from '../os/atomic-file.js'
import { readPrivateFile } from '../os/private-files.js'
import { systemCode } from '../os/system-error.js'
import { type FoundFile, readProfilesFile } from './reading.js'
import { changedMeanwhile, profilesTarget, writeRefused } from './refused-write.js'

interface InPlaceWrite {
  readonly path: string
  readonly target: string
  readonly text: string
  readonly expected: Extract<FoundFile, { kind: 'text' }>
  /** Why it could not be replaced. */
  readonly cause: unknown
  /** Private directory for the copy of the old text. */
  readonly keepIn: string
}

const copySchema = z.strictObject({
  version: z.literal(1),
  path: z.string(),
  before: z.string(),
  after: z.string(),
})

function copyPath(keepIn: string): string {
  return join(keepIn, 'profiles.toml.in-place')
}

/** Rejects with `profiles_file_changed` or `disk_failed`. */
export async function writeInPlace(write: InPlaceWrite): Promise<void> {
  const { path, target, text, expected, cause, keepIn } = write
  const file = await open(target, constants.O_RDWR | constants.O_NONBLOCK).catch(async (error: unknown) => {
    // A file on a read-only disk says so only now; else the first failure is the reason.
    const reason = systemCode(error) === 'EROFS' ? error : cause
    throw await writeRefused({ path, target, expected, cause: reason })
  })
  const copy = copyPath(keepIn)
  try {
    const content = { version: 1, path: target, before: expected.text, after: text }
    await writeFileAtomic(copy, `${JSON.stringify(content)}\n`).catch(async (error: unknown) => {
      throw await writeRefused({ path, target, expected, cause: error })
    })
    if ((await readAll(file)) !== expected.text) throw changedMeanwhile(path)
    try {
      overwrite(file.fd, text)
    } catch (error) {
      const isRestored = restore(file.fd, expected.text)
      if (isRestored) await unlink(copy).catch(() => undefined)
      throw await writeRefused({ path, target, expected, cause: error, ...(isRestored ? {} : { copy }) })
    }
    await unlink(copy).catch(() => undefined)
  } finally {
    await file.close()
  }
}

/** In one write, padded with empty lines to the old length: who reads at this moment never sees the end of the old text. */
function overwrite(descriptor: number, text: string): void {
  const bytes = Buffer.from(text)
  const padding = Math.max(0, fstatSync(descriptor).size - bytes.length)
  const all = Buffer.concat([bytes, Buffer.alloc(padding, '\n')])
  for (let done = 0; done < all.length; ) done += writeSync(descriptor, all, done, all.length - done, done)
  ftruncateSync(descriptor, bytes.length)
  try {
    fsyncSync(descriptor)
  } catch (error) {
    if (systemCode(error) !== 'EINVAL' && systemCode(error) !== 'ENOTSUP') throw error
  }
}

function restore(descriptor: number, text: string): boolean {
  try {
    overwrite(descriptor, text)
    return true
  } catch {
    return false
  }
}

async function readAll(file: FileHandle): Promise<string> {
  const { size } = await file.stat()
  const { buffer, bytesRead } = await file.read(Buffer.alloc(size), 0, size, 0)
  return buffer.toString('utf8', 0, bytesRead)
}

/**
 * After a crash in the middle of a write in place: puts the old text back if the file holds a part of the new one. Returns
 * the copy's old text if neither is there any more (another program has written since). Never rejects.
 */
export async function recoverInPlace(path: string, keepIn: string): Promise<string | undefined> {
  const copy = copyPath(keepIn)
  const parsed = copySchema.safeParse(await readCopy(copy))
  if (!parsed.success) return undefined
  const { path: target, before, after } = parsed.data
  if (target !== (await profilesTarget(path))) return undefined
  const now = await readProfilesFile(target)
  const text = now.kind === 'text' ? now.text : ''
  let lost: string | undefined
  if (text !== before && text !== after) {
    if (isHalf(text, before, after)) {
      const file = await open(target, constants.O_RDWR | constants.O_NONBLOCK).catch(() => undefined)
      const isRestored = file !== undefined && restore(file.fd, before)
      await file?.close()
      // Tried again at the next start.
      if (!isRestored) return undefined
    } else lost = before
  }
  await unlink(copy).catch(() => undefined)
  return lost
}

/** The beginning of the new text over the old one, or cut off there. */
function isHalf(text: string, before: string, after: string): boolean {
  if (text.trim() === '') return true
  let same = 0
  while (same < text.length && text[same] === after[same]) same += 1
  const rest = text.slice(same)
  return rest === '' || rest === before.slice(same) || rest.trim() === ''
}

async function readCopy(path: string): Promise<unknown> {
  try {
    const content = await readPrivateFile(path)
    return content === undefined ? undefined : JSON.parse(content.toString('utf8'))
  } catch {
    return undefined
  }
}
