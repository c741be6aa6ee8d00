/** Replaces `profiles.toml` without losing what another program writes into it at the same moment. */
import { randomBytes } from 'node:crypto'
import {
  closeSync,
  constants,
  fstatSync,
  linkSync,
  openSync,
  readSync,
  renameSync,
  statSync,
  unlinkSync,
} from 'node:fs'
import { mkdir, open, readdir, unlink } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { isBrokerError } from '../base/errors.js'
import { syncDirectory } from '../os/atomic-file.js'
import { readPlainFile } from '../os/private-files.js'
import { isMissing, systemCode } from '../os/system-error.js'
import { defined } from '../std/defined.js'
import { sha256Hex } from '../std/secret.js'
import { decode, type FoundFile, readProfilesFile } from './reading.js'
import { changedMeanwhile, isSame, profilesTarget, writeRefused } from './refused-write.js'
import { MAX_PROFILES_BYTES } from './toml.js'
import { writeInPlace } from './write-in-place.js'

/** The file that was replaced: still open, so that what is written into it late is seen, too. */
export interface Replaced {
  /** The text of the replaced file, now. `undefined`: unreadable. */
  text(): string | undefined
  /** Removes its second name; it stays open. */
  unname(): Promise<void>
  /** Forgets it, and removes its second name. */
  close(): Promise<void>
  /** Forgets it, and leaves its second name to the next start. */
  leave(): void
}

export interface ReplaceOptions {
  /** Private directory for the copy that is made before a file is written in place. */
  readonly keepIn?: string
}

/**
 * Replaces the file if it still contains what `expected` says: temporary file, fsync, rename, fsync of the directory. A link
 * stays a link: its target is replaced. A new file is 0600 in a directory of 0700. A file that cannot be replaced but can be
 * written (a mount of its own, a closed directory) is written in place; then there is nothing replaced to return.
 * Rejects with `profiles_file_changed` (another program wrote first) or `disk_failed`.
 */
export async function replaceProfilesFile(
  path: string,
  text: string,
  expected: FoundFile,
  { keepIn }: ReplaceOptions = {},
): Promise<Replaced | undefined> {
  const target = await profilesTarget(path)
  try {
    return await replace({ path, target, text, expected })
  } catch (error) {
    if (isBrokerError(error)) throw error
    if (expected.kind !== 'text' || !isWorthWritingInPlace(systemCode(error))) {
      throw await writeRefused({ path, target, expected, cause: error })
    }
    await writeInPlace({ path, target, text, expected, cause: error, keepIn: keepIn ?? dirname(target) })
    return undefined
  }
}

/** A mount point, a directory that is closed to us, a file system without the call. Not a full disk: half a file is worse. */
function isWorthWritingInPlace(code: string | undefined): boolean {
  return ['EBUSY', 'EXDEV', 'EACCES', 'EPERM', 'EROFS', 'ENOTSUP', 'EOPNOTSUPP', 'EINVAL', 'ENOSYS'].includes(
    code ?? '',
  )
}

interface Replacement {
  readonly path: string
  readonly target: string
  readonly text: string
  readonly expected: FoundFile
}

async function replace({ path, target, text, expected }: Replacement): Promise<Replaced | undefined> {
  await mkdir(dirname(target), { recursive: true, mode: 0o700 })
  if (!isSame(await readProfilesFile(path), expected)) throw changedMeanwhile(path)
  const id = randomBytes(6).toString('hex')
  const temporary = `${target}.${id}.tmp`
  try {
    await fill(temporary, text, expected)
    const replaced =
      expected.kind === 'text'
        ? swap({
            path,
            target,
            temporary,
            second: secondName(target, id, expected.text),
            before: expected.text,
          })
        : create(path, target, temporary)
    // Some file systems refuse it for directories. The new text is in place in any case.
    await syncDirectory(dirname(target)).catch(() => undefined)
    return replaced
  } finally {
    await unlink(temporary).catch(() => undefined)
  }
}

async function fill(temporary: string, text: string, expected: FoundFile): Promise<void> {
  const mode = expected.kind === 'text' ? expected.mode : 0o600
  const file = await open(temporary, 'wx', mode)
  try {
    await file.writeFile(text)
    // The umask may have removed bits. A file system without modes refuses; it never adds any.
    await file.chmod(mode).catch(() => undefined)
    await file.sync().catch(ignoreUnsupported)
  } finally {
    await file.close()
  }
}

function ignoreUnsupported(error: unknown): void {
  if (!['EINVAL', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS'].includes(systemCode(error) ?? '')) throw error
}

/** A rename would replace a file that appeared just now; a link fails. */
function create(path: string, target: string, temporary: string): undefined {
  try {
    linkSync(temporary, target)
  } catch (error) {
    if (systemCode(error) === 'EEXIST') throw changedMeanwhile(path)
    // No hard links here.
    renameSync(temporary, target)
  }
}

/**
 * `rename()` replaces whatever is there. So the old file is kept open (and under a second name, for the case of a crash), and
 * everything from the last look to the rename is synchronous. What is written into the old file in between, or later by a
 * program that had opened it, is seen by `text()`. Not seen: another file that is *renamed* to this name between our last look
 * and our rename, two system calls apart.
 */
function swap({
  path,
  target,
  temporary,
  second,
  before,
}: {
  path: string
  target: string
  temporary: string
  second: string
  before: string
}): Replaced {
  let old: number
  try {
    old = openSync(target, constants.O_RDONLY | constants.O_NONBLOCK)
  } catch (error) {
    throw isMissing(error) ? changedMeanwhile(path) : error
  }
  try {
    const hasSecond = tryLink(target, second)
    const unname = async () => {
      if (hasSecond) await unlink(second).catch(() => undefined)
    }
    const close = async () => {
      closeSync(old)
      await unname()
    }
    try {
      if (readText(old) !== before || !isStillThere(target, old)) throw changedMeanwhile(path)
      renameSync(temporary, target)
    } catch (error) {
      if (hasSecond) unlinkSync(second)
      throw error
    }
    return { text: () => readText(old), unname, close, leave: () => closeSync(old) }
  } catch (error) {
    closeSync(old)
    throw error
  }
}

/** Not every file system has hard links. */
function tryLink(target: string, second: string): boolean {
  try {
    linkSync(target, second)
    return true
  } catch {
    return false
  }
}

function isStillThere(target: string, descriptor: number): boolean {
  try {
    const [now, held] = [statSync(target, { bigint: true }), fstatSync(descriptor, { bigint: true })]
    return now.ino === held.ino && now.dev === held.dev
  } catch {
    return false
  }
}

function readText(descriptor: number): string | undefined {
  try {
    const size = fstatSync(descriptor).size
    if (size > MAX_PROFILES_BYTES) return undefined
    const bytes = Buffer.alloc(size)
    let length = 0
    while (length < size) {
      const read = readSync(descriptor, bytes, length, size - length, length)
      if (read === 0) break
      length += read
    }
    return decode(bytes.subarray(0, length))
  } catch {
    return undefined
  }
}

/** Names the text that it had when we replaced it: after a crash another text in it is another program's. */
function secondName(target: string, id: string, text: string): string {
  return `${target}.${id}-${sha256Hex(text).slice(0, 16)}.old`
}

/**
 * Removes what an interrupted write of ours left beside the file. Returns the texts that another program had written into a
 * file which we then replaced; `done` removes them, once they are kept elsewhere. Never rejects.
 */
export async function sweepLeftovers(
  path: string,
): Promise<readonly { readonly text: string; done(): Promise<void> }[]> {
  const target = await profilesTarget(path)
  const directory = dirname(target)
  const names = await readdir(directory).catch(() => [])
  const found: { readonly text: string; done(): Promise<void> }[] = []
  for (const name of names) {
    if (!name.startsWith(`${basename(target)}.`)) continue
    const rest = name.slice(basename(target).length)
    const remove = () => unlink(join(directory, name)).catch(() => undefined)
    const digest = /^\.[0-9a-f]{12}-([0-9a-f]{16})\.old$/.exec(rest)?.[1]
    if (/^\.[0-9a-f]{12}\.tmp$/.test(rest)) await remove()
    if (digest === undefined) continue
    const text = (await readPlainFile(join(directory, name)).catch(() => undefined))?.toString('utf8')
    const isOurs = text === undefined || text.trim() === '' || sha256Hex(text).startsWith(digest)
    if (isOurs) await remove()
    else found.push({ ...defined({ text }), done: remove })
  }
  return found
}
