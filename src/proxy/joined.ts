/** A WebSocket whose client is known: relayed at once, with the client's first message read before it goes on. */
import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import { guarded } from '../http/guarded.js'
import { headerLines } from '../http/headers.js'
import { toBrokerError } from '../http/problem.js'
import type { Clock } from '../std/clock.js'
import type { Tokens } from '../tokens/tokens.js'
import { authenticatesByFrame, requireReach, type Visit, type Visitor } from './admission.js'
import type { Dialled } from './dial.js'
import { authExpected, type Close, closeFor, isKeyRefusal, readFirst, senderOf } from './first-frame.js'
import {
  closeFrame,
  createBoundary,
  createFirstAnswer,
  createFirstMessage,
  OPCODE,
  writeFrame,
} from './frames.js'
import { acceptedHeaders } from './headers.js'
import { keyRejected } from './parking.js'
import type { Renew } from './rejection.js'
import { policyRefused, requirePolicy } from './ruling.js'
import type { Meter, Traffic } from './traffic.js'
import { farewell, type Pair, splice } from './wires.js'

/** A client that wants a WebSocket. */
export interface Guest {
  readonly request: IncomingMessage
  readonly socket: Duplex
  /** What it has already sent. */
  readonly head: Buffer
}

export interface JoinParts {
  readonly traffic: Pick<Traffic, 'welcome' | 'sockets'>
  readonly tokens: Pick<Tokens, 'recognise'>
  readonly clock: Clock
  readonly renew: Renew
  /** The token that Prefect gets, as of now: the handshake may be a while ago. Throws as `credentials.serve` does. */
  readonly frameToken: (visit: Visit) => string | null
  /** Logs, audits and counts what ends a WebSocket whose handshake was accepted. */
  readonly report: (request: IncomingMessage, thrown: unknown, visitor: Visitor) => void
}

/** Answers the client's handshake, and joins the sockets once the client's first message was read. */
export function join(
  { request, socket: client, head }: Guest,
  visit: Visit,
  { socket: upstream, headers }: Extract<Dialled, { kind: 'open' }>,
  parts: JoinParts,
): void {
  const { clock, report, traffic } = parts
  const welcome = (visitor: Visitor) => traffic.welcome(request, visitor, visit.target.profile)
  const track = trackPair({ client, upstream }, bytesOf(client), welcome, traffic.sockets)
  track.known(visit)
  client.write(`HTTP/1.1 101 Switching Protocols\r\n${headerLines(acceptedHeaders(headers))}\r\n`, 'latin1')
  const opening = createFirstMessage()
  const between = createBoundary()
  const stop = () => {
    client.off('data', onUp).off('close', onGone).off('end', onGone).off('drain', onClientDrain)
    client.off('error', onGone).pause()
    upstream.off('data', onDown).off('close', onEnd).off('end', onEnd).off('drain', onUpstreamDrain)
    upstream.off('error', onEnd).pause()
  }
  const end = (last?: Buffer) => {
    stop()
    upstream.on('error', () => undefined).destroy()
    if (last === undefined) client.destroy()
    else farewell(client, last, clock)
    track.closed()
  }
  const refuse = (code: number, reason: string) =>
    end(between.isBetween() ? closeFrame(code, reason) : undefined)
  const onGone = () => end()
  const onEnd = () => end(Buffer.alloc(0))
  const onClientDrain = () => upstream.resume()
  const onUpstreamDrain = () => client.resume()
  const cut = { destroy: () => end() }
  const onUp = guarded(cut, (chunk: Buffer) => {
    const progress = opening.push(chunk)
    if (progress.kind === 'broken') return refuse(progress.code, progress.reason)
    const forward = progress.controls.map(({ bytes }) => bytes)
    if (progress.kind === 'waiting') {
      // An upstream that does not read: its pings are not kept in our memory.
      if (forward.length > 0 && !upstream.write(Buffer.concat(forward))) client.pause()
      return
    }
    const first = readFirst(progress.message.text)
    let sender: Visitor = visit
    let sent: ReturnType<typeof forUpstream>
    try {
      if (first.kind === 'auth') sender = senderOf(first.message, visit, parts.tokens)
      sent = forUpstream(first, progress.message, sender, request, visit, parts)
    } catch (thrown) {
      report(request, thrown, sender)
      const { code, reason } = closeFor(toBrokerError(thrown))
      return refuse(code, reason)
    }
    stop()
    upstream.write(Buffer.concat([...forward, sent.bytes, progress.rest]))
    // In the middle of a frame it is already saying something else.
    const isAnswer = sent.isAuth && between.isBetween()
    const screen = isAnswer ? screenAnswer({ client, upstream }, request, visit, parts) : undefined
    splice(client, upstream, clock, track.closed, screen)
  })
  const onDown = guarded(cut, (chunk: Buffer) => {
    between.take(chunk)
    if (!client.write(chunk)) upstream.pause()
  })
  client.on('close', onGone).on('end', onGone).on('error', onGone).on('drain', onClientDrain)
  upstream.on('close', onEnd).on('end', onEnd).on('error', onEnd).on('drain', onUpstreamDrain)
  upstream.on('data', onDown).resume()
  client.on('data', onUp).resume()
  if (head.length > 0) onUp(head)
}

/** The first message of a known client as Prefect gets it. `sender`: whose token is in it. Throws the refusal. */
function forUpstream(
  first: ReturnType<typeof readFirst>,
  { mask, bytes }: { readonly mask: Buffer | undefined; readonly bytes: Buffer },
  sender: Visitor,
  request: IncomingMessage,
  visit: Visit,
  parts: JoinParts,
): { readonly bytes: Buffer; readonly isAuth: boolean } {
  if (first.kind === 'auth') {
    if (sender !== visit) requireSame(sender, request, visit)
    const withKey = Buffer.from(first.message.withToken(parts.frameToken(visit)))
    return { bytes: writeFrame(OPCODE.text, withKey, mask), isAuth: true }
  }
  if (first.kind === 'odd' || authenticatesByFrame(request)) throw authExpected()
  return { bytes, isAuth: false }
}

/** What the handshake's token may do, the token of the first message may do, too. Throws the refusal. */
function requireSame({ caller, token }: Visitor, { method = '' }: IncomingMessage, { target }: Visit): void {
  requireReach(caller, target.profile)
  const ruling = requirePolicy(method, target.path, token)
  // What has been opened cannot wait for a yes.
  if (token !== undefined && ruling?.mayPass === false) throw policyRefused(token, ruling)
}

/**
 * For `splice`: if Prefect closes the socket because of our key instead of answering the auth message, the client gets another
 * close in its place, after which it comes back, as soon as the key was asked about.
 */
export function screenAnswer(
  { client, upstream }: Pair,
  request: IncomingMessage,
  visit: Visit,
  parts: Pick<JoinParts, 'renew' | 'report'>,
): (flow: () => void) => void {
  return (flow) => {
    const answer = createFirstAnswer()
    const cut = {
      destroy() {
        client.destroy()
        upstream.destroy()
      },
    }
    const onDrain = () => upstream.resume()
    const onData = guarded(cut, (chunk: Buffer) => {
      const heard = answer.push(chunk)
      const isRoomLeft = heard.bytes.length === 0 || client.write(heard.bytes)
      if (heard.kind === 'waiting') {
        if (!isRoomLeft) upstream.pause()
        return
      }
      upstream.off('data', onData).pause()
      client.off('drain', onDrain)
      if (heard.kind === 'message') return flow()
      const end = (frame: Buffer) => {
        if (client.writable) client.write(frame)
        flow()
      }
      if (!isKeyRefusal(heard)) return end(heard.frame)
      const ended = refuseKey(request, visit, parts)
      void ended.then(guarded(cut, ({ code, reason }: Close) => end(closeFrame(code, reason))))
    })
    client.on('drain', onDrain)
    upstream.on('data', onData).resume()
  }
}

/** As after a 401: the key is asked about, and the client parked. Never rejects. */
async function refuseKey(
  request: IncomingMessage,
  visit: Visit,
  { renew, report }: Pick<JoinParts, 'renew' | 'report'>,
): Promise<Close> {
  const refusal: unknown = await renew(visit).then(
    () => keyRejected(visit.served.profile),
    (thrown: unknown) => thrown,
  )
  report(request, refusal, visit)
  return closeFor(toBrokerError(refusal))
}

/** Counts the pair, and cuts it when its token dies. */
export function trackPair(
  { client, upstream }: Pair,
  before: Bytes,
  welcome: (visitor: Visitor) => Meter,
  live: Traffic['sockets'],
) {
  const both = {
    destroy() {
      client.destroy()
      upstream.destroy()
    },
  }
  let forget = live.track(undefined, both)
  let meter: Meter | undefined
  let leave: (() => void) | undefined
  let isOver = false
  return {
    known(visitor: Visitor) {
      if (meter !== undefined) return
      meter = welcome(visitor)
      leave = meter.socket()
      forget()
      forget = live.track(visitor.token?.id, both)
    },
    /** May be called more than once. */
    closed() {
      if (isOver) return
      isOver = true
      forget()
      leave?.()
      const after = bytesOf(client)
      meter?.bytes(after.read - before.read, after.written - before.written)
    },
  }
}

/** What went through a socket so far. */
interface Bytes {
  readonly read: number
  readonly written: number
}

export function bytesOf(socket: Duplex): Bytes {
  const read = 'bytesRead' in socket && typeof socket.bytesRead === 'number' ? socket.bytesRead : 0
  const written =
    'bytesWritten' in socket && typeof socket.bytesWritten === 'number' ? socket.bytesWritten : 0
  return { read, written }
}
