/** Sockets that systemd opened and passes on: read from LISTEN_*, checked for what they claim to be, and served. */
import { fstatSync } from 'node:fs'
import { lstat, readFile } from 'node:fs/promises'
import type { AddressInfo, Server } from 'node:net'
import { dirname } from 'node:path'
import { BrokerError } from '../base/errors.js'
import { ensurePrivateDirectory } from '../os/private-files.js'
import { quoteWord } from '../std/text.js'
import type { ListenerFacts } from '../tokens/access.js'

/** File descriptors by what the socket units call them. Empty without socket activation. */
export interface InheritedSockets {
  readonly unix?: number
  readonly tcp?: number
}

/** Meant for one process: whoever read them takes them out of its environment. */
export const LISTEN_VARIABLES = ['LISTEN_FDS', 'LISTEN_PID', 'LISTEN_FDNAMES', 'LISTEN_PIDFDID'] as const

const FIRST_FD = 3
/** A burst that arrives while we restart waits in the kernel. */
const BACKLOG = 4096

/** Pure. What is meant for another process is not ours. Throws `setting_invalid` for sockets that we have no use for. */
export function parseInheritedSockets(
  env: Readonly<Record<string, string | undefined>>,
  pid: number,
): InheritedSockets {
  const count = Number(env.LISTEN_FDS ?? 0)
  if (env.LISTEN_PID !== String(pid) || !Number.isInteger(count) || count <= 0) return {}
  const names = (env.LISTEN_FDNAMES ?? '').split(':')
  const found: { unix?: number; tcp?: number } = {}
  for (let at = 0; at < count; at += 1) {
    const name = names[at] ?? ''
    if ((name !== 'unix' && name !== 'tcp') || found[name] !== undefined) throw unknownSocket(name)
    found[name] = FIRST_FD + at
  }
  return found
}

function unknownSocket(name: string): BrokerError {
  const what = name === '' ? 'without a name' : `called '${name}'`
  return new BrokerError(
    'setting_invalid',
    `systemd passes a socket ${what}; there may be one called unix and one called tcp (FileDescriptorName=)`,
    { hint: 'prefect-auth service install' },
  )
}

/**
 * Serves the owner's socket from `fd`. `expected`: where it should be, for systems that do not tell. Rejects with
 * `setting_invalid` for what is no unix socket, `state_dir_unsafe` for one that others could reach.
 */
export async function openInheritedUnix(
  server: Server,
  fd: number,
  expected: string,
): Promise<ListenerFacts> {
  const path = (await pathOf(fd)) ?? expected
  // The main door asks for no token: it must never be a port, nor a name that has no permissions.
  await listenOn(server, fd)
  if (isPort(server.address()) || path.startsWith('@')) throw wrongKind('unix', 'a unix socket with a path')
  await requirePrivateSocket(path)
  return { door: 'socket', address: path, state: 'listening', inherited: true }
}

/** Serves loopback TCP from `fd`; the port is what systemd chose. A socket that the network reaches is not served. */
export async function openInheritedTcp(server: Server, fd: number): Promise<ListenerFacts> {
  await listenOn(server, fd)
  const address = server.address()
  if (!isPort(address)) throw wrongKind('tcp', 'a TCP socket')
  if (address.address === '127.0.0.1') {
    return {
      door: 'tcp',
      address: `http://127.0.0.1:${address.port}`,
      state: 'listening',
      inherited: true,
    }
  }
  await new Promise((resolve) => server.close(resolve))
  const problem = `prefect-authd-tcp.socket listens on ${address.address}, not on 127.0.0.1, and is not served: prefect-auth service install`
  return { door: 'tcp', address: `http://${address.address}:${address.port}`, state: 'failed', problem }
}

async function listenOn(server: Server, fd: number): Promise<void> {
  try {
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen({ fd, backlog: BACKLOG }, () => {
        server.off('error', reject)
        resolve()
      })
    })
  } catch (error) {
    throw new BrokerError('setting_invalid', `descriptor ${fd}, which systemd passed on, can't be served`, {
      hint: 'systemctl --user status prefect-authd.socket',
      cause: error,
    })
  }
}

function isPort(address: string | AddressInfo | null): address is AddressInfo {
  return typeof address === 'object' && address !== null
}

function wrongKind(name: string, what: string): BrokerError {
  return new BrokerError('setting_invalid', `the socket that systemd calls '${name}' is not ${what}`, {
    hint: 'prefect-auth service install',
  })
}

/** The kernel's own word for where a unix socket stands; `@…` is an abstract name. */
async function pathOf(fd: number): Promise<string | undefined> {
  try {
    const inode = String(fstatSync(fd).ino)
    const table = await readFile('/proc/net/unix', 'utf8')
    // "Num RefCount Protocol Flags Type St Inode Path"; the path may hold blanks.
    const row = table.split('\n').find((line) => line.trim().split(/\s+/)[6] === inode)
    return row === undefined ? undefined : /^(?:\S+\s+){7}(.+)$/.exec(row)?.[1]
  } catch {
    return undefined
  }
}

async function requirePrivateSocket(path: string): Promise<void> {
  const restart = 'systemctl --user restart prefect-authd.socket'
  const facts = await lstat(path).catch(() => undefined)
  if (facts === undefined) {
    throw new BrokerError('state_dir_unsafe', `the socket ${path} is gone, and nobody can reach it`, {
      hint: restart,
    })
  }
  await ensurePrivateDirectory(dirname(path))
  if ((facts.mode & 0o077) === 0) return
  const mode = (facts.mode & 0o777).toString(8)
  throw new BrokerError('state_dir_unsafe', `the socket ${path} has mode ${mode}, others can reach it`, {
    hint: `chmod 600 ${quoteWord(path)}      (and SocketMode=0600 in prefect-authd.socket)`,
  })
}
