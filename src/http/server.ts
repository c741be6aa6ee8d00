/** A node:http server for one door: every time-out set, every limit set, nothing echoed, nothing upgraded. */
import { createServer, type IncomingMessage, type RequestListener, type Server } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { Door } from '../tokens/access.js'
import { headerLines, rewriteHeaders } from './headers.js'

/** Milliseconds and counts; the defaults suit a machine with one user. */
export interface ServerLimits {
  readonly headersMs: number
  /** Until the whole request is here; held answers and event streams are not under it. */
  readonly requestMs: number
  readonly keepAliveMs: number
  readonly maxConnections: number
  readonly maxHeaderBytes: number
}

const LIMITS: ServerLimits = {
  headersMs: 10_000,
  requestMs: 30_000,
  keepAliveMs: 60_000,
  maxConnections: 1_024,
  maxHeaderBytes: 8 * 1024,
}

/** The owner's own programs may hold more connections than strangers with tokens. */
const SOCKET_MAX_CONNECTIONS = 4_096

/** Not listening yet; whoever listens also closes. `keepsOwnTime`: requests whose bodies are not under `requestMs`. */
export function createDoorServer(
  door: Door,
  handle: RequestListener,
  overrides: Partial<ServerLimits> = {},
  keepsOwnTime: (request: IncomingMessage) => boolean = () => false,
): Server {
  const own = door === 'socket' ? { maxConnections: SOCKET_MAX_CONNECTIONS } : {}
  const limits = { ...LIMITS, ...own, ...overrides }
  // How late a time-out may be noticed.
  const noticeMs = Math.min(5_000, limits.headersMs)
  const server = createServer(
    {
      headersTimeout: limits.headersMs,
      // Node knows one limit for all; ours is set per request.
      requestTimeout: 0,
      keepAliveTimeout: limits.keepAliveMs,
      connectionsCheckingInterval: noticeMs,
      maxHeaderSize: limits.maxHeaderBytes,
      insecureHTTPParser: false,
    },
    (request, response) => {
      if (!keepsOwnTime(request)) limitBody(request, limits.requestMs)
      handle(request, response)
    },
  )
  checkWhileConnected(server, noticeMs)
  server.maxConnections = limits.maxConnections
  server.on('clientError', refuseUnparsed)
  server.on('connect', (_request, socket) => refuse(socket, 400, 'this server is no proxy'))
  return server
}

/** A body that is not here in time ends the connection. */
function limitBody(request: IncomingMessage, ms: number): void {
  const { 'content-length': length, 'transfer-encoding': encoding } = request.headers
  if (length === undefined && encoding === undefined) return
  const { socket } = request
  const late = setTimeout(() => {
    const error: NodeJS.ErrnoException = new Error('the body did not arrive')
    error.code = 'ERR_HTTP_REQUEST_TIMEOUT'
    if (!request.complete) refuseUnparsed(error, socket)
  }, ms)
  late.unref()
  request.once('close', () => clearTimeout(late))
}

/** What the parser could not read never reaches the guard: a fixed answer, and the connection ends. */
function refuseUnparsed(error: NodeJS.ErrnoException, socket: Duplex & { bytesWritten?: number }): void {
  // An answer may be under way on this connection: nothing is written into it.
  if (!socket.writable || error.code === 'ECONNRESET' || (socket.bytesWritten ?? 0) > 0) {
    socket.destroy()
    return
  }
  const [status, detail] =
    TOLD[error.code ?? ''] ?? ([400, 'this is not a request that can be read'] as const)
  refuse(socket, status, detail)
}

const TOLD: Readonly<Record<string, readonly [keyof typeof REASONS, string]>> = {
  HPE_HEADER_OVERFLOW: [431, 'the request headers are too large'],
  ERR_HTTP_REQUEST_TIMEOUT: [408, 'the request took too long to arrive'],
}

const REASONS = {
  400: 'Bad Request',
  408: 'Request Timeout',
  431: 'Request Header Fields Too Large',
} as const

function refuse(socket: Duplex, status: keyof typeof REASONS, detail: string): void {
  const body = JSON.stringify({
    type: 'urn:prefect-auth:bad_request',
    title: 'bad request',
    status,
    detail,
    code: 'bad_request',
    kind: 'invalid',
  })
  socket.on('error', () => undefined)
  socket.end(
    `HTTP/1.1 ${status} ${REASONS[status]}\r\nContent-Type: application/problem+json\r\n` +
      `Cache-Control: no-store\r\nContent-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`,
    // Half-closed is not closed: a peer that never hangs up would keep its place.
    () => socket.destroy(),
  )
}

/** `host:port` under every loopback name, for a server on TCP that listens; else none. */
export function loopbackHosts(server: Server): readonly string[] {
  const address = server.address()
  if (address === null || typeof address === 'string') return []
  return ['127.0.0.1', 'localhost', '[::1]'].map((name) => `${name}:${address.port}`)
}

/** The longest that a timer of Node can wait: 25 days. */
const NEVER_MS = 2 ** 31 - 1

/** To be called before anybody else listens to `server`. */
export function checkWhileConnected(server: Server, everyMs: number): void {
  // Node's own listener starts its interval, and starts it anew when it is called again; there is no other way to it.
  // Should a later Node have none, its interval is what it was.
  const [restart] = server.listeners('listening')
  if (restart === undefined) return
  const look = (ms: number) => {
    Reflect.set(server, 'connectionsCheckingInterval', ms)
    // A closing server has stopped its interval for good.
    if (server.listening) Reflect.apply(restart, server, [])
  }
  // A set: a request that offers an upgrade which is not taken announces its connection once more.
  const connected = new Set<Socket>()
  look(NEVER_MS)
  server.on('connection', (socket: Socket) => {
    if (connected.has(socket)) return
    connected.add(socket)
    if (connected.size === 1) look(everyMs)
    socket.once('close', () => {
      connected.delete(socket)
      if (connected.size === 0) look(NEVER_MS)
    })
  })
}

export function reenter(server: Server, request: IncomingMessage, socket: Duplex, head: Buffer): void {
  const headers = rewriteHeaders(request.rawHeaders, (name, value) =>
    name === 'connection' ? withoutUpgrade(value) : value,
  )
  const line = `${request.method} ${request.url} HTTP/${request.httpVersion}\r\n`
  socket.unshift(Buffer.concat([Buffer.from(`${line}${headerLines(headers)}\r\n`, 'latin1'), head]))
  server.emit('connection', socket)
}

/** Without this word the parser takes no offer for one; the guard sees the `Upgrade` header itself. */
function withoutUpgrade(connection: string): string {
  const tokens = connection.split(',').map((token) => token.trim())
  const kept = tokens.filter((token) => token.toLowerCase() !== 'upgrade')
  return kept.length === 0 ? 'keep-alive' : kept.join(', ')
}
