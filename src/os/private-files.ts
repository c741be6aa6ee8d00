/**
 * Directories and files that hold secrets: ours alone, or rejected with the command that repairs them.
 *
 * They are small and on a disk that the audit log is written to before every answer: the calls do not go through Node's
 * threads, which would be a tenth of a start.
 */
import {
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  type Stats,
  statSync,
} from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { platform, userInfo } from 'node:os'
import { dirname } from 'node:path'
import { BrokerError } from '../base/errors.js'
import { lazy } from '../std/lazy.js'
import { quoteWord } from '../std/text.js'
import { diskFailed, ignoreMissing, isMissing, systemCode } from './system-error.js'

/**
 * Creates `path`, and what is missing above it, with mode 0700, and checks that it is a real directory, ours, and closed
 * to everybody else. Rejects with `state_dir_unsafe`, or with `disk_failed` if the system refuses.
 */
export async function ensurePrivateDirectory(path: string): Promise<void> {
  const facts = orDiskFailed('create', path, () => {
    makeDirectory(path)
    return lstatSync(path)
  })
  requireOwner(path, facts)
  if (!facts.isDirectory()) {
    throw unsafe(
      `cannot use ${path}: it is ${nameOf(facts)}, not a directory`,
      `mv ${quoteWord(path)} ${quoteWord(`${path}.old`)}`,
    )
  }
  requireClosed(path, facts, '700')
}

/**
 * Whether `path` exists. Rejects with `state_dir_unsafe` if it is not a plain file, not ours, or open to others, and with
 * `disk_failed`.
 */
export async function checkPrivateFile(path: string): Promise<boolean> {
  return isPrivateFile(path)
}

/**
 * The content of a private file, `undefined` if there is none. Rejects as {@link checkPrivateFile} does, whose checks are
 * made on the opened file: nobody can exchange it between check and read.
 */
export async function readPrivateFile(path: string): Promise<Buffer | undefined> {
  // A link would make open fail with ELOOP: it is rejected by name first.
  if (!isPrivateFile(path)) return undefined
  return orDiskFailed('read', path, () => {
    const file = openFollowingNothing(path)
    if (file === undefined) return undefined
    try {
      requirePrivateFile(path, fstatSync(file))
      return readFileSync(file)
    } finally {
      closeSync(file)
    }
  })
}

function openFollowingNothing(path: string): number | undefined {
  try {
    return openSync(path, NON_BLOCKING | (constants.O_NOFOLLOW ?? 0))
  } catch (error) {
    return notOpened(path, error)
  }
}

function isPrivateFile(path: string): boolean {
  const facts = orDiskFailed('check', path, () => lookAt(path))
  if (facts === undefined) return false
  requirePrivateFile(path, facts)
  return true
}

function lookAt(path: string): Stats | undefined {
  try {
    return lstatSync(path)
  } catch (error) {
    return ignoreMissing(error)
  }
}

/**
 * The content of a file that anybody may write, a link's target too; `undefined` if there is none. Rejects with the system's
 * error, and with `state_dir_unsafe` if it is a pipe, a device, a socket or a directory: reading one may never end.
 */
export async function readPlainFile(path: string): Promise<Buffer | undefined> {
  return usePlainFile(path, (file) => file.readFile())
}

/**
 * Works on such a file, which is opened without waiting for a pipe's other end. Rejects as `readPlainFile` does, or with what
 * `work` rejects with.
 */
export async function usePlainFile<T>(
  path: string,
  work: (file: FileHandle, facts: Stats) => Promise<T>,
): Promise<T | undefined> {
  const file = await open(path, NON_BLOCKING).catch((error: unknown) => notOpened(path, error))
  if (file === undefined) return undefined
  try {
    const facts = await file.stat()
    if (!facts.isFile()) throw notPlain(path, nameOf(facts))
    return await work(file, facts)
  } finally {
    await file.close()
  }
}

const NON_BLOCKING = constants.O_RDONLY | (constants.O_NONBLOCK ?? 0)

/** `undefined` if the file is missing. */
function notOpened(path: string, error: unknown): undefined {
  // A socket cannot be opened at all.
  if (systemCode(error) === 'ENXIO') throw notPlain(path, 'a device, pipe or socket')
  return ignoreMissing(error)
}

/** Not Node's recursive mkdir, which never ends if the system refuses with ENOENT, as in /proc. */
function makeDirectory(path: string): void {
  try {
    mkdirSync(path, { mode: 0o700 })
  } catch (error) {
    // Something exists; the caller checks what.
    if (systemCode(error) === 'EEXIST') return
    if (!isMissing(error) || dirname(path) === path) throw error
    makeDirectory(dirname(path))
    mkdirSync(path, { mode: 0o700 })
  }
}

function requirePrivateFile(path: string, facts: Stats): void {
  requireOwner(path, facts)
  if (!facts.isFile()) throw notPlain(path, nameOf(facts))
  requireClosed(path, facts, '600')
}

/** Before anything else is said about it: what belongs to others is neither moved nor changed by a hint of ours. */
function requireOwner(path: string, facts: Stats): void {
  // Node reads neither owners nor modes on Windows.
  if (platform() === 'win32') return
  const us = ownUid()
  if (facts.uid !== us) {
    throw unsafe(
      `cannot use ${path}: it belongs to user ${facts.uid}, not to user ${us}`,
      // Never advice to take it from its owner: under sudo that would give the user's own state to root.
      `ls -ld ${quoteWord(path)}      (run prefect-authd as user ${facts.uid}, or choose another place)`,
    )
  }
}

function requireClosed(path: string, facts: Stats, mode: '600' | '700'): void {
  if (platform() === 'win32' || (facts.mode & 0o077) === 0) return
  const found = (facts.mode & 0o777).toString(8)
  throw unsafe(
    `cannot use ${path}: mode ${found} lets other users reach it`,
    `chmod ${mode} ${quoteWord(path)}`,
  )
}

/** Containers run as users that are in no list; the kernel knows them. */
export const ownUid = lazy((): number => {
  try {
    return userInfo().uid
  } catch {
    return statSync('/proc/self').uid
  }
})

function notPlain(path: string, what: string): BrokerError {
  return unsafe(
    `cannot use ${path}: it is ${what}, not a plain file`,
    `mv ${quoteWord(path)} ${quoteWord(`${path}.old`)}`,
  )
}

function unsafe(message: string, hint: string): BrokerError {
  return new BrokerError('state_dir_unsafe', message, { hint })
}

function nameOf(facts: Stats): string {
  if (facts.isSymbolicLink()) return 'a symbolic link'
  if (facts.isDirectory()) return 'a directory'
  return facts.isFile() ? 'a file' : 'a device, pipe or socket'
}

function orDiskFailed<T>(action: string, path: string, work: () => T): T {
  try {
    return work()
  } catch (error) {
    if (error instanceof BrokerError) throw error
    throw diskFailed(action, path, error)
  }
}
