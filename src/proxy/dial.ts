/** WebSockets to the upstream: opens one, or returns its refusal. */
import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import type { Dispatcher } from 'undici'
import { rewriteHeaders } from '../http/headers.js'
import type { Visit } from './admission.js'
import { addCustomHeaders, handshakeHeaders, headerTexts, localLocation, responseHeaders } from './headers.js'

export type Dialled =
  | { readonly kind: 'open'; readonly socket: Duplex; readonly headers: readonly string[] }
  | {
      readonly kind: 'refused'
      readonly status: number
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
  /** The client's handshake was accepted before: without extensions, and with `prefect`. */
  readonly isAccepted: boolean
}

const REFUSAL_BYTES = 256 * 1024

/** Never rejects. */
export function dial(options: Dial): Promise<Dialled> {
  const { visit, request, authorization, dispatcher, answerMs, isAccepted } = options
  const { target, upstream } = visit
  const headers = handshakeHeaders(request.rawHeaders, isAccepted)
  addCustomHeaders(headers, upstream)
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
  let refusal: { readonly status: number; readonly headers: string[] } | undefined
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
    onHeaders(status, rawHeaders) {
      if (status < 200) return true
      const ours = { origin: `http://${request.headers.host ?? ''}`, prefix: visit.target.prefix }
      const headers = responseHeaders(rawHeaders ?? [], (location) =>
        localLocation(location, visit.upstream, ours),
      )
      refusal = { status, headers }
      return true
    },
    onData(chunk) {
      size += chunk.length
      if (size <= REFUSAL_BYTES) chunks.push(chunk)
      return true
    },
    onComplete() {
      if (refusal === undefined) return resolve({ kind: 'failed', error: undefined, wasSent })
      // Half of a body would be sent as if it were the whole.
      const body = size > REFUSAL_BYTES ? Buffer.alloc(0) : Buffer.concat(chunks)
      resolve({ kind: 'refused', ...refusal, headers: withLength(refusal.headers, body.length), body })
    },
    onError(error) {
      resolve({ kind: 'failed', error, wasSent })
    },
  }
}

function withLength(headers: readonly string[], length: number): readonly string[] {
  const isDropped = (name: string) =>
    name === 'content-length' || (length === 0 && name === 'content-encoding')
  const others = rewriteHeaders(headers, (name, value) => (isDropped(name) ? undefined : value))
  return [...others, 'content-length', String(length)]
}
