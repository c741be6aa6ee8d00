/** The response of the lane: what Node's `ServerResponse` would write, for the requests that are recognised. */
import { STATUS_CODES } from 'node:http'
import type { Socket } from 'node:net'
import { type Clock, SECOND_MS } from '../../std/clock.js'
import type { Response, WholeAnswer } from '../request.js'

/** What Node adds to a response's own headers. */
interface Added {
  /** The `Date` header's value. */
  readonly date: () => string
  /** The lines that say whether the connection goes on. */
  readonly connection: string
}

/** How responses are written on a connection that goes on after them, or does not. */
interface Manner extends Added {
  /** A whole response as text, which is kept for as long as its date is true. */
  readonly render: (answer: WholeAnswer) => string
}

export type Manners = Readonly<Record<'goesOn' | 'last', Manner>>

export function createManners(keepAliveMs: number, clock: Clock): Manners {
  const date = createDateText(clock)
  const seconds = Math.floor(keepAliveMs / SECOND_MS)
  const create = (connection: string): Manner => ({
    ...{ date, connection },
    render: createRenderer({ date, connection }),
  })
  return {
    goesOn: create(`Connection: keep-alive\r\nKeep-Alive: timeout=${seconds}\r\n`),
    last: create('Connection: close\r\n'),
  }
}

export interface LaneResponse extends Response {
  /** The socket takes more. */
  drained(): void
  /** The response is over, sent or not: whoever listens for that is told. */
  over(): void
}

/** A status line with its headers, and no end. Throws for a value that would be more than its line. */
function headLines(
  status: number,
  headers: readonly string[],
  { date, connection }: Added,
  hasDate = true,
): string {
  const line = `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? 'unknown'}\r\n${safeLines(headers)}`
  return hasDate ? `${line}Date: ${date()}\r\n${connection}` : line + connection
}

function createRenderer(added: Added): (answer: WholeAnswer) => string {
  const kept = new WeakMap<WholeAnswer, { readonly text: string; readonly date: string }>()
  return (answer) => {
    const date = added.date()
    const known = kept.get(answer)
    if (known?.date === date) return known.text
    const { status, headers, body = '' } = answer
    const text = `${headLines(status, headers, added)}\r\n${body}`
    kept.set(answer, { text, date })
    return text
  }
}

/** `onEnd` is called once, when the whole response has been given to `socket`. */
export function createLaneResponse(socket: Socket, added: Added, onEnd: () => void): LaneResponse {
  let head: string | undefined
  let isHeadOut = false
  let hasBody = true
  let isChunked = false
  let isCorked = false
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
    if (isHeadOut && !isChunked) return socket.write(piece)
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
    response.uncork()
    if (response.destroyed) return
    response.writableFinished = true
    response.over()
    onEnd()
  }
  const response: { -readonly [Name in keyof LaneResponse]: LaneResponse[Name] } = {
    sendDate: true,
    // Fields and no accessors, which would give each response a hidden class of its own in V8, and cost more than all the rest.
    destroyed: socket.destroyed,
    headersSent: false,
    writableFinished: false,
    writableLength: 0,
    writeHead(status, headers) {
      if (head !== undefined) throw new Error('a response has one head')
      hasBody = status !== 204 && status !== 304
      isChunked = hasBody && !hasLength(headers)
      const lines = headLines(status, headers, added, response.sendDate)
      head = `${lines}${isChunked ? 'Transfer-Encoding: chunked\r\n' : ''}\r\n`
      response.headersSent = true
    },
    flushHeaders() {
      const begun = takeHead()
      if (begun !== '') socket.write(begun, 'latin1')
    },
    cork() {
      if (isOver || isCorked) return
      isCorked = true
      socket.cork()
    },
    uncork() {
      if (!isCorked) return
      isCorked = false
      socket.uncork()
      response.writableLength = socket.writableLength
    },
    write(piece) {
      if (isOver || !hasBody || piece.length === 0) return true
      const flows = writePiece(piece)
      response.writableLength = socket.writableLength
      return flows
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
      if (!link.every((each) => LINK.test(each))) throw new Error('an early hint is no link')
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
      response.destroyed = true
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
      response.uncork()
      response.destroyed = !response.writableFinished
      for (const listener of onClose ?? []) listener()
    },
  }
  return response
}

/** As `headerLines`. Throws for what would be more than its line: nobody's bytes begin another response. */
function safeLines(headers: readonly string[]): string {
  let lines = ''
  for (let index = 0; index + 1 < headers.length; index += 2) {
    const line = `${headers[index]}: ${headers[index + 1]}`
    if (NOT_IN_LINES.test(line)) throw new Error('a header has a character that none may have')
    lines += `${line}\r\n`
  }
  return lines
}

/** As Node's own check of an early hint: each value is one link. */
const LINK = /^<[^>]*>(?:\s*;\s*[^;"\s]+(?:=(")?[^;"\s]*\1)?)*$/

/** As Node's own check (RFC 9110 5.5). */
const NOT_IN_LINES = /[^\t\x20-\x7e\x80-\xff]/

function hasLength(headers: readonly string[]): boolean {
  for (let index = 0; index + 1 < headers.length; index += 2) {
    if (headers[index]?.length === 14 && headers[index]?.toLowerCase() === 'content-length') return true
  }
  return false
}

/** The `Date` header's value, made once a second. */
function createDateText(clock: Clock): () => string {
  let second = Number.NaN
  let text = ''
  return () => {
    const now = Math.floor(clock.now() / SECOND_MS)
    if (now !== second) {
      second = now
      text = new Date(now * SECOND_MS).toUTCString()
    }
    return text
  }
}
