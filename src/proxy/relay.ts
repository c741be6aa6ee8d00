/** The upstream's response, passed on to the client while it arrives. */
import type { Dispatcher } from 'undici'
import { pairs } from '../http/headers.js'
import type { Response } from '../http/request.js'
import type { Visit } from './admission.js'
import { byName, contentLength, headerTexts, localLocation, responseHeaders } from './headers.js'

/** What became of a request that was sent. */
export type Outcome =
  /** The client has its response, or is gone. */
  | { readonly kind: 'answered'; readonly bytes: number }
  /** 401 to our key; nothing of it went to the client. */
  | { readonly kind: 'rejected' }
  /** `begun`: the client has the beginning of a response that will never be complete. */
  | {
      readonly kind: 'failed'
      readonly error: unknown
      readonly wasSent: boolean
      readonly begun: boolean
    }

/** A body of at most this length is held back, to send head and body in one piece. */
const ONE_PIECE_BYTES = 64 * 1024
/** At most this length, it is sent as text, byte for byte: Node joins it to the head, and to copy it costs less than to send two. */
const ONE_TEXT_BYTES = 8 * 1024
/** Of a body, what may wait in memory for a client that reads more slowly than the upstream sends, before that has to wait. */
const AHEAD_BYTES = 128 * 1024

/** Pieces of a long body that came at once are sent in one write, up to this: TLS delivers 16 KiB at most. */
const JOINED_BYTES = 64 * 1024

/**
 * Calls `resolve` once, and `sweep` with the length of each piece that is not all of a body. `host`: under which the client knows us.
 * Undici's raw handler: the friendlier ones join headers of one name, and cost more than the request.
 */
export function createRelay(
  visit: Visit,
  response: Response,
  host: string,
  resolve: (outcome: Outcome) => void,
  sweep: (bytes: number) => void,
): Dispatcher.DispatchHandler {
  const relocate = (location: string) => {
    const ours = { origin: `http://${host}`, prefix: visit.target.prefix }
    return localLocation(location, visit.upstream, ours)
  }
  let abort: ((error?: Error) => void) | undefined
  let isOver = false
  let begun = false
  let isRejected = false
  let bytes = 0
  let onePiece: number | undefined
  let piece: Buffer | undefined
  let readOn: (() => void) | undefined
  let isJoining = false
  const sendJoined = () => {
    // What ends a response sends all of it; the connection may be another one's by now.
    if (isJoining && !isOver) response.uncork()
    isJoining = false
  }
  const finish = (outcome: Outcome) => {
    isOver = true
    resolve(outcome)
  }
  response.on('close', () => {
    if (isOver || response.writableFinished) return
    finish({ kind: 'answered', bytes })
    abort?.(new Error('the client has gone'))
  })
  return {
    onConnect(cancel) {
      abort = cancel
      if (isOver) cancel(new Error('the client has gone'))
    },
    onHeaders(status, rawHeaders, resume) {
      if (status < 200) {
        inform(response, status, headerTexts(rawHeaders))
        return true
      }
      // About our key, and so not for the client.
      if (status === 401) {
        isRejected = true
        return true
      }
      response.sendDate = false
      // Without the upstream's own words for it: anything may be in them.
      const headers = responseHeaders(rawHeaders ?? [], relocate)
      response.writeHead(status, headers)
      begun = true
      if (status === 304) {
        // It may state the length of what it leaves out (RFC 9110 8.6), which undici waits for and then calls an error.
        response.end()
        finish({ kind: 'answered', bytes: 0 })
        return true
      }
      onePiece = contentLength(headers)
      // Without a length it may be a stream, whose first event is yet to happen: the head must not wait for it.
      if (onePiece === undefined && status !== 204) response.flushHeaders()
      readOn = resume
      return true
    },
    onData(chunk) {
      if (isRejected || isOver) return true
      bytes += chunk.length
      // The whole body is here: head and body in one write.
      if (chunk.length === onePiece && chunk.length <= ONE_PIECE_BYTES) {
        piece = chunk
        return true
      }
      sweep(chunk.length)
      // Without a length each piece may be an event, which waits for nothing.
      if (onePiece !== undefined && !isJoining) {
        isJoining = true
        response.cork()
        setImmediate(sendJoined)
      }
      const isTaken = response.write(chunk)
      if (response.writableLength >= JOINED_BYTES) sendJoined()
      if (isTaken || response.writableLength < AHEAD_BYTES) return true
      response.once('drain', () => readOn?.())
      return false
    },
    onComplete(trailers) {
      if (isOver) return
      if (isRejected) return finish({ kind: 'rejected' })
      addTrailers(response, trailers)
      if (piece === undefined) response.end()
      else if (piece.length > ONE_TEXT_BYTES) response.end(piece)
      else response.end(piece.toString('latin1'), 'latin1')
      finish({ kind: 'answered', bytes })
    },
    onError(error) {
      if (isOver) return
      sendJoined()
      if (begun) response.destroy()
      finish({ kind: 'failed', error, wasSent: abort !== undefined, begun })
    },
  }
}

/** Passes on informational responses, as far as Node can send them: what it cannot is no reason to lose the answer. */
function inform(response: Response, status: number, raw: readonly string[]): void {
  try {
    if (status === 102) response.writeProcessing()
    if (status !== 103) return
    const { link } = byName(raw)
    if (link !== undefined) response.writeEarlyHints({ link })
  } catch {
    return
  }
}

function addTrailers(response: Response, trailers: readonly (string | Buffer)[] | null): void {
  if (trailers === null || trailers.length === 0) return
  response.addTrailers(
    Array.from(pairs(headerTexts(trailers)), ([name, value]): [string, string] => [name, value]),
  )
}
