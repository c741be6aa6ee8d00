/** Whether a loopback port is held by another user: evidence that somebody may have received what was meant for us. */
import { readFile } from 'node:fs/promises'
import { type Clock, SECOND_MS } from '../std/clock.js'
import { runProgram } from './run-program.js'

/** State 0A is LISTEN; the eighth column is the owner's uid (Linux, Documentation/networking/proc_net_tcp.rst). */
const LISTEN = '0A'

/** False as well if nobody listens there, or if it cannot be found out. Never rejects. */
export async function isHeldByOther(port: number, uid: number, clock: Clock): Promise<boolean> {
  const tables = await Promise.all(
    ['/proc/net/tcp', '/proc/net/tcp6'].map((path) => readFile(path, 'utf8').catch(() => undefined)),
  )
  if (tables.every((table) => table === undefined)) return askLsof(port, clock)
  const owners = tables.flatMap((table) => listeningOwners(table ?? '', port))
  return owners.some((owner) => owner !== uid)
}

/** The users who listen on `port`, at whatever address: a listener on all addresses takes 127.0.0.1 as well. */
export function listeningOwners(table: string, port: number): readonly number[] {
  const wanted = `:${port.toString(16).toUpperCase().padStart(4, '0')}`
  return table
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .filter(([, local, , state]) => state === LISTEN && local?.endsWith(wanted) === true)
    .map((columns) => Number(columns[7]))
}

/** macOS: without root, lsof lists our own processes alone. It found none, though the port is taken: it is another's. */
async function askLsof(port: number, clock: Clock): Promise<boolean> {
  const args = ['-nP', `-iTCP:${port}`, '-sTCP:LISTEN', '-Fp']
  const result = await runProgram({ file: '/usr/sbin/lsof', args, env: {}, deadlineMs: 5 * SECOND_MS }, clock)
  return result.kind === 'exited' && result.stdout.trim() === '' && result.stderr.trim() === ''
}
