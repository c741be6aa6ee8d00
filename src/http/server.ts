/** A node:http server for one listener: its limits and time-outs, who is connected, and its addresses. */
import { createServer, type IncomingMessage, type RequestListener, type Server } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { Clock } from '../std/clock.js'
import type { Door } from '../tokens/access.js'
import { guarded } from './guarded.js'
import { headerLines, rewriteHeaders } from './headers.js'
import { type LaneHandler, openLane } from './lane/lane.js'
import { BURST, type PlaceLimits } from './places.js'

/** Milliseconds and counts; the defaults suit a machine with one user. */
export interface ServerLimits {
  readonly headersMs: number
  /** Until the whole request is here; does not limit held answers and event streams. */
  readonly requestMs: number
  readonly keepAliveMs: number
  /** The last resort: connections beyond it are dropped unseen. */
  readonly maxConnections: number
  readonly maxHeaderBytes: number
}

const LIMITS: ServerLimits = {
  headersMs: 10_000,
  requestMs: 30_000,
  keepAliveMs: 60_000,
  maxConnections: 4_096,
  maxHeaderBytes: 8 * 1024,
}

/** Of the listeners where a token is needed. */
export const PLACES: PlaceLimits = { strangers: 256, known: 1_792, perToken: 1_024, strangerMs: 3_000 }

const TOKEN_LIMITS = { headersMs: 3_000, maxConnections: PLACES.strangers + PLACES.known + BURST }

interface DoorOptions {
  readonly limits?: Partial<ServerLimits> | undefined
  /** Requests that `requestMs` does not limit. */
  readonly keepsOwnTime?: (request: IncomingMessage) => boolean
  /** Answers what is recognised before Node has parsed it. */
  readonly lane?: { readonly handle: LaneHandler; readonly clock: Clock } | undefined
}

/** Not listening yet; whoever makes it listen also closes it. */
export function createDoorServer(
  door: Door,
  handle: RequestListener,
  { limits: overrides, keepsOwnTime = () => false, lane }: DoorOptions = {},
): Server {
  const limits = { ...LIMITS, ...(door === 'socket' ? {} : TOKEN_LIMITS), ...overrides }
  // The latest that a time-out is noticed.
  const noticeMs = Math.min(5_000, limits.headersMs)
  const server = createServer(
    {
      headersTimeout: limits.headersMs,
      // Node has one limit for all requests; ours is set per request.
      requestTimeout: 0,
      keepAliveTimeout: limits.keepAliveMs,
      connectionsCheckingInterval: noticeMs,
      maxHeaderSize: limits.maxHeaderBytes,
      insecureHTTPParser: false,
    },
    (request, response) => {
      // As `guarded`, without functions of its own for each request.
      try {
        if (!keepsOwnTime(request)) limitBody(request, limits.requestMs)
        handle(request, response)
      } catch {
        request.socket.destroy()
      }
    },
  )
  // Node drops what comes after the 2000th header, and a server behind us would read it.
  server.maxHeadersCount = 0
  if (lane !== undefined) {
    const refuse = (socket: Socket, code: string) =>
      refuseUnparsed(Object.assign(new Error(code), { code }), socket)
    openLane(server, lane.handle, limits, refuse, lane.clock)
  }
  checkWhileConnected(server, noticeMs)
  server.maxConnections = limits.maxConnections
  server.on('clientError', (error, socket) => guarded(socket, refuseUnparsed)(error, socket))
  server.on('connect', (_request, socket) => guarded(socket, refuse)(socket, 400, 'CONNECT is not supported'))
  return server
}

/** Ends the connection if the body is not complete in time. */
function limitBody(request: IncomingMessage, ms: number): void {
  const { 'content-length': length, 'transfer-encoding': encoding } = request.headers
  if (length === undefined && encoding === undefined) return
  const { socket } = request
  const onLate = guarded(socket, () => {
    const error: NodeJS.ErrnoException = new Error('the body did not arrive')
    error.code = 'ERR_HTTP_REQUEST_TIMEOUT'
    if (!request.complete) refuseUnparsed(error, socket)
  })
  const late = setTimeout(onLate, ms)
  late.unref()
  request.once('close', () => clearTimeout(late))
}

/** Bytes that the parser rejects never reach the guard: a fixed answer, then the connection ends. */
function refuseUnparsed(error: NodeJS.ErrnoException, socket: Duplex & { bytesWritten?: number }): void {
  // An answer may be under way on this connection; nothing may be written into it.
  if (!socket.writable || error.code === 'ECONNRESET' || (socket.bytesWritten ?? 0) > 0) {
    socket.destroy()
    return
  }
  const [status, detail] = UNPARSED[error.code ?? ''] ?? ([400, 'the request could not be parsed'] as const)
  refuse(socket, status, detail)
}

const UNPARSED: Readonly<Record<string, readonly [keyof typeof REASONS, string]>> = {
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
    // Half-closed is not closed: a peer that never hangs up would keep its connection.
    () => socket.destroy(),
  )
}

export interface Presence {
  readonly connections: number
  /** Milliseconds of awake time since the last connection came or went, or since the start. */
  readonly quietMs: number
}

interface PresenceBook {
  watch(server: Server): void
  look(): Presence
}

export function createPresenceBook(clock: Clock): PresenceBook {
  let open = 0
  let movedAt = clock.monotonic()
  const move = () => {
    movedAt = clock.monotonic()
  }
  return {
    watch(server) {
      server.on('connection', (socket: Socket) => {
        move()
        open += 1
        socket.on('close', () => {
          move()
          open -= 1
        })
      })
    },
    look: () => ({ connections: open, quietMs: clock.monotonic() - movedAt }),
  }
}

/** The `host:port` names of our own TCP doors. Read at every proxied request, so the system is asked only once a server. */
export function createOwnAddresses() {
  const hosts = new Set<string>()
  const unknown = new Set<Server>()
  let list: readonly string[] = []
  const settle = (server: Server) => {
    if (!server.listening) return
    unknown.delete(server)
    for (const name of loopbackHosts(server)) hosts.add(name)
    list = [...hosts]
  }
  return {
    add(server: Server, named: readonly string[]) {
      unknown.add(server)
      for (const name of named) hosts.add(name)
      list = [...hosts]
    },
    list() {
      for (const server of unknown) settle(server)
      return list
    },
  }
}

/** `host:port` under every loopback name, for a server on TCP that listens; else none. */
function loopbackHosts(server: Server): readonly string[] {
  const address = server.address()
  if (address === null || typeof address === 'string') return []
  return ['127.0.0.1', 'localhost', '[::1]'].map((name) => `${name}:${address.port}`)
}

/** The longest timer that Node accepts: 25 days. */
const NEVER_MS = 2 ** 31 - 1

/** Checks time-outs only while somebody is connected. Call it before anything else subscribes to `server`. */
export function checkWhileConnected(server: Server, everyMs: number): void {
  // Node's own listener starts its interval, and restarts it when called again; there is no other way to change it.
  // If a later Node has no such listener, its interval stays as it was.
  const [restart] = server.listeners('listening')
  if (restart === undefined) return
  const look = (ms: number) => {
    Reflect.set(server, 'connectionsCheckingInterval', ms)
    // A closing server has stopped its interval permanently.
    if (server.listening) Reflect.apply(restart, server, [])
  }
  let connected = 0
  look(NEVER_MS)
  const onClose = () => {
    connected -= 1
    if (connected === 0) look(NEVER_MS)
  }
  server.on('connection', (socket: Socket) => {
    connected += 1
    if (connected === 1) look(everyMs)
    socket.on('close', onClose)
  })
}

/** Hands a connection whose upgrade is not taken back to `server`, as if the request had not offered one. */
export function reenter(server: Server, request: IncomingMessage, socket: Duplex, head: Buffer): void {
  const headers = rewriteHeaders(request.rawHeaders, (name, value) =>
    name === 'connection' ? withoutUpgrade(value) : value,
  )
  const line = `${request.method} ${request.url} HTTP/${request.httpVersion}\r\n`
  socket.unshift(Buffer.concat([Buffer.from(`${line}${headerLines(headers)}\r\n`, 'latin1'), head]))
  // Its first listener reads what comes; the others count those who come, and have counted this one.
  const [read] = server.listeners('connection')
  if (read === undefined) socket.destroy()
  else Reflect.apply(read, server, [socket])
}

/** Without this word the parser ignores the offer; the guard still sees the `Upgrade` header. */
function withoutUpgrade(connection: string): string {
  const tokens = connection.split(',').map((token) => token.trim())
  const kept = tokens.filter((token) => token.toLowerCase() !== 'upgrade')
  return kept.length === 0 ? 'keep-alive' : kept.join(', ')
}
