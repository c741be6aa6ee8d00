/** What doctor finds where clients look for the daemon's socket: none, a dead one, or one that others can reach. */

import type { Stats } from 'node:fs'
import { lstat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { isSocketAlive } from '../os/sockets.js'
import type { Doctor } from '../wire/status.js'
import { shellWord } from './text.js'

type Finding = Omit<Doctor['checks'][number], 'name'>

/** Judges the first of `candidates` that exists, which is the one that clients use. */
export async function checkSocket(candidates: readonly string[], uid: number | undefined): Promise<Finding> {
  for (const path of candidates) {
    const facts = await lstat(path).catch(() => undefined)
    if (facts !== undefined) return judge(path, facts, uid)
  }
  return {
    verdict: 'problem',
    finding: `no socket at ${candidates.join(' or ')}`,
    remedy: 'prefect-auth service install      (or, in the foreground: prefect-authd)',
  }
}

async function judge(path: string, facts: Stats, uid: number | undefined): Promise<Finding> {
  const name = shellWord(path)
  if (!facts.isSocket()) {
    return { verdict: 'problem', finding: `${path} is not a socket`, remedy: `mv ${name} ${name}.old` }
  }
  if (uid !== undefined && facts.uid !== uid) {
    return {
      verdict: 'problem',
      finding: `${path} belongs to user ${facts.uid}, not to you (${uid}), and is not used`,
      remedy: 'set PREFECT_AUTH_SOCKET to your own socket, or run the command as that user',
    }
  }
  const place = dirname(path)
  const directory = await lstat(place).catch(() => undefined)
  if (directory !== undefined && (directory.mode & 0o077) !== 0) {
    const mode = (directory.mode & 0o777).toString(8)
    return {
      verdict: 'problem',
      finding: `${place} has mode ${mode}: other users can connect to the socket`,
      remedy: `chmod 700 ${shellWord(place)}`,
    }
  }
  if (!(await isSocketAlive(path))) {
    return {
      verdict: 'problem',
      finding: `${path} is left over: nothing listens on it`,
      remedy: 'prefect-auth service install      (or, in the foreground: prefect-authd)',
    }
  }
  if ((facts.mode & 0o077) === 0) return { verdict: 'ok', finding: path }
  const mode = (facts.mode & 0o777).toString(8)
  return {
    verdict: 'warning',
    finding: `${path} has mode ${mode}; only its directory keeps other users out`,
    remedy: `chmod 600 ${name}`,
  }
}
