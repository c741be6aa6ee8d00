/** The daemon's listeners: the owner's socket, the restricted socket, loopback TCP. */
import { renameSync } from 'node:fs'
import { lstat, unlink } from 'node:fs/promises'
import type { Server } from 'node:net'
import { dirname } from 'node:path'
import type { Front } from '../api/front.js'
import { BrokerError, isBrokerError } from '../base/errors.js'
import { ensurePrivateDirectory } from '../os/private-files.js'
import { findPortHolder, isHeldByOther } from '../os/proc.js'
import { BACKLOG, isSocketAlive, listenOnPath } from '../os/sockets.js'
import { systemCode } from '../os/system-error.js'
import { defined } from '../std/defined.js'
import type { Log } from '../std/log.js'
import type { ListenerFacts } from '../tokens/access.js'
import { openInheritedTcp, openInheritedUnix } from './inherited-sockets.js'
import type { DaemonOptions } from './open-parts.js'

/**
 * Opens the unix socket at `path`; a stale one is dialled, then removed. Rejects with `already_running` if a program answers
 * on it or it is no socket, `state_dir_unsafe` if others may enter its directory, `socket_path_too_long`.
 */
export async function openUnixListener(
  server: Server,
  path: string,
  door: 'socket' | 'restricted',
): Promise<ListenerFacts> {
  await ensureOwnDirectory(dirname(path))
  await clearStale(path)
  await listenOnPath(server, path)
  return { door, address: path, state: 'listening' }
}

/** For a directory that everybody shares the hint is another directory, never to close it to them. */
async function ensureOwnDirectory(directory: string): Promise<void> {
  try {
    await ensurePrivateDirectory(directory)
  } catch (error) {
    const above = dirname(directory)
    if (isBrokerError(error, 'disk_failed') && (await identityOf(above)) === undefined) {
      throw new BrokerError('disk_failed', `cannot put the socket into ${directory}: ${above} is not there`, {
        hint: 'systemd removes /run/user/UID after the last log-out; keep it: loginctl enable-linger; or use the state directory: env -u XDG_RUNTIME_DIR prefect-authd',
        cause: error,
      })
    }
    const mode = (await lstat(directory).catch(() => undefined))?.mode ?? 0
    if ((mode & 0o1002) === 0 || !isBrokerError(error, 'state_dir_unsafe')) throw error
    throw new BrokerError(
      'state_dir_unsafe',
      `cannot put the socket into ${directory}: other users share it`,
      {
        hint: 'give it its own directory: PREFECT_AUTH_SOCKET=/PATH/OF/A/NEW/DIRECTORY/authd.sock',
        cause: error,
      },
    )
  }
}

async function clearStale(path: string): Promise<void> {
  const found = await lstat(path).catch(() => undefined)
  if (found === undefined) return
  if (!found.isSocket()) {
    throw new BrokerError('already_running', `cannot listen on ${path}: it exists and is not a socket`, {
      hint: `move ${path} away`,
    })
  }
  if (await isSocketAlive(path)) {
    throw new BrokerError('already_running', `cannot listen on ${path}: another program answers there`, {
      hint: 'prefect-auth status',
    })
  }
  await unlink(path)
}

/** Opens 127.0.0.1:`port`. Never rejects: what failed, and who holds the port, is in the result. */
export async function openTcpListener(
  server: Server,
  port: number,
  log: Log,
  isForeign: (port: number) => Promise<boolean> = async () => false,
): Promise<ListenerFacts & { port?: number }> {
  try {
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen({ host: '127.0.0.1', port, exclusive: true, backlog: BACKLOG }, () => {
        server.off('error', reject)
        resolve()
      })
    })
    const address = server.address()
    const actual = typeof address === 'object' && address !== null ? address.port : port
    return { door: 'tcp', address: `http://127.0.0.1:${actual}`, state: 'listening', port: actual }
  } catch (error) {
    const isTaken = systemCode(error) === 'EADDRINUSE'
    const foreign = isTaken && (await isForeign(port)) ? ({ isForeign: true } as const) : {}
    const problem = await describeFailure(error, port, foreign.isForeign === true)
    log.warn({ port, problem }, 'TCP port not opened; the unix socket is not affected')
    return { door: 'tcp', address: `http://127.0.0.1:${port}`, state: 'failed', problem, ...foreign }
  }
}

async function describeFailure(error: unknown, port: number, isForeign: boolean): Promise<string> {
  if (systemCode(error) !== 'EADDRINUSE') {
    return `cannot open port ${port}: ${error instanceof Error ? error.message : 'unknown error'}`
  }
  const holder = await findPortHolder(port)
  const whose = isForeign ? ' of another user' : ''
  return `port ${port} is taken by ${holder ?? 'another program'}${whose}; choose another with the setting port (PREFECT_AUTH_PORT)`
}

/** The open listeners. */
export interface Doors {
  /** Listens again on every unix socket whose file is gone. Never rejects; what failed is in the listener's facts. */
  look(): Promise<void>
  /** To be called before the servers are closed, whose end unlinks their paths: sockets of others there stay. Never rejects. */
  leave(): Promise<void>
}

/** Adds every listener to `listeners`, a failed TCP one too. Rejects if a unix socket cannot be opened. */
export async function openDoors(
  { settings, paths, log, inherited, clock, host }: DaemonOptions,
  app: Pick<Front, 'openServer'>,
  listeners: ListenerFacts[],
): Promise<Doors> {
  const watched: WatchedSocket[] = []
  const open = (door: ListenerFacts['door'], options?: Parameters<Front['openServer']>[1]) => {
    const server = app.openServer(door, options)
    // Without descriptors `accept` fails; an error that nobody hears ends the process.
    server.on('error', (error) => {
      if (server.listening) log.error({ door, error }, 'connection not accepted')
    })
    return server
  }
  const add = async (server: Server, facts: ListenerFacts) => {
    const identity = await identityOf(facts.address)
    watched.push({ place: listeners.push(facts) - 1, server, facts, identity, isOpen: true })
  }
  const main = open('socket')
  await add(
    main,
    inherited.unix === undefined
      ? await openUnixListener(main, paths.socket, 'socket')
      : await openInheritedUnix(main, inherited.unix, paths.socket),
  )
  const restricted = settings['listen.restricted_socket']
  if (restricted !== undefined) {
    const server = open('restricted')
    await add(server, await openUnixListener(server, restricted, 'restricted'))
  }
  const doors = createDoors({ watched, listeners, open, log })
  const { port } = settings
  if (port === 'off' && inherited.tcp === undefined) {
    listeners.push({ door: 'tcp', address: 'none', state: 'off' })
    return doors
  }
  const tcp = open('tcp', { hosts: settings['listen.hosts'] })
  if (inherited.tcp !== undefined) listeners.push(await openInheritedTcp(tcp, inherited.tcp))
  else if (port !== 'off') {
    const { uid } = host
    const isForeign = async (held: number) => uid !== undefined && (await isHeldByOther(held, uid, clock))
    listeners.push(await openTcpListener(tcp, port, log, isForeign))
  }
  return doors
}

interface WatchedSocket {
  /** Its index among the listeners. */
  readonly place: number
  /** As it was opened. */
  readonly facts: ListenerFacts
  server: Server
  /** Of the socket's file; `undefined`: not open. */
  identity: string | undefined
  /** False after an attempt to open it again that failed. */
  isOpen: boolean
}

function createDoors({
  watched,
  listeners,
  open,
  log,
}: {
  watched: readonly WatchedSocket[]
  listeners: ListenerFacts[]
  open: (door: ListenerFacts['door']) => Server
  log: Log
}): Doors {
  async function lookAt(one: WatchedSocket): Promise<void> {
    const { door, address: path, inherited } = one.facts
    // The daemon is leaving: its sockets go with it.
    if (one.isOpen && !one.server.listening) return
    const found = await identityOf(path)
    if (one.isOpen && found === one.identity) return
    if (inherited === true) {
      listeners[one.place] = {
        ...one.facts,
        state: 'failed',
        ...GONE_WITH_SYSTEMD,
        problem: goneProblem(path),
      }
      return
    }
    try {
      // Whoever has taken the path since keeps it.
      await clearStale(path)
      if (one.isOpen) log.warn({ door, path }, 'socket was removed; listening again')
      one.isOpen = false
      // Its end unlinks the path, so it comes first. Open connections go on.
      one.server.close()
      one.server = open(door)
      listeners[one.place] = await openUnixListener(one.server, path, door === 'tcp' ? 'socket' : door)
      one.identity = await identityOf(path)
      one.isOpen = true
    } catch (error) {
      const problem = error instanceof Error ? error.message : 'unknown error'
      const remedy = isBrokerError(error) ? error.hint : undefined
      listeners[one.place] = { ...one.facts, state: 'failed', ...defined({ problem, remedy }) }
      log.error({ door, path, error }, 'socket not opened again; will retry')
    }
  }
  return {
    async look() {
      for (const one of watched) await lookAt(one)
    },
    async leave() {
      for (const { server, facts, identity } of watched) {
        const found = await identityOf(facts.address)
        const isTheirs = facts.inherited !== true && found !== undefined && found !== identity
        if (isTheirs && server.listening) closeBeside(server, facts.address, log)
      }
    },
  }
}

/** Closes a server at whose path there is somebody else's socket, which is out of the way for that moment. */
function closeBeside(server: Server, path: string, log: Log): void {
  const aside = `${path}.aside`
  try {
    renameSync(path, aside)
    server.close()
    renameSync(aside, path)
  } catch (error) {
    log.warn({ path, error }, 'the socket of another program could not be kept')
  }
}

const GONE_WITH_SYSTEMD = { remedy: 'systemctl --user restart prefect-authd.socket' } as const

function goneProblem(path: string): string {
  return `the socket ${path} was removed; it is systemd's, and only systemd can open it again`
}

async function identityOf(path: string): Promise<string | undefined> {
  const found = await lstat(path, { bigint: true }).catch(() => undefined)
  return found === undefined ? undefined : `${found.dev}:${found.ino}:${found.birthtimeNs}`
}
