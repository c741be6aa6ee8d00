/** A secret in a file that another program reads, at a path of the user's choice: checked whole, and replaced atomically. */
import { constants, type Stats } from 'node:fs'
import { access, lstat, open, readFile, realpath, unlink } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { BrokerError } from '../base/errors.js'
import { quoteWord } from '../std/text.js'
import { syncDirectory, writeFileAtomic } from './atomic-file.js'
import { ownUid } from './private-files.js'
import { diskFailed, ignoreMissing, systemCode } from './system-error.js'

/** More than any file of ours; a larger one is another program's. */
const MAX_BYTES = 1_000_000

/**
 * The path with its directory resolved: links above the file are followed once, now. Rejects with `file_path_unsafe` if the
 * directory is not there, or if another user can put another file in its place.
 */
export async function resolveKeptPath(path: string): Promise<string> {
  const folder = await realpath(dirname(path)).catch((error: unknown) => {
    throw unsafe(
      path,
      `cannot use ${dirname(path)}: ${systemCode(error) ?? 'unknown error'}`,
      `mkdir -p -m 700 ${quoteWord(dirname(path))}`,
    )
  })
  await checkFolders(folder)
  return join(folder, basename(path))
}

/** Every directory on the way down: whoever may write to one can exchange what is below it. */
async function checkFolders(folder: string): Promise<void> {
  const us = ownUid()
  const unknown = await unmappedUid()
  for (let at = folder; ; at = dirname(at)) {
    const facts = await lstat(at)
    if (!facts.isDirectory()) throw unsafe(at, `cannot use ${at}: it is not a directory`)
    // The command line, outside of the sandbox, has seen whose those above really are.
    const isUnknown = facts.uid === unknown && at !== folder
    if (facts.uid !== us && facts.uid !== 0 && !isUnknown) {
      throw unsafe(at, `cannot put a key below ${at}: it belongs to user ${facts.uid}`)
    }
    // The sticky bit of /tmp keeps others from exchanging what is ours below it; in the directory itself they could make the
    // file before us.
    const isSticky = (facts.mode & 0o1000) !== 0 && at !== folder
    if ((facts.mode & 0o002) !== 0 && !isSticky)
      throw unsafe(at, `cannot put a key below ${at}: every user can write there`)
    if (at === dirname(at)) return
  }
}

/** In the user namespace of the service root is not mapped, and shows as this user; `undefined` elsewhere, where that is a real one. */
async function unmappedUid(): Promise<number | undefined> {
  const read = (path: string) => readFile(path, 'utf8').catch(() => undefined)
  const map = await read('/proc/self/uid_map')
  if (map === undefined || map.split('\n').some((line) => /^\s*0\s/.test(line))) return undefined
  return Number((await read('/proc/sys/kernel/overflowuid')) ?? 65_534)
}

/** Why a file must not be kept there, as far as its directories are concerned. Never rejects. */
export async function findPlaceProblem(
  path: string,
): Promise<{ readonly detail: string; readonly hint: string } | undefined> {
  try {
    await resolveKeptPath(path)
    return undefined
  } catch (error) {
    const hint = error instanceof BrokerError ? error.hint : undefined
    return {
      detail: error instanceof Error ? error.message : String(error),
      hint: hint ?? 'choose another directory',
    }
  }
}

/** Whether files below `folder` cannot be changed: a sandbox, or a read-only file system. Never rejects. */
export async function isReadOnly(folder: string): Promise<boolean> {
  return access(folder, constants.W_OK).then(
    () => false,
    (error: unknown) => systemCode(error) === 'EROFS',
  )
}

/**
 * The text of the file; `undefined` if there is none. Rejects with `file_path_unsafe` if it is a link or no plain file, or not
 * ours.
 */
export async function readKeptFile(path: string): Promise<string | undefined> {
  const seen = await lstat(path).catch(ignoreMissing)
  if (seen === undefined) return undefined
  await requireOurs(path, seen)
  const flags = constants.O_RDONLY | (constants.O_NOFOLLOW ?? 0) | (constants.O_NONBLOCK ?? 0)
  const file = await open(path, flags).catch((error: unknown) => {
    throw diskFailed('read', path, error)
  })
  try {
    const facts = await file.stat()
    await requireOurs(path, facts)
    return facts.size > MAX_BYTES ? '' : await file.readFile('utf8')
  } finally {
    await file.close()
  }
}

async function requireOurs(path: string, facts: Stats): Promise<void> {
  if (!facts.isFile()) throw unsafe(path, `cannot use ${path}: it is a link, or no plain file`)
  const us = ownUid()
  if (facts.uid !== us) throw unsafe(path, `cannot use ${path}: it belongs to user ${facts.uid}`)
}

/** Writes it, 0600. `check` runs right before the file is replaced; if it rejects, the old file stays. Rejects with `disk_failed`. */
export async function writeKeptFile(path: string, text: string, check: () => Promise<void>): Promise<void> {
  try {
    await writeFileAtomic(path, text, { mode: 0o600, beforeRename: check })
  } catch (error) {
    if (error instanceof BrokerError) throw error
    throw diskFailed('write', path, error)
  }
}

/** Rejects with `disk_failed`. */
export async function removeKeptFile(path: string): Promise<void> {
  try {
    await unlink(path).catch(ignoreMissing)
    await syncDirectory(dirname(path))
  } catch (error) {
    throw diskFailed('remove', path, error)
  }
}

function unsafe(
  path: string,
  message: string,
  hint = `choose a directory that only you can write to, instead of: ls -ld ${quoteWord(path)}`,
) {
  return new BrokerError('file_path_unsafe', message, { hint })
}
