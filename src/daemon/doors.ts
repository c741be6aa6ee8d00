/** The doors of the daemon: the owner's socket, the restricted socket, loopback TCP. */
import { lstat, unlink } from 'node:fs/promises'
import type { Server } from 'node:net'
import { dirname } from 'node:path'
import type { App } from '../api/app.js'
import { BrokerError, isBrokerError } from '../base/errors.js'
import { ensurePrivateDirectory } from '../os/private-files.js'
import { findPortHolder } from '../os/proc.js'
import { isSocketAlive, listenOnPath } from '../os/sockets.js'
import type { Log } from '../std/log.js'
import type { ListenerFacts } from '../tokens/access.js'
import { openInheritedTcp, openInheritedUnix } from './inherited-sockets.js'
import type { DaemonOptions } from './open-parts.js'

/**
 * Opens the unix socket at `path`. A stale socket is dialled before it is taken away. Rejects with `already_running` where
 * somebody answers, `state_dir_unsafe` for a directory that others may enter, `socket_path_too_long`.
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

/** The remedy for a directory that everybody shares is another directory, never to close it to them. */
async function ensureOwnDirectory(directory: string): Promise<void> {
  try {
    await ensurePrivateDirectory(directory)
  } catch (error) {
    const mode = (await lstat(directory).catch(() => undefined))?.mode ?? 0
    if ((mode & 0o1002) === 0 || !isBrokerError(error, 'state_dir_unsafe')) throw error
    throw new BrokerError('state_dir_unsafe', `the socket can't stand in ${directory}, which others share`, {
      hint: 'put it into a directory of its own: PREFECT_AUTH_SOCKET=/PATH/OF/A/NEW/DIRECTORY/authd.sock',
      cause: error,
    })
  }
}

async function clearStale(path: string): Promise<void> {
  const found = await lstat(path).catch(() => undefined)
  if (found === undefined) return
  if (!found.isSocket()) {
    throw new BrokerError('already_running', `${path} exists and is not a socket`, {
      hint: `move ${path} away`,
    })
  }
  if (await isSocketAlive(path)) {
    throw new BrokerError('already_running', `another program answers on ${path}`, {
      hint: 'prefect-auth status',
    })
  }
  await unlink(path)
}

/** Opens 127.0.0.1:`port`. A taken port is not fatal: the answer says who is there. Never rejects. */
export async function openTcpListener(
  server: Server,
  port: number,
  log: Log,
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
    const problem = await describeFailure(error, port)
    log.warn({ port, problem }, 'the loopback port could not be opened; the unix socket is not affected')
    return { door: 'tcp', address: `http://127.0.0.1:${port}`, state: 'failed', problem }
  }
}

async function describeFailure(error: unknown, port: number): Promise<string> {
  if (!(error instanceof Error && 'code' in error && error.code === 'EADDRINUSE')) {
    return `port ${port} could not be opened: ${error instanceof Error ? error.message : 'unknown error'}`
  }
  const holder = await findPortHolder(port)
  return `port ${port} is taken by ${holder ?? 'another program'}; choose another one with the setting port (PREFECT_AUTH_PORT)`
}

/** Adds what was opened, and what could not be, to `listeners`. Rejects where the unix socket can't be opened. */
export async function openDoors(
  { settings, paths, log, inherited }: DaemonOptions,
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
  else if (port !== 'off') listeners.push(await openTcpListener(tcp, port, log))
}
