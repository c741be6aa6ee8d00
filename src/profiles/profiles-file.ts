/** `profiles.toml` on the disk: one careful reading, and one careful replacement. */
import { constants } from 'node:fs'
import { type FileHandle, lstat, mkdir, open, readlink, realpath } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { BrokerError, isBrokerError } from '../base/errors.js'
import { writeFileAtomic } from '../os/atomic-file.js'
import { MAX_PROFILES_BYTES } from './toml.js'

export type FoundFile =
  | { readonly kind: 'text'; readonly text: string; readonly mode: number }
  | { readonly kind: 'missing' }
  /** `problem` ends a sentence that begins with the file's name. */
  | { readonly kind: 'invalid' | 'unreadable'; readonly problem: string }

/** Reads at most 1 MiB; never waits for a pipe; never rejects. */
export async function readProfilesFile(path: string): Promise<FoundFile> {
  let handle: FileHandle | undefined
  try {
    handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK)
    const found = await handle.stat()
    if (!found.isFile()) return { kind: 'unreadable', problem: 'is not a regular file' }
    if (found.size > MAX_PROFILES_BYTES) return { kind: 'invalid', problem: 'is larger than 1 MiB' }
    const text = decode(await handle.readFile())
    if (text === undefined) return { kind: 'invalid', problem: 'is not UTF-8' }
    return { kind: 'text', text, mode: found.mode & 0o777 }
  } catch (error) {
    const code = systemCode(error)
    if (code === 'ENOENT' || code === 'ENOTDIR') return { kind: 'missing' }
    return { kind: 'unreadable', problem: `can't be read (${code})` }
  } finally {
    await handle?.close()
  }
}

/**
 * Replaces the file if it still holds what `expected` says. A link stays a link: the file it names is replaced. A new
 * file is 0600 in a directory of 0700. Rejects with `profiles_file_changed` (someone else was quicker) or `disk_failed`.
 */
export async function replaceProfilesFile(path: string, text: string, expected: FoundFile): Promise<void> {
  const mode = expected.kind === 'text' ? expected.mode : 0o600
  const beforeRename = async () => {
    if (isSame(await readProfilesFile(path), expected)) return
    throw new BrokerError(
      'profiles_file_changed',
      `${path} was changed by another program while we were changing it`,
      {
        hint: 'try again',
      },
    )
  }
  try {
    const target = await targetOf(path)
    await mkdir(dirname(target), { recursive: true, mode: 0o700 })
    await writeFileAtomic(target, text, { mode, beforeRename })
  } catch (error) {
    if (isBrokerError(error)) throw error
    throw new BrokerError('disk_failed', `can't write ${path} (${systemCode(error)}); it is as it was`, {
      cause: error,
      hint: `look at the permissions of ${dirname(path)} and at the free space`,
    })
  }
}

function isSame(now: FoundFile, before: FoundFile): boolean {
  if (now.kind === 'text' && before.kind === 'text') return now.text === before.text
  return now.kind === 'missing' && before.kind === 'missing'
}

/** Where a write must go: through a link, also through one whose target is still to be made. */
async function targetOf(path: string): Promise<string> {
  try {
    return await realpath(path)
  } catch {
    const isLink = await lstat(path).then(
      (found) => found.isSymbolicLink(),
      () => false,
    )
    return isLink ? resolve(dirname(path), await readlink(path)) : path
  }
}

function decode(bytes: Uint8Array): string | undefined {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch {
    return undefined
  }
}

function systemCode(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : 'unknown error'
}
