/** The listener of one login: one port on both loopback addresses, open for as long as a key can come. */

import { once } from 'node:events'
import { createServer, type RequestListener, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Duplex } from 'node:stream'
import { setImmediate } from 'node:timers/promises'
import { BrokerError } from '../base/errors.js'
import { guarded } from '../http/guarded.js'
import { BURST, createPlaces } from '../http/places.js'
import { SECOND_MS } from '../std/clock.js'
import { defined } from '../std/defined.js'
import { buildCallbackApp, type CallbackRequest } from './callback-app.js'
import { hashState } from './delivery.js'

export interface LoginCallback {
  /** `http://localhost:PORT`, followed by `/STATE` if there is one. */
  readonly callbackUrl: string
  readonly port: number
  /** Refuses new connections and closes open ones, after responses in progress have been sent. Idempotent. */
  close(): Promise<void>
}

/** Listens on a fresh port for one login, or on `port`. Rejects with `login_port_unavailable`. */
export type OpenCallback = (
  request: CallbackRequest,
  options?: Pick<CallbackTuning, 'port' | 'isWhole'>,
) => Promise<LoginCallback>

interface CallbackTuning {
  /** How long a complete request may take to arrive, in milliseconds. */
  readonly requestTimeoutMs?: number
  /** The port to try; 0 for any free one. */
  readonly pickPort?: () => number
  /** This port and no other. A family that somebody else has is left out, unless `isWhole`; ours is still closed to them. */
  readonly port?: number
  readonly isWhole?: boolean
}

interface ListenOptions {
  readonly handle: RequestListener
  readonly requestTimeoutMs: number
  readonly pickPort: () => number
}

const ATTEMPTS = 20
/** Any page or program can hold connections; they must not keep the delivery out. */
const PLACES = { strangers: 128, known: 0, perToken: 0, strangerMs: SECOND_MS }

/** The `OpenCallback` of the daemon. Rejects with `login_port_unavailable`. */
export async function openLoginCallback(
  request: CallbackRequest,
  {
    requestTimeoutMs = 5 * SECOND_MS,
    pickPort = () => 0,
    port: wanted,
    isWhole = false,
  }: CallbackTuning = {},
): Promise<LoginCallback> {
  const { uiOrigin, state } = request
  const stateHash = state === undefined ? request.stateHash : hashState(state)
  const hosts = new Set<string>()
  const responding = new Set<ServerResponse>()
  const app = await buildCallbackApp(request, { hosts, uiOrigin, ...defined({ stateHash }) })
  const options: ListenOptions = {
    requestTimeoutMs,
    pickPort,
    handle(incoming, outgoing) {
      responding.add(outgoing)
      outgoing.once('close', () => responding.delete(outgoing))
      app.routing(incoming, outgoing)
    },
  }
  const { port, servers } = await bind(options, wanted, isWhole)
  for (const name of ['localhost', '127.0.0.1', '[::1]']) hosts.add(`${name}:${port}`)
  let closing: Promise<void> | undefined

  async function close(): Promise<void> {
    await finishResponses(responding)
    await closeAll(servers)
    await app.close()
  }

  return {
    callbackUrl: `http://localhost:${port}${state === undefined ? '' : `/${state}`}`,
    port,
    close() {
      closing ??= close()
      return closing
    },
  }
}

function bind(options: ListenOptions, wanted: number | undefined, isWhole: boolean): Promise<BoundPort> {
  if (wanted === undefined) return bindLoopback(options)
  if (!isWhole) return bindAgain(wanted, options)
  return bindBoth({ ...options, pickPort: () => wanted }).catch((error: unknown) => {
    throw unavailable(error, wanted)
  })
}

/** A delivery may end the login: its own response is still sent. Requests without a response yet are cut off. */
async function finishResponses(responding: ReadonlySet<ServerResponse>): Promise<void> {
  await setImmediate()
  const unsent = [...responding].filter(({ writableEnded, closed }) => writableEnded && !closed)
  await Promise.all(unsent.map((response) => once(response, 'close')))
}

interface BoundPort {
  readonly port: number
  readonly servers: readonly Server[]
}

/**
 * Binds 127.0.0.1 and ::1, because a browser may try either family first; only 127.0.0.1 on a machine without IPv6.
 * Rejects with `login_port_unavailable`.
 */
async function bindLoopback(options: ListenOptions): Promise<BoundPort> {
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

/** Whatever is left of the port: each family that we hold is one that nobody else can take. */
async function bindAgain(port: number, options: ListenOptions): Promise<BoundPort> {
  const attempts = await Promise.allSettled(['127.0.0.1', '::1'].map((host) => listen(host, port, options)))
  const servers = attempts.flatMap((attempt) => (attempt.status === 'fulfilled' ? [attempt.value] : []))
  if (servers.length > 0) return { port, servers }
  throw unavailable(attempts.find((attempt) => attempt.status === 'rejected')?.reason)
}

async function bindBoth(options: ListenOptions): Promise<BoundPort> {
  const servers = [await listen('127.0.0.1', options.pickPort(), options)]
  const port = portOf(servers[0])
  try {
    servers.push(await listen('::1', port, options))
  } catch (error) {
    // If another program has the port on ::1, it would receive what is meant for us.
    if (!hasCode(error, 'EADDRNOTAVAIL', 'EAFNOSUPPORT', 'EINVAL')) {
      await closeAll(servers)
      throw error
    }
  }
  return { port, servers }
}

function listen(host: string, port: number, { handle, requestTimeoutMs }: ListenOptions): Promise<Server> {
  const server = createServer(
    {
      headersTimeout: requestTimeoutMs,
      requestTimeout: requestTimeoutMs,
      keepAliveTimeout: SECOND_MS,
      // How late a timeout may be noticed.
      connectionsCheckingInterval: Math.min(SECOND_MS, requestTimeoutMs),
      maxHeaderSize: 8 * 1024,
      insecureHTTPParser: false,
    },
    (request, response) => guarded(request.socket, handle)(request, response),
  )
  server.maxConnections = PLACES.strangers + BURST
  server.maxHeadersCount = 0
  createPlaces(PLACES).watch(server)
  server.on('clientError', (error, socket) => guarded(socket, refuseUnparsed)(error, socket))
  server.on('connect', (_request, socket) => socket.destroy())
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen({ host, port, exclusive: true }, () => {
      server.off('error', reject)
      // Without descriptors `accept` fails; an error that nobody hears ends the process.
      server.on('error', () => undefined)
      resolve(server)
    })
  })
}

/** For input that the parser could not read: sends a fixed response that repeats none of it, then disconnects. */
function refuseUnparsed(error: NodeJS.ErrnoException, socket: Duplex): void {
  socket.on('error', () => undefined)
  // Browsers open connections ahead of need, and any page can make them do so. A response on a connection that has been
  // silent would be read as the response to the navigation that uses it next: the key would be lost (measured: Chromium 156).
  if (!socket.writable || error.code === 'ERR_HTTP_REQUEST_TIMEOUT') return void socket.destroy()
  // Half-closed is not closed: a peer that never hangs up would keep its slot.
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

function unavailable(cause: unknown, port?: number): BrokerError {
  const hint = 'paste a key instead: prefect-auth login --key-stdin'
  const which = port === undefined ? 'a local port' : `port ${port}`
  return new BrokerError('login_port_unavailable', `cannot open ${which} for the browser`, {
    hint,
    cause,
  })
}
