/**
 * One request to the upstream, its answer streamed to the client as it comes. Written against undici's raw handler: the
 * friendlier ones join headers of one name, and cost more than the request.
 */
import type { ServerResponse } from 'node:http'
import type { Dispatcher } from 'undici'
import type { Visit } from './admit.js'
import type { ProxyBody } from './body.js'
import { responseHeaders } from './headers.js'
import { localLocation } from './upstream.js'

export type Outcome =
  /** The client has its answer, or is gone. */
  | { readonly kind: 'answered'; readonly bytes: number }
  /** 401 to our key; nothing of it went to the client. */
  | { readonly kind: 'rejected' }
  /** `begun`: the client has the beginning of an answer that will have no end. */
  | {
      readonly kind: 'failed'
      readonly error: unknown
      readonly wasSent: boolean
      readonly begun: boolean
    }

interface Attempt {
  readonly visit: Visit
  readonly method: string
  readonly headers: string[]
  readonly body: ProxyBody
  readonly response: ServerResponse
  /** Our own address, as the client knows it. */
  readonly localOrigin: string
  readonly dispatcher: Dispatcher
  readonly answerMs: number
  /** Whether a 401 is about our key, and not the client's to see. */
  readonly isKeyed: boolean
}

/** What may be held back of an answer, to send head and body in one piece. */
const ONE_PIECE_BYTES = 64 * 1024

/** Never rejects. */
export function attempt(options: Attempt): Promise<Outcome> {
  const { visit, method, headers, body, dispatcher, answerMs } = options
  const { target, upstream } = visit
  return new Promise((resolve) => {
    if (options.response.destroyed) return resolve({ kind: 'answered', bytes: 0 })
    const handler = createHandler(options, resolve)
    dispatcher.dispatch(
      {
        origin: upstream.origin,
        path: `${upstream.basePath}${target.path}${target.query}` || '/',
        method,
        headers,
        body: openBody(body),
        headersTimeout: answerMs,
        // Streams of events may be silent for as long as they like.
        bodyTimeout: 0,
      },
      handler,
    )
  })
}

function openBody(body: ProxyBody) {
  switch (body.kind) {
    case 'none':
      return null
    case 'whole':
      return body.bytes
    case 'stream':
      return body.open()
  }
}

function createHandler(options: Attempt, resolve: (outcome: Outcome) => void): Dispatcher.DispatchHandler {
  const { response, isKeyed } = options
  let abort: ((error?: Error) => void) | undefined
  let isOver = false
  let begun = false
  let isRejected = false
  let bytes = 0
  let onePiece: number | undefined
  let piece: Buffer | undefined
  const finish = (outcome: Outcome) => {
    response.off('close', leave)
    resolve(outcome)
  }
  const leave = () => {
    if (response.writableFinished) return
    isOver = true
    abort?.(new Error('the client has gone'))
    finish({ kind: 'answered', bytes })
  }
  response.on('close', leave)
  return {
    onConnect(cancel) {
      abort = cancel
      if (isOver) cancel(new Error('the client has gone'))
    },
    onHeaders(status, rawHeaders, resume, reason) {
      const raw = rawHeaders.map((each) => each.toString('latin1'))
      if (status < 200) {
        inform(response, status, raw)
        return true
      }
      if (status === 401 && isKeyed) {
        isRejected = true
        return true
      }
      writeHead(options, status, reason, raw)
      begun = true
      if (status === 304) {
        // It may tell the length of what it leaves out (RFC 9110 8.6), which undici waits for and then calls an error.
        isOver = true
        response.end()
        finish({ kind: 'answered', bytes: 0 })
        return true
      }
      onePiece = lengthOf(raw)
      // Without a length it may be a stream, whose first event is still to happen: the head must not wait for it.
      if (onePiece === undefined && status !== 204) response.flushHeaders()
      response.on('drain', resume)
      return true
    },
    onData(chunk) {
      if (isRejected || isOver) return true
      bytes += chunk.length
      // Head and body in one write, where all of the body is here.
      if (chunk.length === onePiece && chunk.length <= ONE_PIECE_BYTES) {
        piece = chunk
        return true
      }
      return response.write(chunk)
    },
    onComplete(trailers) {
      if (isOver) return
      if (isRejected) return finish({ kind: 'rejected' })
      addTrailers(response, trailers)
      if (piece === undefined) response.end()
      else response.end(piece)
      finish({ kind: 'answered', bytes })
    },
    onError(error) {
      if (isOver) return
      if (begun) response.destroy()
      finish({ kind: 'failed', error, wasSent: abort !== undefined, begun })
    },
  }
}

function writeHead(
  { response, visit: { upstream, target }, localOrigin }: Attempt,
  status: number,
  reason: string,
  raw: readonly string[],
): void {
  const ours = { origin: localOrigin, prefix: target.prefix }
  const headers = responseHeaders(raw, (location) => localLocation(location, upstream, ours))
  response.sendDate = false
  response.writeHead(status, reason, headers)
}

/** Before the answer there may be hints: those that Node can say are said. */
function inform(response: ServerResponse, status: number, raw: readonly string[]): void {
  if (status === 102) response.writeProcessing()
  if (status !== 103) return
  const hints: Record<string, string[]> = {}
  for (let index = 0; index + 1 < raw.length; index += 2) {
    const name = (raw[index] ?? '').toLowerCase()
    hints[name] = [...(hints[name] ?? []), raw[index + 1] ?? '']
  }
  if (hints.link !== undefined) response.writeEarlyHints(hints)
}

function lengthOf(raw: readonly string[]): number | undefined {
  for (let index = 0; index + 1 < raw.length; index += 2) {
    if (raw[index]?.length !== 14 || raw[index]?.toLowerCase() !== 'content-length') continue
    return Number(raw[index + 1])
  }
  return undefined
}

function addTrailers(response: ServerResponse, trailers: readonly (string | Buffer)[] | null): void {
  if (trailers === null || trailers.length === 0) return
  const pairs: [string, string][] = []
  for (let index = 0; index + 1 < trailers.length; index += 2) {
    pairs.push([text(trailers[index]), text(trailers[index + 1])])
  }
  response.addTrailers(pairs)
}

function text(value: string | Buffer | undefined): string {
  return typeof value === 'string' ? value : (value?.toString('latin1') ?? '')
}
