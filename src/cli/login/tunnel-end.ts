/** The end of a login's tunnel at the browser: a port on both loopback addresses, and a private socket that ssh takes over. */

import { mkdtempSync, rmSync } from 'node:fs'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { failWith } from '../../client/failure.js'
import { SECOND_MS } from '../../std/clock.js'

export interface TunnelEnd {
  readonly port: number
  /** Where ssh listens, and forwards to the same port of the other machine. In a directory of ours alone. */
  readonly socket: string
  close(): Promise<void>
}

const ATTEMPTS = 20
/** Any page or program can hold connections. */
const MAX_CONNECTIONS = 64
const IDLE_MS = 20 * SECOND_MS

/**
 * Binds `port`, else any free one, before anybody knows it: no other program here can receive what the browser delivers. On
 * 127.0.0.1 and ::1, as a browser may try either; a machine without IPv6 has the one. Fails with `login_port_unavailable`.
 */
export async function openTunnelEnd(port?: number): Promise<TunnelEnd> {
  const folder = mkdtempSync(join(tmpdir(), 'pab-'))
  const socket = join(folder, 'tunnel')
  const open = new Set<Socket>()
  const remove = () => rmSync(folder, { recursive: true, force: true })
  try {
    const { servers, port: bound } = await bind(port, (client) => relay(client, socket, open))
    return {
      port: bound,
      socket,
      async close() {
        for (const one of open) one.destroy()
        await Promise.all(servers.map(closed))
        remove()
      },
    }
  } catch (error) {
    remove()
    throw error
  }
}

interface Bound {
  readonly servers: readonly Server[]
  readonly port: number
}

async function bind(wanted: number | undefined, onClient: (client: Socket) => void): Promise<Bound> {
  for (let attempt = 0; attempt < (wanted === undefined ? ATTEMPTS : 1); attempt += 1) {
    const first = await listen('127.0.0.1', wanted ?? 0, onClient)
    const address = first?.address()
    if (first === undefined || typeof address !== 'object' || address === null) continue
    const second = await listen('::1', address.port, onClient)
    if (second !== undefined)
      return { servers: [first, ...(second === 'none' ? [] : [second])], port: address.port }
    await closed(first)
  }
  return failWith({
    code: 'login_port_unavailable',
    kind: 'unavailable',
    detail: `cannot open ${wanted === undefined ? 'a local port' : `port ${wanted}`} for the browser on this machine`,
    hint: 'end the program that has it, or the login that is pending over there',
  })
}

/** `undefined`: taken. `'none'`: this machine has no such address. */
function listen(
  host: '127.0.0.1',
  port: number,
  onClient: (client: Socket) => void,
): Promise<Server | undefined>
function listen(
  host: '::1',
  port: number,
  onClient: (client: Socket) => void,
): Promise<Server | 'none' | undefined>
function listen(
  host: string,
  port: number,
  onClient: (client: Socket) => void,
): Promise<Server | 'none' | undefined> {
  const server = createServer({ allowHalfOpen: true }, onClient)
  server.maxConnections = MAX_CONNECTIONS
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      const { code = '' } = error
      if (code === 'EADDRINUSE' || code === 'EACCES') resolve(undefined)
      else if (host === '::1' && NO_FAMILY.includes(code)) resolve('none')
      else reject(error)
    })
    server.listen({ host, port, exclusive: true }, () => {
      server.on('error', () => undefined)
      resolve(server)
    })
  })
}

const NO_FAMILY = ['EADDRNOTAVAIL', 'EAFNOSUPPORT', 'EINVAL']

/** The bytes pass through; nothing here reads them. */
function relay(client: Socket, path: string, open: Set<Socket>): void {
  const upstream = connect({ path, allowHalfOpen: true })
  for (const [one, other] of [
    [client, upstream],
    [upstream, client],
  ] as const) {
    open.add(one)
    // A browser whose connection hangs shows nothing; one that ended shows the address, which can be pasted.
    one.setTimeout(IDLE_MS, () => one.destroy())
    // Before ssh listens, and where the server forbids tunnels, the browser sees its connection end.
    one.on('error', () => other.destroy())
    one.on('close', () => {
      open.delete(one)
      other.destroySoon()
    })
  }
  client.pipe(upstream)
  upstream.pipe(client)
}

function closed(server: Server): Promise<void> {
  return new Promise((resolve) => server.close(() => resolve()))
}
