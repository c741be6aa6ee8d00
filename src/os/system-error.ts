/** Errors of the operating system: their codes, and failures of the disk in words. */

import { accessSync, constants, statfsSync } from 'node:fs'
import { dirname } from 'node:path'
import { BrokerError } from '../base/errors.js'
import { quoteWord } from '../std/text.js'

/** `ENOENT`, … ; `undefined` for an error without a code. */
export function systemCode(error: unknown): string | undefined {
  if (!(error instanceof Error) || !('code' in error)) return undefined
  return typeof error.code === 'string' ? error.code : undefined
}

export function isMissing(error: unknown): boolean {
  return systemCode(error) === 'ENOENT'
}

/** For `catch`: `undefined` if the file is missing. Throws every other error again. */
export function ignoreMissing(error: unknown): undefined {
  if (!isMissing(error)) throw error
}

const REASONS: Readonly<Record<string, string>> = {
  EACCES: 'permission denied',
  EDQUOT: 'disk quota exceeded',
  EEXIST: 'a file of that name exists',
  EIO: 'input/output error',
  EISDIR: 'it is a directory',
  ELOOP: 'it is a symbolic link',
  EMFILE: 'too many open files',
  ENFILE: 'too many open files',
  ENOENT: 'no such file or directory',
  ENOSPC: 'disk full',
  ENOTDIR: 'part of the path is not a directory',
  EPERM: 'operation not permitted',
  EROFS: 'read-only file system',
}

/** `disk_failed`: `cannot write PATH: disk full`, with a command that shows why. `action`: "write". */
export function diskFailed(action: string, path: string, cause: unknown): BrokerError {
  const code = systemCode(cause)
  const reason = code === undefined ? 'unknown error' : (REASONS[code] ?? code)
  const isFull = code === 'ENOSPC' || code === 'EDQUOT'
  const directory = quoteWord(dirname(path))
  const hint = isFull ? `check the disk: df -h ${directory}` : `check owner and mode: ls -la ${directory}`
  return new BrokerError('disk_failed', `cannot ${action} ${path}: ${reason}`, { hint, cause })
}

/** Why `directory` cannot be written: read-only, or full. Undefined says only that nothing is known. Never throws. */
export function findDiskTrouble(directory: string): BrokerError | undefined {
  try {
    accessSync(directory, constants.W_OK)
    const { blocks, bavail, files, ffree } = statfsSync(directory)
    // Some file systems count no blocks or no inodes.
    if ((blocks === 0 || bavail > 0) && (files === 0 || ffree > 0)) return undefined
    throw Object.assign(new Error('no space left'), { code: 'ENOSPC' })
  } catch (error) {
    return diskFailed('write', directory, error)
  }
}
