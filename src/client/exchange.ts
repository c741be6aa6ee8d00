/** One request on a connection of its own, and its answer: read by us if it is plain, otherwise by node:http. */

// Every `env` and `exec` loads this: no package is imported here, and node:http, which is half of a start, only if it is needed.
import type { IncomingMessage } from 'node:http'
import { createConnection, type Socket } from 'node:net'
import { Duplex } from 'node:stream'
import { SECOND_MS } from '../std/clock.js'
import { type Failure, failed } from './failure.js'
import { type PlainAnswer, readPlainAnswer } from './plain-answer.js'

export interface SocketRequest {
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'
  /** With its query. */
  readonly path: string
  readonly headers?: Readonly<Record<string, string>>
  /** Sent as JSON. */
  readonly body?: unknown
  /** From sending to the last byte; for a stream, to the response's head. */
  readonly timeoutMs?: number
  readonly signal?: AbortSignal
}

type Outcome =
  /** By node:http, it may still be arriving. */
  | { readonly kind: 'answer'; readonly answer: PlainAnswer | IncomingMessage }
  | { readonly kind: 'absent'; readonly flaw: string }

const ABSENT: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'nothing is listening (stale socket)',
  ENOENT: 'no such socket',
  EACCES: 'permission denied',
  EPERM: 'permission denied',
}

const ANSWER_WITHIN_MS = 30 * SECOND_MS

/**
 * Sends `request` once. Resolves with `absent` if nobody listens at `path`. Rejects with `daemon_timeout`, `connection_lost`,
 * `cancelled`.
 */
export function exchange(path: string, userAgent: string, request: SocketRequest): Promise<Outcome> {
  const { timeoutMs = ANSWER_WITHIN_MS, signal } = request
  const bytes = renderRequest(userAgent, request)
  return new Promise((resolve, reject) => {
    const socket = createConnection(path)
    const timer = setTimeout(() => end(failed(noAnswer(timeoutMs))), timeoutMs)
    const onAbort = () => end(failed({ code: 'cancelled', kind: 'cancelled', detail: 'cancelled' }))
    const settle = () => {
      clearTimeout(timer)
      signal?.removeEventListener('abort', onAbort)
    }
    const fail = (error: Error) => {
      settle()
      const flaw = ABSENT[codeOf(error) ?? '']
      if (flaw !== undefined) resolve({ kind: 'absent', flaw })
      else reject(error.cause === undefined ? failed(lost(error)) : error)
    }
    let end = (error: Error): void => {
      socket.destroy()
      fail(error)
    }
    signal?.addEventListener('abort', onAbort, { once: true })
    const onMessage = (message: IncomingMessage) => {
      end = (error) => void message.destroy(error)
      // A stream has no end to wait for: its time-out ends with the response's head.
      if (request.headers?.accept === 'text/event-stream') clearTimeout(timer)
      message.on('close', settle)
      resolve({ kind: 'answer', answer: message })
    }
    let received: Buffer = Buffer.alloc(0)
    const handOver = () => {
      socket.pause()
      socket.off('data', onData).off('end', handOver)
      readByNode(request.method, socket, received).then((reading) => {
        reading.on('response', onMessage).on('error', fail)
      }, fail)
    }
    const onData = (chunk: Buffer) => {
      received = received.length === 0 ? chunk : Buffer.concat([received, chunk])
      const reading = readPlainAnswer(received)
      if (reading.kind === 'part') return
      if (reading.kind === 'other') return handOver()
      settle()
      socket.destroy()
      resolve({ kind: 'answer', answer: reading.answer })
    }
    socket.on('error', fail).on('data', onData).on('end', handOver)
    if (signal?.aborted) onAbort()
    else socket.write(bytes)
  })
}

/** The answer as node:http reads it, from its first byte. Nothing is sent: the request has been, and some must not be sent twice. */
async function readByNode(method: string, socket: Socket, received: Buffer) {
  const { request } = await import('node:http')
  const replay = new Duplex({
    read: () => void socket.resume(),
    write: (_chunk, _encoding, done) => done(),
    destroy(error, done) {
      socket.destroy()
      done(error)
    },
  })
  const reading = request({ createConnection: () => replay, method })
  reading.end()
  if (received.length > 0) replay.push(received)
  // A paused socket says that it has ended as well, perhaps while node:http was loaded.
  if (socket.readableEnded) replay.push(null)
  socket.on('data', (chunk) => {
    if (!replay.push(chunk)) socket.pause()
  })
  socket.on('end', () => replay.push(null))
  socket.on('error', (error) => replay.destroy(error))
  return reading
}

/** What node:http refuses to send: it would end a line, or is no character of a header. */
const UNSENDABLE = /[^\t\x20-\x7e\x80-\xff]/

function renderRequest(userAgent: string, request: SocketRequest): Buffer {
  const { method, path, headers, body } = request
  const json = body === undefined ? '' : JSON.stringify(body)
  const hasLength = method !== 'GET' && method !== 'DELETE'
  const fields = {
    host: 'authd',
    'user-agent': userAgent,
    // Failures are always problem documents, whatever the route sends: nothing has to be asked twice.
    accept: 'application/json, application/problem+json, text/plain',
    ...headers,
    ...(body !== undefined && { 'content-type': 'application/json' }),
    ...((hasLength || body !== undefined) && { 'content-length': String(Buffer.byteLength(json)) }),
    connection: 'close',
  }
  const lines = Object.entries(fields).map(([name, value]) => `${name}: ${value}`)
  if (/[^\x21-\x7e]/.test(path) || lines.some((line) => UNSENDABLE.test(line)))
    throw new TypeError('this request cannot be written as HTTP')
  const head = `${[`${method} ${path} HTTP/1.1`, ...lines].join('\r\n')}\r\n\r\n`
  return Buffer.concat([Buffer.from(head, 'latin1'), Buffer.from(json)])
}

function noAnswer(timeoutMs: number): Failure {
  return {
    code: 'daemon_timeout',
    kind: 'no_answer',
    detail: `the daemon did not respond within ${Math.round(timeoutMs / SECOND_MS)} s`,
    hint: 'prefect-auth logs',
  }
}

/** That the answer did not come to its end. */
export function lost(error: Error): Failure {
  return {
    code: 'connection_lost',
    kind: 'no_answer',
    detail: `lost the connection to the daemon: ${codeOf(error) ?? error.message}`,
    hint: 'prefect-auth logs',
  }
}

/** `ENOENT` of an error of the system. */
export function codeOf(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined
}
