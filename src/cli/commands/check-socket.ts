/** Looks at the places where the daemon's socket may stand: is it there, is it ours alone, does anybody answer. */
import type { Stats } from 'node:fs'
import { lstat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { isSocketAlive } from '../../os/sockets.js'
import { shellWord } from '../shell-word.js'
import type { Finding } from './finding.js'

/** The first of `candidates` that is there decides, as it does for every client. */
export async function checkSocket(candidates: readonly string[], uid: number | undefined): Promise<Finding> {
  for (const path of candidates) {
    const facts = await lstat(path).catch(() => undefined)
    if (facts !== undefined) return judge(path, facts, uid)
  }
  return {
    verdict: 'problem',
    finding: `no socket at ${candidates.join(', nor at ')}`,
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
      finding: `${path} belongs to user ${facts.uid}, we are user ${uid}: it is not used`,
      remedy: 'point PREFECT_AUTH_SOCKET at your own, or run the command as that user',
    }
  }
  const place = dirname(path)
  const directory = await lstat(place).catch(() => undefined)
  if (directory !== undefined && (directory.mode & 0o077) !== 0) {
    const mode = (directory.mode & 0o777).toString(8)
    return {
      verdict: 'problem',
      finding: `${place} has mode ${mode}, others can reach the socket`,
      remedy: `chmod 700 ${shellWord(place)}`,
    }
  }
  if (!(await isSocketAlive(path))) {
    return {
      verdict: 'problem',
      finding: `nobody listens on ${path} (left over)`,
      remedy: 'prefect-auth service install      (or, in the foreground: prefect-authd)',
    }
  }
  if ((facts.mode & 0o077) === 0) return { verdict: 'ok', finding: path }
  const mode = (facts.mode & 0o777).toString(8)
  return {
    verdict: 'warning',
    finding: `${path} has mode ${mode}; only its directory keeps others out`,
    remedy: `chmod 600 ${name}`,
  }
}
