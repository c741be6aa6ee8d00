/** The response of the lane: what Node's `ServerResponse` would write, for the requests that are recognised. */
import { STATUS_CODES } from 'node:http'
import type { Socket } from 'node:net'
import type { Response } from './request.js'

interface Manner {
  readonly keepsAlive: boolean
  /** In the `Keep-Alive` header. */
  readonly keepAliveMs: number
  /** The `Date` header's value. */
  readonly date: () => string
}

export interface LaneResponse extends Response {
  /** The socket takes more. */
  drained(): void
  /** The response is over, sent or not: whoever listens for that is told. */
  over(): void
}

/** `onEnd` is called once, when the whole response has been given to `socket`. */
export function createLaneResponse(
  socket: Socket,
  { keepsAlive, keepAliveMs, date }: Manner,
  onEnd: () => void,
): LaneResponse {
  let head: string | undefined
  let isHeadOut = false
  let hasBody = true
  let isChunked = false
  let isEnded = false
  let isOver = false
  let trailers = ''
  let onClose: (() => void)[] | undefined
  let onDrain: (() => void)[] | undefined
  /** The head, if it is still to be sent. */
  const takeHead = (): string => {
    if (head === undefined) throw new Error('a response needs a head')
    if (isHeadOut) return ''
    isHeadOut = true
    return head
  }
  const writePiece = (piece: Buffer): boolean => {
    socket.cork()
    const begun = takeHead()
    if (begun !== '') socket.write(begun, 'latin1')
    if (isChunked) socket.write(`${piece.length.toString(16)}\r\n`, 'latin1')
    const goesOn = socket.write(piece)
    const flows = isChunked ? socket.write('\r\n', 'latin1') : goesOn
    socket.uncork()
    return flows
  }
  const finish = () => {
    isEnded = true
    response.over()
    onEnd()
  }
  const response: LaneResponse = {
    sendDate: true,
    get destroyed() {
      return socket.destroyed || (isOver && !isEnded)
    },
    get headersSent() {
      return head !== undefined
    },
    get writableFinished() {
      return isEnded
    },
    get writableLength() {
      return socket.writableLength
    },
    writeHead(status, headers) {
      if (head !== undefined) throw new Error('a response has one head')
      hasBody = status !== 204 && status !== 304
      isChunked = hasBody && !hasLength(headers)
      head =
        `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? 'unknown'}\r\n${safeLines(headers)}` +
        (response.sendDate ? `Date: ${date()}\r\n` : '') +
        (keepsAlive
          ? `Connection: keep-alive\r\nKeep-Alive: timeout=${Math.floor(keepAliveMs / 1000)}\r\n`
          : 'Connection: close\r\n') +
        (isChunked ? 'Transfer-Encoding: chunked\r\n\r\n' : '\r\n')
    },
    flushHeaders() {
      const begun = takeHead()
      if (begun !== '') socket.write(begun, 'latin1')
    },
    write(piece) {
      if (isOver || !hasBody || piece.length === 0) return true
      return writePiece(piece)
    },
    end(last, encoding = 'utf8') {
      if (isOver) return
      if (typeof last === 'string' && !isChunked && hasBody) socket.write(takeHead() + last, encoding)
      else {
        if (last !== undefined && last.length > 0 && hasBody) {
          writePiece(typeof last === 'string' ? Buffer.from(last, encoding) : last)
        }
        const rest = takeHead() + (isChunked ? `0\r\n${trailers}\r\n` : '')
        if (rest !== '') socket.write(rest, 'latin1')
      }
      finish()
    },
    writeProcessing() {
      if (head === undefined) socket.write('HTTP/1.1 102 Processing\r\n\r\n', 'latin1')
    },
    writeEarlyHints({ link }) {
      if (head !== undefined) return
      socket.write(`HTTP/1.1 103 Early Hints\r\n${safeLines(['Link', link.join(', ')])}\r\n`, 'latin1')
    },
    addTrailers(list) {
      trailers += safeLines(list.flat())
    },
    on(_close, listener) {
      if (isOver) listener()
      else onClose = [...(onClose ?? []), listener]
    },
    once(event, listener) {
      if (event === 'drain') onDrain = [...(onDrain ?? []), listener]
      else response.on('close', listener)
    },
    destroy() {
      socket.destroy()
    },
    drained() {
      const waiting = onDrain
      onDrain = undefined
      for (const listener of waiting ?? []) listener()
    },
    over() {
      if (isOver) return
      isOver = true
      for (const listener of onClose ?? []) listener()
    },
  }
  return response
}

/** As `headerLines`. Throws for a value that would be more than its line: nobody's bytes begin another response. */
function safeLines(headers: readonly string[]): string {
  let lines = ''
  for (let index = 0; index + 1 < headers.length; index += 2) {
    const value = headers[index + 1] ?? ''
    if (NO_VALUE.test(value)) throw new Error('a header has a character that none may have')
    lines += `${headers[index]}: ${value}\r\n`
  }
  return lines
}

/** As Node's own check (RFC 9110 5.5). */
const NO_VALUE = /[^\t\x20-\x7e\x80-\xff]/

function hasLength(headers: readonly string[]): boolean {
  for (let index = 0; index + 1 < headers.length; index += 2) {
    if (headers[index]?.length === 14 && headers[index]?.toLowerCase() === 'content-length') return true
  }
  return false
}
