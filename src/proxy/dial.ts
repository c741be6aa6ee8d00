/** WebSockets to the upstream: opens one or returns its refusal, and joins it to the client's. */
import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import type { Dispatcher } from 'undici'
import { rewriteHeaders } from '../http/headers.js'
import { type Clock, SECOND_MS } from '../std/clock.js'
import type { Visit } from './admission.js'
import { handshakeHeaders, headerTexts, localLocation, responseHeaders } from './headers.js'

export type Dialled =
  | { readonly kind: 'open'; readonly socket: Duplex; readonly headers: readonly string[] }
  | {
      readonly kind: 'refused'
      readonly status: number
      readonly reason: string
      /** Flat, with a length. */
      readonly headers: readonly string[]
      readonly body: Buffer
    }
  | { readonly kind: 'failed'; readonly error: unknown; readonly wasSent: boolean }

interface Dial {
  readonly visit: Visit
  readonly request: IncomingMessage
  readonly authorization: string | undefined
  readonly dispatcher: Dispatcher
  readonly answerMs: number
  /** The client has gone. */
  readonly signal: AbortSignal
}

const REFUSAL_BYTES = 256 * 1024

/** Never rejects. */
export function dial(options: Dial): Promise<Dialled> {
  const { visit, request, authorization, dispatcher, answerMs } = options
  const { target, upstream } = visit
  const headers = handshakeHeaders(request.rawHeaders)
  if (authorization !== undefined) headers.push('authorization', authorization)
  return new Promise((resolve) => {
    dispatcher.dispatch(
      {
        origin: upstream.origin,
        path: `${upstream.basePath}${target.path}${target.query}` || '/',
        method: 'GET',
        upgrade: 'websocket',
        headers,
        headersTimeout: answerMs,
        bodyTimeout: answerMs,
      },
      createHandler(options, resolve),
    )
  })
}

function createHandler(
  { visit, request, signal }: Dial,
  resolve: (dialled: Dialled) => void,
): Dispatcher.DispatchHandler {
  const chunks: Buffer[] = []
  let size = 0
  let wasSent = false
  let refusal: { readonly status: number; readonly reason: string; readonly headers: string[] } | undefined
  return {
    onConnect(abort) {
      wasSent = true
      const leave = () => abort(new Error('the client has gone'))
      signal.addEventListener('abort', leave, { once: true })
      if (signal.aborted) leave()
    },
    onUpgrade(_status, headers, socket) {
      resolve({ kind: 'open', socket, headers: headerTexts(headers) })
    },
    onHeaders(status, rawHeaders, _resume, reason) {
      if (status < 200) return true
      const ours = { origin: `http://${request.headers.host ?? ''}`, prefix: visit.target.prefix }
      const headers = responseHeaders(headerTexts(rawHeaders), (location) =>
        localLocation(location, visit.upstream, ours),
      )
      refusal = { status, reason, headers }
      return true
    },
    onData(chunk) {
      size += chunk.length
      if (size <= REFUSAL_BYTES) chunks.push(chunk)
      return true
    },
    onComplete() {
      if (refusal === undefined) return resolve({ kind: 'failed', error: undefined, wasSent })
      const body = Buffer.concat(chunks)
      resolve({ kind: 'refused', ...refusal, headers: withLength(refusal.headers, body.length), body })
    },
    onError(error) {
      resolve({ kind: 'failed', error, wasSent })
    },
  }
}

function withLength(headers: readonly string[], length: number): readonly string[] {
  const others = rewriteHeaders(headers, (name, value) => (name === 'content-length' ? undefined : value))
  return [...others, 'content-length', String(length)]
}

/** The two ends of a WebSocket. */
export interface Pair {
  readonly client: Duplex
  readonly upstream: Duplex
}

/** After one side has closed, how long the rest of what it sent may take to arrive. */
const LINGER_MS = 2 * SECOND_MS

/** Joins two sockets. `onClose` is called once, when both are closed. */
export function splice(one: Duplex, other: Duplex, clock: Clock, onClose: () => void): void {
  let open = 2
  const cut = () => {
    one.destroy()
    other.destroy()
  }
  const join = (from: Duplex, to: Duplex) => {
    from.pipe(to)
    from.on('error', cut)
    from.on('close', () => {
      open -= 1
      if (open === 0) return onClose()
      // Bytes already written still go out; a side that never hangs up is cut.
      to.end()
      clock.after(LINGER_MS, cut)
    })
  }
  join(one, other)
  join(other, one)
}
