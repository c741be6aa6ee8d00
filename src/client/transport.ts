/** HTTP over the daemon's unix socket: finds it among its candidates, trusts only one of ours. */

// The fast path loads this: no package is imported here.
import { lstat } from 'node:fs/promises'
import { request as httpRequest, type IncomingMessage, type RequestOptions } from 'node:http'
import { SECOND_MS } from '../std/clock.js'
import { type Failure, failed, failWith } from './failure.js'
import { isLockHeld } from './held-lock.js'

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

export interface SocketAnswer {
  readonly status: number
  readonly etag: string | undefined
  /** What the user should know about a good answer. */
  readonly notice?: string
  readonly text: string
}

interface SocketStream {
  readonly status: number
  readonly chunks: AsyncIterable<string>
}

export interface Transport {
  /** Resolves with any status. Rejects with `daemon_not_running`, `daemon_timeout`, `connection_lost`, `cancelled`. */
  send(request: SocketRequest): Promise<SocketAnswer>
  /** The response's body as it arrives. Rejects as `send` does. */
  stream(request: SocketRequest): Promise<SocketStream>
  /** The path of the socket that is in use; `undefined` before the first response. */
  socket(): string | undefined
}

interface TransportDeps {
  /** Paths, best first. */
  readonly candidates: readonly string[]
  /** Our user id: another user's socket is never used. */
  readonly uid?: number
  readonly userAgent: string
  /** Of the state directory: tells a daemon whose socket was removed from one that does not run. */
  readonly lockDir?: string
}

const ANSWER_WITHIN_MS = 30 * SECOND_MS
/** Longer than anything the daemon sends; whatever else is behind the socket cannot fill our memory. */
const MAX_ANSWER = 64 * 1024 * 1024

export function createTransport({ candidates, uid, userAgent, lockDir }: TransportDeps): Transport {
  let answered: string | undefined

  async function dial(request: SocketRequest): Promise<IncomingMessage> {
    const tried: string[] = []
    for (const path of answered === undefined ? candidates : [answered]) {
      const flaw = await findFlaw(path, uid)
      const outcome =
        flaw === undefined ? await exchange(path, userAgent, request) : { kind: 'absent' as const, flaw }
      if (outcome.kind === 'answer') {
        answered = path
        return outcome.message
      }
      tried.push(`${path}: ${outcome.flaw}`)
    }
    const isHeld = lockDir !== undefined && (await isLockHeld(lockDir))
    return failWith(isHeld ? withoutSocket(tried) : notRunning(tried))
  }

  return {
    async send(request) {
      const message = await dial(request)
      const text = await readAll(message)
      const notice = message.headers['prefect-auth-notice']
      return {
        status: message.statusCode ?? 0,
        etag: message.headers.etag,
        text,
        ...(typeof notice === 'string' && { notice }),
      }
    },
    async stream(request) {
      const message = await dial(request)
      message.setEncoding('utf8')
      return { status: message.statusCode ?? 0, chunks: message }
    },
    socket: () => answered,
  }
}

/** Why this path must not be used; `undefined` if it may. */
async function findFlaw(path: string, uid: number | undefined): Promise<string | undefined> {
  try {
    const stats = await lstat(path)
    if (!stats.isSocket()) return 'not a socket'
    // Another user's socket is a trap for our keys and passphrases.
    if (uid !== undefined && stats.uid !== uid) return `belongs to another user (uid ${stats.uid})`
    return undefined
  } catch (error) {
    return codeOf(error) === 'EACCES' ? 'permission denied' : 'no such socket'
  }
}

type Outcome =
  | { readonly kind: 'answer'; readonly message: IncomingMessage }
  | { readonly kind: 'absent'; readonly flaw: string }

const ABSENT: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'nothing is listening (stale socket)',
  ENOENT: 'no such socket',
  EACCES: 'permission denied',
  EPERM: 'permission denied',
}

function exchange(path: string, userAgent: string, request: SocketRequest): Promise<Outcome> {
  const { timeoutMs = ANSWER_WITHIN_MS, signal } = request
  return new Promise((resolve, reject) => {
    const body = request.body === undefined ? undefined : JSON.stringify(request.body)
    const sent = httpRequest(requestOptions(path, userAgent, request, body))
    const timer = setTimeout(() => sent.destroy(failed(noAnswer(timeoutMs))), timeoutMs)
    const onAbort = () => sent.destroy(failed({ code: 'cancelled', kind: 'cancelled', detail: 'cancelled' }))
    if (signal?.aborted) onAbort()
    signal?.addEventListener('abort', onAbort, { once: true })
    sent.on('response', (message) => {
      // A stream has no end to wait for: its time-out ends with the response's head.
      if (request.headers?.accept === 'text/event-stream') clearTimeout(timer)
      message.on('close', () => {
        clearTimeout(timer)
        signal?.removeEventListener('abort', onAbort)
      })
      resolve({ kind: 'answer', message })
    })
    sent.on('error', (error) => {
      clearTimeout(timer)
      const flaw = ABSENT[codeOf(error) ?? '']
      if (flaw !== undefined) resolve({ kind: 'absent', flaw })
      else reject(error.cause === undefined ? failed(lost(error)) : error)
    })
    sent.end(body)
  })
}

function requestOptions(
  socketPath: string,
  userAgent: string,
  request: SocketRequest,
  body: string | undefined,
): RequestOptions {
  return {
    socketPath,
    method: request.method,
    path: request.path,
    agent: false,
    headers: {
      host: 'authd',
      'user-agent': userAgent,
      // Failures are always problem documents, whatever the route sends: nothing has to be asked twice.
      accept: 'application/json, application/problem+json, text/plain',
      ...request.headers,
      ...(body === undefined ? undefined : bodyHeaders(body)),
    },
  }
}

function bodyHeaders(body: string) {
  return { 'content-type': 'application/json', 'content-length': String(Buffer.byteLength(body)) }
}

async function readAll(message: IncomingMessage): Promise<string> {
  message.setEncoding('utf8')
  let text = ''
  try {
    for await (const chunk of message) {
      text += chunk
      if (text.length > MAX_ANSWER) throw new Error('response too large')
    }
  } catch (error) {
    throw error instanceof Error && error.cause === undefined ? failed(lost(error)) : error
  }
  return text
}

function notRunning(tried: readonly string[]): Failure {
  return {
    code: 'daemon_not_running',
    kind: 'not_running',
    detail: ['the daemon is not running', ...tried].join('\n  '),
    hint: 'prefect-auth service install      (by hand: prefect-authd; in a checkout: npm start)',
  }
}

/** It holds its state, so nobody can start another one; it opens its socket again by itself. */
function withoutSocket(tried: readonly string[]): Failure {
  return {
    code: 'daemon_not_running',
    kind: 'not_running',
    detail: ['a daemon runs, but its socket is not here (removed, or under another path)', ...tried].join(
      '\n  ',
    ),
    hint: 'try again in half a minute: prefect-auth status      (or set PREFECT_AUTH_SOCKET as the daemon has it)',
  }
}

function noAnswer(timeoutMs: number): Failure {
  return {
    code: 'daemon_timeout',
    kind: 'no_answer',
    detail: `the daemon did not respond within ${Math.round(timeoutMs / SECOND_MS)} s`,
    hint: 'prefect-auth logs',
  }
}

function lost(error: Error): Failure {
  return {
    code: 'connection_lost',
    kind: 'no_answer',
    detail: `lost the connection to the daemon: ${codeOf(error) ?? error.message}`,
    hint: 'prefect-auth logs',
  }
}

function codeOf(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined
}
