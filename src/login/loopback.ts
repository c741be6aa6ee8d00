/** One port on both loopback addresses: what answers at `http://localhost:PORT`, whichever family a browser tries first. */
import { createServer, type RequestListener, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Duplex } from 'node:stream'
import { BrokerError } from '../base/errors.js'

interface LoopbackPair {
  readonly port: number
  /** Refuses connections from now on, and ends those that are open. Idempotent. */
  close(): Promise<void>
}

interface LoopbackPairOptions {
  readonly handle: RequestListener
  /** Until a whole request must be here, in milliseconds. */
  readonly requestTimeoutMs: number
  /** The port to try; 0 for any free one. */
  readonly pickPort: () => number
}

const ATTEMPTS = 20
/** A page can hold a few dozen idle ones; they must not keep the delivery out. */
const MAX_CONNECTIONS = 128

/**
 * Binds 127.0.0.1 and ::1. A port that somebody has on either address is no good: they would get what is meant for us.
 * Without IPv6 on the machine it is 127.0.0.1 alone. Rejects with `login_port_unavailable`.
 */
export async function openLoopbackPair(options: LoopbackPairOptions): Promise<LoopbackPair> {
  let last: unknown
  for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
    try {
      return await bindBoth(options)
    } catch (error) {
      if (!hasCode(error, 'EADDRINUSE', 'EACCES')) throw unavailable(error)
      last = error
    }
  }
  throw unavailable(last)
}

async function bindBoth(options: LoopbackPairOptions): Promise<LoopbackPair> {
  const servers = [await listen('127.0.0.1', options.pickPort(), options)]
  const port = portOf(servers[0])
  try {
    servers.push(await listen('::1', port, options))
  } catch (error) {
    if (!hasCode(error, 'EADDRNOTAVAIL', 'EAFNOSUPPORT', 'EINVAL')) {
      await closeAll(servers)
      throw error
    }
  }
  let closing: Promise<void> | undefined
  return {
    port,
    close() {
      closing ??= closeAll(servers)
      return closing
    },
  }
}

function listen(
  host: string,
  port: number,
  { handle, requestTimeoutMs }: LoopbackPairOptions,
): Promise<Server> {
  const server = createServer(
    {
      headersTimeout: requestTimeoutMs,
      requestTimeout: requestTimeoutMs,
      keepAliveTimeout: 1_000,
      // How late a time-out may be noticed.
      connectionsCheckingInterval: Math.min(1_000, requestTimeoutMs),
      maxHeaderSize: 8 * 1024,
      insecureHTTPParser: false,
    },
    handle,
  )
  server.maxConnections = MAX_CONNECTIONS
  server.on('clientError', refuseUnparsed)
  server.on('connect', (_request, socket) => socket.destroy())
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen({ host, port, exclusive: true }, () => {
      server.off('error', reject)
      resolve(server)
    })
  })
}

/** What the parser could not read: a fixed answer that repeats nothing, and the connection ends. */
function refuseUnparsed(error: NodeJS.ErrnoException, socket: Duplex): void {
  socket.on('error', () => undefined)
  // Browsers open connections ahead of need, and any page can make them. Words on one that was silent so far would be read
  // as the answer to the navigation that then takes it: the key would be lost (measured: Chromium 156).
  if (!socket.writable || error.code === 'ERR_HTTP_REQUEST_TIMEOUT') return void socket.destroy()
  // Half-closed is not closed: a peer that never hangs up would keep its place.
  socket.end('HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n', () =>
    socket.destroy(),
  )
}

async function closeAll(servers: readonly Server[]): Promise<void> {
  const closed = servers.map((server) => new Promise<void>((resolve) => server.close(() => resolve())))
  for (const server of servers) server.closeAllConnections()
  await Promise.all(closed)
}

function portOf(server: Server | undefined): number {
  const address: string | AddressInfo | null | undefined = server?.address()
  if (address && typeof address === 'object') return address.port
  throw new BrokerError('internal', 'a listening server has no port')
}

function hasCode(error: unknown, ...codes: readonly string[]): boolean {
  return error instanceof Error && 'code' in error && codes.includes(String(error.code))
}

function unavailable(cause: unknown): BrokerError {
  return new BrokerError(
    'login_port_unavailable',
    'no port of this machine could be opened for the browser',
    {
      hint: 'paste a key instead: prefect-auth login --key-stdin',
      cause,
    },
  )
}
