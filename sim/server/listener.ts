/** An HTTP or HTTPS server on a port of 127.0.0.1. */
import { createServer as createHttpServer, type IncomingMessage } from 'node:http'
import { createServer as createHttpsServer } from 'node:https'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { Certificates } from './certificates.js'
import type { Handler } from './handler.js'

export interface Listener {
  readonly port: number
  /** `http://127.0.0.1:PORT` */
  readonly url: string
  /** Stops listening and destroys open connections. */
  close(): Promise<void>
}

/** research/prefect.md 4.1: Cloud's load balancer closes idle connections after 30 s. */
const IDLE_MS = 30_000

/** Rejects if the port is taken. */
export async function openListener(parts: {
  readonly port: number
  readonly handler: Handler
  readonly certificates?: Certificates
  readonly upgrade?: (incoming: IncomingMessage, socket: Duplex, head: Buffer) => void
}): Promise<Listener> {
  const { port, handler, certificates, upgrade } = parts
  const server =
    certificates === undefined
      ? createHttpServer(handler)
      : createHttpsServer({ cert: certificates.cert, key: certificates.key }, handler)
  server.keepAliveTimeout = IDLE_MS
  if (upgrade !== undefined) server.on('upgrade', upgrade)

  const sockets = new Set<Socket>()
  server.on('connection', (socket: Socket) => {
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, '127.0.0.1', resolve)
  })
  const address = server.address()
  const bound = typeof address === 'object' && address !== null ? address.port : port
  return {
    port: bound,
    url: `${certificates === undefined ? 'http' : 'https'}://127.0.0.1:${bound}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        for (const socket of sockets) socket.destroy()
      }),
  }
}
