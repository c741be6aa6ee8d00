/** HTTP over the daemon's unix socket: finds it among its candidates, trusts only one of ours. */

// The fast path loads this: no package is imported here.
import { lstatSync } from 'node:fs'
import type { IncomingMessage } from 'node:http'
import { codeOf, exchange, lost, type SocketRequest } from './exchange.js'
import { type Failure, failed, failWith } from './failure.js'
import { isLockHeld } from './held-lock.js'

export type { SocketRequest } from './exchange.js'

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

/** Longer than anything the daemon sends; whatever else is behind the socket cannot fill our memory. */
const MAX_ANSWER = 64 * 1024 * 1024

export function createTransport({ candidates, uid, userAgent, lockDir }: TransportDeps): Transport {
  let answered: string | undefined

  async function dial(request: SocketRequest) {
    const tried: string[] = []
    for (const path of answered === undefined ? candidates : [answered]) {
      const flaw = findFlaw(path, uid)
      const outcome =
        flaw === undefined ? await exchange(path, userAgent, request) : { kind: 'absent' as const, flaw }
      if (outcome.kind === 'answer') {
        answered = path
        return outcome.answer
      }
      tried.push(`${path}: ${outcome.flaw}`)
    }
    const isHeld = lockDir !== undefined && (await isLockHeld(lockDir))
    return failWith(isHeld ? withoutSocket(tried) : notRunning(tried))
  }

  return {
    async send(request) {
      const answer = await dial(request)
      const text = 'text' in answer ? answer.text : await readAll(answer)
      const { etag, 'prefect-auth-notice': notice } = answer.headers
      return { status: answer.statusCode ?? 0, etag, text, ...(typeof notice === 'string' && { notice }) }
    },
    async stream(request) {
      const answer = await dial(request)
      const chunks = 'text' in answer ? inOnePiece(answer.text) : answer.setEncoding('utf8')
      return { status: answer.statusCode ?? 0, chunks }
    },
    socket: () => answered,
  }
}

/** Why this path must not be used; `undefined` if it may. */
function findFlaw(path: string, uid: number | undefined): string | undefined {
  try {
    const stats = lstatSync(path)
    if (!stats.isSocket()) return 'not a socket'
    // Another user's socket is a trap for our keys and passphrases.
    if (uid !== undefined && stats.uid !== uid) return `belongs to another user (uid ${stats.uid})`
    return undefined
  } catch (error) {
    return codeOf(error) === 'EACCES' ? 'permission denied' : 'no such socket'
  }
}

async function* inOnePiece(text: string): AsyncGenerator<string> {
  yield text
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
