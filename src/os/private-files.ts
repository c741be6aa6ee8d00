/** Directories and files that hold secrets: ours alone, or refused with the command that repairs them. */
import { constants, type Stats } from 'node:fs'
import { lstat, mkdir, open, stat } from 'node:fs/promises'
import { platform, userInfo } from 'node:os'
import { dirname } from 'node:path'
import { BrokerError } from '../base/errors.js'
import { quoteWord } from '../std/text.js'

/**
 * Makes `path`, and what is missing above it, with mode 0700, and checks what is there: a real directory, owned by us,
 * closed to everybody else. Rejects with `state_dir_unsafe`, or `disk_failed` where the system refuses.
 */
export async function ensurePrivateDirectory(path: string): Promise<void> {
  const facts = await orDiskFailed(`making the directory ${path}`, async () => {
    await makeDirectory(path)
    return lstat(path)
  })
  if (!facts.isDirectory()) {
    throw unsafe(
      `${path} is ${nameOf(facts)}, not a directory of our own`,
      `mv ${quoteWord(path)} ${quoteWord(`${path}.old`)}`,
    )
  }
  await requireOurs(path, facts, '700')
}

/**
 * Whether a file stands at `path`. Rejects with `state_dir_unsafe` where it is not a plain file, not ours, or open to
 * others.
 */
export async function checkPrivateFile(path: string): Promise<boolean> {
  const facts = await orDiskFailed(`looking at ${path}`, () => orMissing(() => lstat(path)))
  if (facts === undefined) return false
  await requirePrivateFile(path, facts)
  return true
}

/**
 * The content of a private file, `undefined` where there is none. The checks of {@link checkPrivateFile} are made on
 * the file that was opened, so that nobody can change it between look and read.
 */
export async function readPrivateFile(path: string): Promise<Buffer | undefined> {
  // A link would make open fail with ELOOP, and a pipe would hold us for ever: both are named before and refused.
  if (!(await checkPrivateFile(path))) return undefined
  return orDiskFailed(`reading ${path}`, () =>
    orMissing(async () => {
      const file = await open(
        path,
        constants.O_RDONLY | (constants.O_NOFOLLOW ?? 0) | (constants.O_NONBLOCK ?? 0),
      )
      try {
        await requirePrivateFile(path, await file.stat())
        return await file.readFile()
      } finally {
        await file.close()
      }
    }),
  )
}

/** Not Node's recursive mkdir: where the system refuses with ENOENT, as in /proc, that one tries again for ever. */
async function makeDirectory(path: string): Promise<void> {
  try {
    await mkdir(path, { mode: 0o700 })
  } catch (error) {
    // Something stands there: what it is, is looked at by the caller.
    if (codeOf(error) === 'EEXIST') return
    if (codeOf(error) !== 'ENOENT' || dirname(path) === path) throw error
    await makeDirectory(dirname(path))
    await mkdir(path, { mode: 0o700 })
  }
}

async function requirePrivateFile(path: string, facts: Stats): Promise<void> {
  if (!facts.isFile()) {
    throw unsafe(
      `${path} is ${nameOf(facts)}, not a plain file`,
      `mv ${quoteWord(path)} ${quoteWord(`${path}.old`)}`,
    )
  }
  await requireOurs(path, facts, '600')
}

async function requireOurs(path: string, facts: Stats, mode: '600' | '700'): Promise<void> {
  // Windows has neither owners nor modes that Node could read.
  if (platform() === 'win32') return
  const us = await ownUid()
  if (facts.uid !== us) {
    throw unsafe(
      `${path} belongs to user ${facts.uid}, we are user ${us}`,
      `sudo chown ${us} ${quoteWord(path)}`,
    )
  }
  if ((facts.mode & 0o077) === 0) return
  const found = (facts.mode & 0o777).toString(8)
  throw unsafe(`${path} has mode ${found}, others can reach it`, `chmod ${mode} ${quoteWord(path)}`)
}

/** Containers run as users that stand in no list; there the kernel knows. */
async function ownUid(): Promise<number> {
  try {
    return userInfo().uid
  } catch {
    return (await stat('/proc/self')).uid
  }
}

function unsafe(message: string, hint: string): BrokerError {
  return new BrokerError('state_dir_unsafe', message, { hint })
}

function nameOf(facts: Stats): string {
  if (facts.isSymbolicLink()) return 'a symbolic link'
  if (facts.isDirectory()) return 'a directory'
  return facts.isFile() ? 'a file' : 'a device, pipe or socket'
}

async function orMissing<T>(look: () => Promise<T>): Promise<T | undefined> {
  try {
    return await look()
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined
    throw error
  }
}

async function orDiskFailed<T>(doing: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (error instanceof BrokerError) throw error
    throw new BrokerError('disk_failed', `${doing}: ${codeOf(error) ?? 'it failed'}`, { cause: error })
  }
}

function codeOf(error: unknown): string | undefined {
  if (!(error instanceof Error) || !('code' in error)) return undefined
  return typeof error.code === 'string' ? error.code : undefined
}
