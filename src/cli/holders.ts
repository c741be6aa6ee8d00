/** Which running processes of this user have a key in their environment, by its fingerprint. */
import { readdirSync, readFileSync } from 'node:fs'
import { Secret } from '../std/secret.js'

export interface Holder {
  readonly pid: number
  /** The program's name. */
  readonly name: string
}

/**
 * By fingerprint. `undefined` where the system does not show environments (no /proc). Processes of other users, in other containers
 * and on other machines are not seen, nor what a program read from a file.
 */
export function findHolders(): ReadonlyMap<string, readonly Holder[]> | undefined {
  const pids = namesIn('/proc').filter((name) => /^\d+$/.test(name))
  if (pids.length === 0) return undefined
  const holders = new Map<string, Holder[]>()
  for (const pid of pids) {
    for (const fingerprint of keysOf(pid)) {
      const name = read(pid, 'comm')?.trim() ?? ''
      holders.set(fingerprint, [...(holders.get(fingerprint) ?? []), { pid: Number(pid), name }])
    }
  }
  return holders
}

function keysOf(pid: string): ReadonlySet<string> {
  const values = (read(pid, 'environ') ?? '').split('\0').map((entry) => entry.replace(/^[^=]*=/, ''))
  // Whole values, because the form of a key is Prefect's to choose: one that is overlooked is ended under a running job.
  const found = [...values, ...values.flatMap((value) => value.match(/pn[ub]_[\w-]+/g) ?? [])]
  return new Set(found.map((key) => new Secret(key).fingerprint()))
}

/** Undefined if it is another user's, or gone. */
function read(pid: string, file: string): string | undefined {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'latin1')
  } catch {
    return undefined
  }
}

function namesIn(folder: string): readonly string[] {
  try {
    return readdirSync(folder)
  } catch {
    return []
  }
}
