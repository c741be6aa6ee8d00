/** Sockets that systemd opened and passed on: read from LISTEN_*, checked, and served. */
import { fstatSync, lstatSync, readFileSync, type Stats } from 'node:fs'
import type { AddressInfo, Server } from 'node:net'
import { dirname } from 'node:path'
import { BrokerError } from '../base/errors.js'
import { ensurePrivateDirectory } from '../os/private-files.js'
import { BACKLOG } from '../os/sockets.js'
import { quoteWord } from '../std/text.js'
import type { ListenerFacts } from '../tokens/access.js'

/** File descriptors by the names in the socket units. Empty without socket activation. */
export interface InheritedSockets {
  readonly unix?: number
  readonly tcp?: number
}

/** Meant for one process: whoever has read them removes them from its environment. */
export const LISTEN_VARIABLES = ['LISTEN_FDS', 'LISTEN_PID', 'LISTEN_FDNAMES', 'LISTEN_PIDFDID'] as const

const FIRST_FD = 3

/** Pure. Ignores what is meant for another process. Throws `setting_invalid` for a socket that is not ours. */
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
  const what = name === '' ? 'without a name' : `named '${name}'`
  return new BrokerError(
    'setting_invalid',
    `cannot use the socket ${what} from systemd: only unix and tcp are known (FileDescriptorName=)`,
    { hint: 'prefect-auth service install' },
  )
}

/**
 * Serves the owner's socket from `fd`. `expected`: its path on systems that do not tell. Rejects with `setting_invalid` if it
 * is no unix socket with a path, `state_dir_unsafe` if other users can reach it.
 */
export async function openInheritedUnix(
  server: Server,
  fd: number,
  expected: string,
): Promise<ListenerFacts> {
  const path = pathOf(fd) ?? expected
  // The owner's socket asks for no token: it must never be a port, nor a name without permissions.
  await listenOn(server, fd)
  if (isPort(server.address()) || path.startsWith('@')) throw wrongKind('unix', 'a unix socket with a path')
  await requirePrivateSocket(path)
  return { door: 'socket', address: path, state: 'listening', inherited: true }
}

/** Serves loopback TCP from `fd`; systemd chose the port. A socket that the network reaches is closed. */
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
  const problem = `prefect-authd-tcp.socket listens on ${address.address} instead of 127.0.0.1 and was closed; run: prefect-auth service install`
  return { door: 'tcp', address: `http://${address.address}:${address.port}`, state: 'failed', problem }
}

async function listenOn(server: Server, fd: number): Promise<void> {
  try {
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      // Node takes no `backlog` out of the options beside `fd`, and would listen again with 511.
      server.listen({ fd }, BACKLOG, () => {
        server.off('error', reject)
        resolve()
      })
    })
  } catch (error) {
    throw new BrokerError('setting_invalid', `cannot serve descriptor ${fd} from systemd`, {
      hint: 'systemctl --user status prefect-authd.socket',
      cause: error,
    })
  }
}

function isPort(address: string | AddressInfo | null): address is AddressInfo {
  return typeof address === 'object' && address !== null
}

function wrongKind(name: string, what: string): BrokerError {
  return new BrokerError('setting_invalid', `the systemd socket '${name}' is not ${what}`, {
    hint: 'prefect-auth service install',
  })
}

/** The path of a unix socket as the kernel knows it; `@…` is an abstract name. */
function pathOf(fd: number): string | undefined {
  try {
    const inode = String(fstatSync(fd).ino)
    const table = readFileSync('/proc/net/unix', 'utf8')
    // "Num RefCount Protocol Flags Type St Inode Path"; the path may contain spaces.
    const row = table.split('\n').find((line) => line.trim().split(/\s+/)[6] === inode)
    return row === undefined ? undefined : /^(?:\S+\s+){7}(.+)$/.exec(row)?.[1]
  } catch {
    return undefined
  }
}

/** `undefined` if it is not there, or cannot be seen. */
function lookAt(path: string): Stats | undefined {
  try {
    return lstatSync(path)
  } catch {
    return undefined
  }
}

/** Waits for nothing: who waits in the socket is served in the next moment. */
async function requirePrivateSocket(path: string): Promise<void> {
  const restart = 'systemctl --user restart prefect-authd.socket'
  const facts = lookAt(path)
  if (facts === undefined) {
    throw new BrokerError('state_dir_unsafe', `the socket ${path} was removed: no client can reach it`, {
      hint: restart,
    })
  }
  await ensurePrivateDirectory(dirname(path))
  if ((facts.mode & 0o077) === 0) return
  const mode = (facts.mode & 0o777).toString(8)
  throw new BrokerError('state_dir_unsafe', `the socket ${path} has mode ${mode}: other users can reach it`, {
    hint: `chmod 600 ${quoteWord(path)}      (and SocketMode=0600 in prefect-authd.socket)`,
  })
}
