/** Opens the doors: the unix socket, the restricted one, loopback TCP; inherited from systemd where there are such. */

import type { App } from '../api/app.js'
import type { ListenerFacts } from '../status/status.js'
import { openTcpListener, openUnixListener } from './doors.js'
import { openInheritedTcp, openInheritedUnix } from './inherited-sockets.js'
import type { DaemonOptions } from './options.js'

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
