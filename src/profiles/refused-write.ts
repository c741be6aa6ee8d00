/** Why `profiles.toml` cannot be written, in words, with the command that helps; and where a write would go. */
import { lstat, readlink, realpath } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { BrokerError } from '../base/errors.js'
import { diskFailed, systemCode } from '../os/system-error.js'
import { quoteWord } from '../std/text.js'
import { type FoundFile, readProfilesFile } from './reading.js'

const MAX_LINKS = 40

/** Where to write: through links, even if the last target does not exist yet. */
export async function profilesTarget(path: string): Promise<string> {
  let target = path
  for (let links = 0; links < MAX_LINKS; links += 1) {
    try {
      return await realpath(target)
    } catch {
      const isLink = await lstat(target).then(
        (found) => found.isSymbolicLink(),
        () => false,
      )
      if (!isLink) return target
      target = resolve(dirname(target), await readlink(target))
    }
  }
  return path
}

/**
 * `disk_failed` with the reason and a remedy. The file is said to be unchanged only after a look at it. `cause`: of the last
 * attempt; `copy`: where the old text is, if it may be damaged.
 */
export async function writeRefused({
  path,
  target,
  expected,
  cause,
  copy,
}: {
  readonly path: string
  readonly target: string
  readonly expected: FoundFile
  readonly cause: unknown
  readonly copy?: string
}): Promise<BrokerError> {
  const { message, hint } = diskFailed('write', path, cause)
  const now = await readProfilesFile(path)
  const state = isSame(now, expected) ? 'it is unchanged' : damage(copy)
  return new BrokerError('disk_failed', `${message}${where(path, target, cause)}; ${state}`, {
    hint: remedy(path, target, cause) ?? hint ?? 'prefect-auth doctor',
    cause,
  })
}

function damage(copy: string | undefined): string {
  return copy === undefined
    ? 'its content has changed meanwhile'
    : `it may be damaged, and its text from before is in ${copy}`
}

function where(path: string, target: string, cause: unknown): string {
  if (target !== path) return ` (it is a link to ${target})`
  return systemCode(cause) === 'EBUSY' ? ' (it is a mount of its own)' : ''
}

function remedy(path: string, target: string, cause: unknown): string | undefined {
  const code = systemCode(cause)
  if (code !== 'EROFS' && code !== 'EACCES' && code !== 'EPERM') return undefined
  if (target.startsWith('/nix/store/')) {
    return `make the change in your home-manager configuration, or give Prefect a file of its own: ${ownFile(path)}`
  }
  if (target !== path) return `make the link's target writable, or use a file of its own: ${ownFile(path)}`
  if (code === 'EROFS') return `mount it writable: findmnt -T ${quoteWord(path)}`
  return `check owner and mode: ls -la ${quoteWord(dirname(path))}; lsattr ${quoteWord(path)}`
}

function ownFile(path: string): string {
  const file = quoteWord(path)
  return `cp --remove-destination "$(readlink -f ${file})" ${file} && chmod 600 ${file}`
}

/** Whether the file still has the text that an edit started from. */
export function isSame(now: FoundFile, before: FoundFile): boolean {
  if (now.kind === 'text' && before.kind === 'text') return now.text === before.text
  return now.kind === 'missing' && before.kind === 'missing'
}

export function changedMeanwhile(path: string): BrokerError {
  return new BrokerError('profiles_file_changed', `cannot change ${path}: another program has changed it`, {
    hint: 'try again',
  })
}
