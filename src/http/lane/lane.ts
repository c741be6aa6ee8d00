/** The lane in front of Node's parser: requests that are recognised go through it, every other connection is handed over untouched. */
import type { Server } from 'node:http'
import type { Socket } from 'node:net'
import type { Clock } from '../../std/clock.js'
import { createDeadlines } from '../../std/deadlines.js'
import { createRoll } from '../../std/roll.js'
import { guarded } from '../guarded.js'
import type { Response, WholeAnswer, WholeRequest } from '../request.js'
import { isLineEnd, PLAIN_BODY_BYTES, PLAIN_HEAD_BYTES, type Recognised, recognise } from './recogniser.js'
import { createLaneResponse, createManners, type LaneResponse, type Manners } from './response.js'

/** How one recognised request is answered: by the first of `respond`, `open` and `handOver` that is called. */
export interface Turn {
  /** Sends a whole response. `isLast`: the connection ends with it. */
  respond(answer: WholeAnswer, isLast?: boolean): void
  /** A response to be sent piece by piece. If the client has gone, it is destroyed already. */
  open(): Response
  /** Node's parser is to read the request, and whatever comes on this connection after it. */
  handOver(): void
  /** `listener` is called once: the response is out, or the client has gone, or Node has the request. */
  whenOver(listener: () => void): void
}

export type LaneHandler = (request: WholeRequest, turn: Turn) => void

interface LaneLimits {
  readonly headersMs: number
  readonly keepAliveMs: number
}

/** How long the rest of a request may take before Node's parser, with all its time limits, gets what is there. */
const REST_MS = 50
/** A connection keeps a request up to this length, to know the same head when it comes again. */
const MEMO_BYTES = 2 * 1024
/** What is read of the next requests during an answer: without reading, nobody would notice that the client leaves. */
const AHEAD_BYTES = PLAIN_HEAD_BYTES + PLAIN_BODY_BYTES

/**
 * Opens the lane in front of `server`, before anybody subscribes to it. What the server closes, the lane closes. `refuse` ends a
 * connection that has said nothing in time, or has left in the middle of a request, as if Node had noticed.
 */
export function openLane(
  server: Server,
  handle: LaneHandler,
  limits: LaneLimits,
  refuse: SeatParts['refuse'],
  clock: Clock,
): void {
  // Node's parser listens for connections; the lane calls it for those that are to have it.
  const [parse] = server.listeners('connection')
  if (parse === undefined) return
  server.removeAllListeners('connection')
  const deadlines = createDeadlines(clock)
  const seats = createRoll<Seat>()
  const handed = new WeakSet<Socket>()
  const manners = createManners(limits.keepAliveMs, clock)
  server.on('connection', (socket: Socket) => {
    // Announced again when an offered upgrade is not taken.
    if (handed.has(socket)) return void Reflect.apply(parse, server, [socket])
    const seat = createSeat(socket, {
      ...{ handle, limits, deadlines, manners, refuse },
      onLeave: () => leave(),
      handOver(bytes) {
        handed.add(socket)
        socket.pause()
        if (bytes.length > 0) socket.unshift(bytes)
        Reflect.apply(parse, server, [socket])
        socket.resume()
      },
    })
    const leave = seats.enter(seat)
  })
  const { closeIdleConnections, closeAllConnections } = server
  // Node calls the first whenever a server is closed.
  server.closeIdleConnections = () => {
    Reflect.apply(closeIdleConnections, server, [])
    for (const seat of seats.members()) if (seat.isIdle()) seat.cut()
  }
  server.closeAllConnections = () => {
    Reflect.apply(closeAllConnections, server, [])
    for (const seat of seats.members()) seat.cut()
  }
}

/** A connection in the lane. */
interface Seat {
  /** It has had an answer, and has said nothing since. */
  isIdle(): boolean
  cut(): void
}

/** As Node's parser calls it. */
type Flaw = 'ERR_HTTP_REQUEST_TIMEOUT' | 'HPE_INVALID_EOF_STATE' | 'HPE_CLOSED_CONNECTION'

interface SeatParts {
  readonly handle: LaneHandler
  readonly limits: LaneLimits
  readonly deadlines: ReturnType<typeof createDeadlines>
  readonly manners: Manners
  readonly refuse: (socket: Socket, code: Flaw) => void
  /** The connection has closed, or is Node's from now on. */
  readonly onLeave: () => void
  readonly handOver: (bytes: Buffer) => void
}

function createSeat(socket: Socket, parts: SeatParts): Seat {
  const { handle, limits, deadlines, manners } = parts
  let since = deadlines.now()
  let answers = 0
  /** Nothing may follow the request that has the turn. */
  let isLast = false
  /** Its last answer was given, or it is Node's. */
  let isOver = false
  /** While a request has no answer. */
  let turn: Turn | undefined
  let response: LaneResponse | undefined
  let onOver: (() => void) | undefined
  /** Bytes of a request that is not whole yet, or that came during an answer. */
  let kept: Buffer | undefined
  let rest: { cancel(): void } | undefined
  let memo: Memo | undefined

  const leave = () => {
    isOver = true
    late.cancel()
    rest?.cancel()
    socket
      .off('data', onData)
      .off('end', onEnd)
      .off('drain', onDrain)
      .off('error', onError)
      .off('close', onClose)
    parts.onLeave()
  }
  const handOver = (bytes: Buffer) => {
    leave()
    // Nobody would hear Node's answer.
    if (socket.readableEnded) socket.destroy()
    else parts.handOver(bytes)
  }
  const refuse = (flaw: Flaw) => {
    leave()
    parts.refuse(socket, flaw)
    response?.over()
    over()
  }
  const handOverKept = () => handOver(kept ?? NOTHING)

  function take(bytes: Buffer): void {
    const known = memo !== undefined && beginsAlike(bytes, memo) ? memo.recognised : undefined
    const recognised = known ?? recognise(bytes)
    const missing =
      recognised === undefined ? 0 : recognised.headLength + recognised.bodyLength - bytes.length
    // What follows at once is nobody's plain request.
    if (recognised === undefined || missing < 0) handOver(bytes)
    else if (missing > 0) awaitRest(bytes)
    else {
      rest?.cancel()
      rest = undefined
      kept = undefined
      if (known === undefined) memo = bytes.length <= MEMO_BYTES ? { bytes, recognised } : undefined
      answer(bytes, recognised, known !== undefined)
    }
  }

  function awaitRest(bytes: Buffer): void {
    kept = bytes
    rest ??= deadlines.add(dueIn(REST_MS), guarded(socket, handOverKept))
  }

  function dueIn(ms: number): (now: number) => number {
    const at = deadlines.now() + ms
    return (now) => at - now
  }

  function answer(bytes: Buffer, recognised: Recognised, isKnown: boolean): void {
    const { method, url, headers, rawHeaders, keepsAlive, headLength } = recognised
    const manner = keepsAlive ? manners.goesOn : manners.last
    const own: Turn = {
      respond(answered, isEnd = false) {
        if (turn !== own || response !== undefined) return
        socket.write(manner.render(answered))
        next(keepsAlive && !isEnd)
      },
      open() {
        const opened = createLaneResponse(socket, manner, () => next(keepsAlive))
        if (turn === own) response = opened
        return opened
      },
      handOver() {
        if (turn !== own || response !== undefined) return
        over()
        handOver(kept === undefined ? bytes : Buffer.concat([bytes, kept]))
      },
      whenOver(listener) {
        onOver = listener
      },
    }
    turn = own
    isLast = !keepsAlive
    handle(
      {
        method,
        url,
        headers,
        rawHeaders,
        socket,
        complete: true,
        whole: bytes.subarray(headLength),
        isKnown,
      },
      own,
    )
  }

  function over(): void {
    const told = onOver
    turn = undefined
    response = undefined
    onOver = undefined
    told?.()
  }

  /** After an answer. */
  function next(keepsAlive: boolean): void {
    over()
    since = deadlines.now()
    answers += 1
    isOver = !keepsAlive
    if (isOver) socket.destroySoon()
    // Whoever does not read its answers is not listened to.
    else if (socket.writableNeedDrain) socket.pause()
    else if (kept !== undefined) setImmediate(guarded(socket, goOn))
  }

  function goOn(): void {
    if (turn !== undefined || isOver) return
    const bytes = kept
    kept = undefined
    socket.resume()
    if (bytes !== undefined) take(bytes)
  }

  const onData = guarded(socket, (chunk: Buffer) => {
    // What comes behind a last request is nobody's.
    if (isOver) return
    // To Node's parser, line ends are nothing here.
    if (isLast) return chunk.every(isLineEnd) ? undefined : refuse('HPE_CLOSED_CONNECTION')
    const bytes = kept === undefined ? chunk : Buffer.concat([kept, chunk])
    if (turn === undefined) return take(bytes)
    kept = bytes
    if (bytes.length > AHEAD_BYTES) socket.pause()
  })
  const onDrain = guarded(socket, () => {
    if (turn !== undefined) return response?.drained()
    since = deadlines.now()
    goOn()
  })
  const onEnd = () => {
    if (rest === undefined) socket.end()
    else refuse('HPE_INVALID_EOF_STATE')
  }
  const onError = () => socket.destroy()
  const onClose = () => {
    leave()
    response?.over()
    over()
  }
  const late = deadlines.add((now) => msLeft(now), guarded(socket, onLate))

  function msLeft(now: number): number {
    // A slow reader is not idle, and `rest` waits for what has begun to come.
    if (turn !== undefined || kept !== undefined || socket.writableLength > 0) return limits.keepAliveMs
    const left = since + (answers === 0 ? limits.headersMs : limits.keepAliveMs) - now
    return Math.min(left, limits.keepAliveMs)
  }

  function onLate(): void {
    if (answers > 0) socket.destroy()
    else refuse('ERR_HTTP_REQUEST_TIMEOUT')
  }

  socket.on('data', onData).on('end', onEnd).on('drain', onDrain).on('error', onError).on('close', onClose)
  return {
    isIdle: () => answers > 0 && turn === undefined && kept === undefined,
    cut: () => socket.destroy(),
  }
}

const NOTHING = Buffer.alloc(0)

/** The last request of a connection, by whose head the next one is known if it is the very same. */
interface Memo {
  readonly bytes: Buffer
  readonly recognised: Recognised
}

function beginsAlike(bytes: Buffer, { bytes: before, recognised: { headLength } }: Memo): boolean {
  return bytes.length >= headLength && before.compare(bytes, 0, headLength, 0, headLength) === 0
}
