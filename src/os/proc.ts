/** Identities: of this host and its boot, of who listens on a loopback port, of processes by pid. */
import { readFileSync } from 'node:fs'
import { readdir, readFile, readlink } from 'node:fs/promises'
import { hostname } from 'node:os'
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

/** `node (pid 4711)`. `undefined` if it cannot be found out: another user's process, or not Linux. Never rejects. */
export async function findPortHolder(port: number): Promise<string | undefined> {
  try {
    const tables = await Promise.all(
      ['/proc/net/tcp', '/proc/net/tcp6'].map((path) => readFile(path, 'utf8').catch(() => '')),
    )
    const inodes = tables.flatMap((table) => listeningInodes(table, port))
    return inodes.length === 0
      ? undefined
      : await findProcess(new Set(inodes.map((inode) => `socket:[${inode}]`)))
  } catch {
    return undefined
  }
}

/** `sl local_address rem_address st … inode`; state 0A is LISTEN (Linux, Documentation/networking/proc_net_tcp.rst). */
function listeningInodes(table: string, port: number): string[] {
  const wanted = port.toString(16).toUpperCase().padStart(4, '0')
  return table
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .filter(([, local, , state]) => state === '0A' && local?.endsWith(`:${wanted}`) === true)
    .flatMap((columns) => columns[9] ?? [])
}

async function findProcess(sockets: ReadonlySet<string>): Promise<string | undefined> {
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
    const descriptors = await readdir(`/proc/${pid}/fd`).catch(() => [])
    for (const descriptor of descriptors) {
      const link = await readlink(`/proc/${pid}/fd/${descriptor}`).catch(() => '')
      if (sockets.has(link)) {
        const name = await readFile(`/proc/${pid}/comm`, 'utf8').catch(() => 'a program')
        return `${name.trim()} (pid ${pid})`
      }
    }
  }
  return undefined
}

/** Maps a pid to a text that identifies the process; `undefined` if it is not running, or cannot be found out. */
export function createProcessIdentifier({
  clock,
  platform,
}: {
  readonly clock: Clock
  readonly platform: string
}): (pid: number) => Promise<string | undefined> {
  return platform === 'linux' ? linuxStart : (pid) => startByPs(pid, clock)
}

/** The boot, and the process's start in clock ticks since then. */
async function linuxStart(pid: number): Promise<string | undefined> {
  try {
    const [stat, boot] = await Promise.all([
      readFile(`/proc/${pid}/stat`, 'utf8'),
      readFile('/proc/sys/kernel/random/boot_id', 'utf8'),
    ])
    // "pid (name) state …": the name may hold anything, brackets too; the start is field 22.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    const [state, start] = [fields[0], fields[19]]
    return start === undefined || state === 'Z' || state === 'X' ? undefined : `${boot.trim()} ${start}`
  } catch {
    return undefined
  }
}

async function startByPs(pid: number, clock: Clock): Promise<string | undefined> {
  const call = { file: '/bin/ps', args: ['-o', 'lstart=', '-p', String(pid)], env: { LC_ALL: 'C' } }
  const result = await runProgram({ ...call, deadlineMs: 2 * SECOND_MS }, clock)
  if (result.kind !== 'exited' || result.code !== 0) return undefined
  return result.stdout.trim() || undefined
}

/** Which machine this is. Two hosts that share a home directory differ in `id`, two kernels in `boot`. */
export interface HostIdentity {
  /** For people. */
  readonly name: string
  readonly id: string
  /** The same in all containers of a machine; another one after each boot. */
  readonly boot: string
}

/** Never rejects. Where the system does not tell the boot, it is that of the host: a refusal by a socket counts. */
export async function identifyHost(clock: Clock, platform: string): Promise<HostIdentity> {
  const name = hostname()
  if (platform === 'linux') {
    // Hosts that boot from one image have one machine id.
    const id = `${readLine('/etc/machine-id')} ${name}`
    return { name, id, boot: readLine('/proc/sys/kernel/random/boot_id') || id }
  }
  const args = ['-n', 'kern.uuid', 'kern.bootsessionuuid']
  const call = { file: '/usr/sbin/sysctl', args, env: { LC_ALL: 'C' }, deadlineMs: 2 * SECOND_MS }
  const result = platform === 'darwin' ? await runProgram(call, clock) : undefined
  // A Mac takes its name from the network: it may have another one after a crash.
  const [id = name, boot = id] = result?.kind === 'exited' ? result.stdout.split('\n').filter(Boolean) : []
  return { name, id, boot }
}

/** Empty if it cannot be read. */
function readLine(path: string): string {
  try {
    return readFileSync(path, 'utf8').trim()
  } catch {
    return ''
  }
}

/** Whether a process of this kernel listens on a unix socket that was bound to a path that ends so. Linux only. */
export async function isBoundInKernel(end: string): Promise<boolean> {
  const table = await readFile('/proc/net/unix', 'utf8').catch(() => '')
  return table.split('\n').some((line) => line.endsWith(end))
}
