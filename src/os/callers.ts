/** Who is at the other end of a local connection: program, pid and parents, as far as the system tells. */
import { lstat, readFile, readlink } from 'node:fs/promises'
import type { Socket } from 'node:net'
import { type Clock, SECOND_MS } from '../std/clock.js'
import { cleanText } from '../std/text.js'
import { findExecutable, runProgram } from './run-program.js'
import { readSocket } from './sockets.js'

/** `curl[4711] < bash[4700] < sshd[812]`, `user 1001`; `undefined` if it cannot be found out. Never rejects. */
export type FindCaller = (socket: Socket) => Promise<string | undefined>

/** Both tables, without a head: what the unit `prefect-authd-callers@.service` prints as well. */
export const SS_ARGS = ['-tnxpeH']
export const SS = ['/usr/bin/ss', '/bin/ss', '/usr/sbin/ss', '/sbin/ss', '/run/current-system/sw/bin/ss']
const LSOF = ['/usr/sbin/lsof', '/usr/bin/lsof']
const MAX_PARENTS = 4

export interface SocketOwner {
  readonly pid?: number
  /** Other processes may have it as well. */
  readonly isShared?: true
  /** Of another user, whose processes the system does not show. */
  readonly uid?: number
}

/**
 * `helper`: the socket on which the service manager sends the table of `ss`, made outside our sandbox, to whoever connects. It
 * must be ours (`uid`); if there is none, `ss` is run here.
 */
export function createFindCaller({
  clock,
  platform,
  helper,
  uid,
}: {
  readonly clock: Clock
  readonly platform: NodeJS.Platform
  readonly helper?: string
  readonly uid?: number | undefined
}): FindCaller {
  const run = async (programs: readonly string[], args: readonly string[]): Promise<string> => {
    const file = await findExecutable(programs)
    if (file === undefined) return ''
    const result = await runProgram({ file, args, env: { LC_ALL: 'C' }, deadlineMs: 2 * SECOND_MS }, clock)
    return result.kind === 'exited' ? result.stdout : ''
  }
  const connections = async (): Promise<string> => {
    const found = helper === undefined ? undefined : await lstat(helper).catch(() => undefined)
    const isOurs = found?.isSocket() === true && found.uid === uid
    const told = helper !== undefined && isOurs ? await readSocket(helper, 3 * SECOND_MS) : undefined
    return told ?? run(SS, SS_ARGS)
  }
  const findPeer = async (socket: Socket): Promise<SocketOwner | undefined> => {
    const { localPort, remotePort } = socket
    const isTcp = localPort !== undefined && remotePort !== undefined
    if (platform === 'linux') {
      if (isTcp) return parseTcpPeer(await connections(), localPort, remotePort)
      const inode = await inodeOf(socket)
      return inode === undefined ? undefined : parseUnixPeer(await connections(), inode)
    }
    // lsof does not say which unix sockets belong together.
    if (!isTcp) return undefined
    return parseLsof(await run(LSOF, ['-nP', `-iTCP:${remotePort}`, '-sTCP:ESTABLISHED', '-Fpn']), remotePort)
  }
  return async (socket) => {
    try {
      const peer = await findPeer(socket)
      if (peer?.pid !== undefined) return await describe(peer.pid, platform, run)
      return peer?.uid === undefined ? undefined : `user ${peer.uid}`
    } catch {
      return undefined
    }
  }
}

/** Node does not say which descriptor a socket has; without it nothing can be found. */
export async function inodeOf(socket: Socket): Promise<string | undefined> {
  const handle: unknown = Reflect.get(socket, '_handle')
  const fd = typeof handle === 'object' && handle !== null && 'fd' in handle ? handle.fd : undefined
  if (typeof fd !== 'number' || fd < 0) return undefined
  const link = await readlink(`/proc/self/fd/${fd}`).catch(() => '')
  return /^socket:\[(\d+)\]$/.exec(link)?.[1]
}

/**
 * `u_str ESTAB 0 0 * INODE * PEER users:(("curl",pid=1,fd=5)) <->`, of `ss -xpeH`. A client's socket has no name, so a name
 * made to look like a row is none; nor is what two rows claim. `boundTo`: the name of a server's socket.
 */
export function parseUnixPeer(table: string, inode: string, boundTo = '*'): SocketOwner | undefined {
  const rows = linesWith(table, ` ${inode}`).flatMap((line) => {
    const [, name, peer, rest = ''] =
      /^u_\w+ +\w+ +\d+ +\d+ +(\S+) +\d+ +\* +(\d+)(?: +(.*))?$/.exec(line) ?? []
    return name === boundTo && peer === inode ? [withPid(rest)] : []
  })
  return rows.length === 1 ? rows[0] : undefined
}

/** `tcp ESTAB 0 0 127.0.0.1:40000 127.0.0.1:4280 users:(("curl",pid=1,fd=5)) uid:1000 ino:…`, of `ss -tnpeH`. */
export function parseTcpPeer(table: string, ourPort: number, theirPort: number): SocketOwner | undefined {
  const rows = linesWith(table, `:${theirPort}`).flatMap((line) => {
    const [, from, to, rest = ''] =
      /^tcp +\w[\w-]* +\d+ +\d+ +\S*:(\d+) +\S*:(\d+)(?: +(.*))?$/.exec(line.trimEnd()) ?? []
    if (from !== String(theirPort) || to !== String(ourPort)) return []
    // Not told: root.
    const uid = [...rest.matchAll(/uid:(\d+)/g)].at(-1)?.[1]
    return [{ uid: Number(uid ?? 0), ...withPid(rest) }]
  })
  return rows.length === 1 ? rows[0] : undefined
}

/** A crowd makes a long table, and everybody waits while we look at it: only a few lines are looked at closely. */
function linesWith(table: string, part: string): readonly string[] {
  const lines: string[] = []
  for (let at = table.indexOf(part); at >= 0; at = table.indexOf(part, at)) {
    const end = table.indexOf('\n', at)
    lines.push(table.slice(table.lastIndexOf('\n', at) + 1, end < 0 ? undefined : end))
    at = end < 0 ? table.length : end
  }
  return lines
}

/** The last one: a program chooses its name, which stands before its pid. */
function withPid(users = ''): SocketOwner {
  const pid = [...users.matchAll(/,pid=(\d+),fd=\d+\)\)/g)].at(-1)?.[1]
  if (pid === undefined) return {}
  const isShared = [...users.matchAll(/,pid=(\d+),/g)].some(([, other]) => other !== pid)
  return { pid: Number(pid), ...(isShared ? { isShared } : {}) }
}

/** Lines of `lsof -Fpn`: `p` and a pid, then `n` and `127.0.0.1:FROM->127.0.0.1:TO` for each of its sockets. */
export function parseLsof(text: string, theirPort: number): SocketOwner | undefined {
  let pid: number | undefined
  for (const line of text.split('\n')) {
    if (line.startsWith('p')) pid = Number(line.slice(1))
    if (line.startsWith('n') && new RegExp(`:${theirPort}->`).test(line) && pid !== undefined) return { pid }
  }
  return undefined
}

async function describe(
  pid: number,
  platform: NodeJS.Platform,
  run: (programs: readonly string[], args: readonly string[]) => Promise<string>,
): Promise<string> {
  const chain: string[] = []
  for (let at = pid; at > 1 && chain.length <= MAX_PARENTS; ) {
    const facts = platform === 'linux' ? await linuxFacts(at) : await psFacts(at, run)
    if (facts === undefined) break
    chain.push(`${cleanText(facts.name, 32)}[${at}]`)
    at = facts.parent
  }
  return chain.length === 0 ? `a program that has ended[${pid}]` : chain.join(' < ')
}

interface ProcessFacts {
  readonly name: string
  readonly parent: number
}

/** "pid (name) state ppid …": the name may hold anything, brackets too. */
async function linuxFacts(pid: number): Promise<ProcessFacts | undefined> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => undefined)
  if (stat === undefined) return undefined
  const end = stat.lastIndexOf(')')
  const [, parent = '0'] = stat.slice(end + 2).split(' ')
  return { name: stat.slice(stat.indexOf('(') + 1, end), parent: Number(parent) }
}

async function psFacts(
  pid: number,
  run: (programs: readonly string[], args: readonly string[]) => Promise<string>,
): Promise<ProcessFacts | undefined> {
  const [, parent, name] =
    /^ *(\d+) +(.*\S)/.exec(await run(['/bin/ps'], ['-o', 'ppid=,comm=', '-p', String(pid)])) ?? []
  return parent === undefined || name === undefined
    ? undefined
    : { name: name.slice(name.lastIndexOf('/') + 1), parent: Number(parent) }
}
