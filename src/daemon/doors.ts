/** The daemon's listeners: the owner's socket, the restricted socket, loopback TCP. */
import { lstat, unlink } from 'node:fs/promises'
import type { Server } from 'node:net'
import { dirname } from 'node:path'
import type { App } from '../api/app.js'
import { BrokerError, isBrokerError } from '../base/errors.js'
import { isHeldByOther } from '../os/port-owner.js'
import { ensurePrivateDirectory } from '../os/private-files.js'
import { findPortHolder } from '../os/proc.js'
import { isSocketAlive, listenOnPath } from '../os/sockets.js'
import { systemCode } from '../os/system-error.js'
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
      server.listen({ host: '127.0.0.1', port, exclusive: true }, () => {
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

/** Adds every listener to `listeners`, a failed TCP one too. Rejects if a unix socket cannot be opened. */
export async function openDoors(
  { settings, paths, log, inherited, clock, host }: DaemonOptions,
  app: App,
  listeners: ListenerFacts[],
): Promise<void> {
  const main = app.openServer('socket')
  listeners.push(
    inherited.unix === undefined
      ? await openUnixListener(main, paths.socket, 'socket')
      : await openInheritedUnix(main, inherited.unix, paths.socket),
  )
  const restricted = settings['listen.restricted_socket']
  if (restricted !== undefined) {
    listeners.push(await openUnixListener(app.openServer('restricted'), restricted, 'restricted'))
  }
  const { port } = settings
  if (port === 'off' && inherited.tcp === undefined)
    return void listeners.push({ door: 'tcp', address: 'none', state: 'off' })
  const tcp = app.openServer('tcp', { hosts: settings['listen.hosts'] })
  if (inherited.tcp !== undefined) listeners.push(await openInheritedTcp(tcp, inherited.tcp))
  else if (port !== 'off') {
    const { uid } = host
    const isForeign = async (held: number) => uid !== undefined && (await isHeldByOther(held, uid, clock))
    listeners.push(await openTcpListener(tcp, port, log, isForeign))
  }
}
