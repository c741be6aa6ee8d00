/** A WebSocket through the proxy: handshake, first message, then two spliced sockets. */
import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import { BrokerError, isBrokerError } from '../base/errors.js'
import { headerLines } from '../http/headers.js'
import { admit, authenticatesByFrame, identifyVisitor, type Visit, type Visitor } from './admit.js'
import type { ProxyDeps } from './deps.js'
import { type Dialled, dial, type Pair, splice } from './dial.js'
import { renewedVisit } from './exchange.js'
import { awaitFirst, judgeFirstMessage } from './first-frame.js'
import { createFirstMessage, type Verdict } from './frames.js'
import { acceptedHeaders } from './headers.js'
import type { Live } from './live.js'
import { brokenOff, unreachable, writeAnswer } from './parking.js'
import type { Meter } from './traffic.js'
import type { Authorizer } from './upstream.js'

export interface TunnelDeps extends ProxyDeps {
  readonly authorizer: Authorizer
  readonly live: Live
  /** Takes a place among those who have shown no token; the answer gives it back. Throws `too_many_requests`. */
  readonly takePlace: () => () => void
  /** Counts and writes down whoever turned out to be the caller. */
  readonly welcome: (request: IncomingMessage, visitor: Visitor, profile: string) => Meter
}

/** A client that wants a WebSocket. */
export interface Guest {
  readonly request: IncomingMessage
  readonly socket: Duplex
  /** What it has already sent. */
  readonly head: Buffer
}

/** Resolves once the sockets are joined or the client was refused. Rejects with what it is to be told instead. */
export async function openTunnel(guest: Guest, deps: TunnelDeps): Promise<void> {
  const { request } = guest
  const visitor = identifyVisitor(request, deps, { mayUpgrade: true })
  const leavePlace = visitor.isStranger ? deps.takePlace() : () => undefined
  try {
    const visit = await admit(request, visitor, deps)
    if (await openFor(visit, guest, leavePlace, deps)) return
  } catch (error) {
    leavePlace()
    throw error
  }
  leavePlace()
}

/** Whether the two sides are joined; else the client had its answer. */
async function openFor(
  visit: Visit,
  guest: Guest,
  leavePlace: () => void,
  deps: TunnelDeps,
): Promise<boolean> {
  const { request, socket } = guest
  const gone = new AbortController()
  const early: Buffer[] = guest.head.length === 0 ? [] : [guest.head]
  let earlyBytes = guest.head.length
  const keep = (chunk: Buffer) => {
    early.push(chunk)
    earlyBytes += chunk.length
    // Nobody has anything to say before the handshake's answer: this one wants to fill our memory.
    if (earlyBytes > deps.limits.bufferBytes) socket.destroy()
  }
  const leave = () => gone.abort()
  // Read already now: only who reads sees the other side leave.
  socket.on('data', keep).on('close', leave).on('end', leave)
  const dialled = await dialWithKey(visit, request, gone.signal, deps)
  socket.off('data', keep).off('end', leave)
  socket.pause()
  switch (dialled.kind) {
    case 'open':
      if (gone.signal.aborted) {
        dialled.socket.destroy()
        return false
      }
      join({ ...guest, head: Buffer.concat(early) }, visit, dialled, { ...deps, leavePlace })
      return true
    case 'refused':
      writeAnswer(socket, dialled)
      return false
    case 'failed':
      throw failureOf(visit, dialled)
  }
}

/** A 401 to our own key is not the client's affair: once more with a newer one, else it is parked. */
async function dialWithKey(
  visit: Visit,
  request: IncomingMessage,
  signal: AbortSignal,
  deps: TunnelDeps,
): Promise<Dialled> {
  const { authorizer, way, limits } = deps
  const once = async (now: Visit) =>
    dial({
      visit: now,
      request,
      signal,
      answerMs: limits.answerMs,
      authorization: now.isStranger ? undefined : authorizer.header(now.served, now.upstream),
      dispatcher: await way.dispatcherFor(now.upstream.origin),
    })
  const first = await once(visit)
  if (visit.isStranger || first.kind !== 'refused' || first.status !== 401) return first
  const again = await renewedVisit(visit, deps)
  if (again.kind !== 'again') throw again.kind === 'refuse' ? again.error : new BrokerError('internal', '')
  const second = await once(again.visit)
  if (second.kind !== 'refused' || second.status !== 401) return second
  throw rejectedAgain(visit)
}

function rejectedAgain({ served: { profile } }: Visit): BrokerError {
  return new BrokerError('key_rejected', `Prefect does not accept the key of profile '${profile}'`)
}

function failureOf(
  { upstream }: Visit,
  { error, wasSent }: Extract<Dialled, { kind: 'failed' }>,
): BrokerError {
  if (isBrokerError(error)) return error
  return wasSent ? brokenOff(upstream.origin, error) : unreachable(upstream.origin, error)
}

interface JoinDeps extends TunnelDeps {
  readonly leavePlace: () => void
}

function join(
  { request, socket, head }: Guest,
  visit: Visit,
  { socket: upstream, headers }: Extract<Dialled, { kind: 'open' }>,
  deps: JoinDeps,
): void {
  const isFirstRead = authenticatesByFrame(request)
  const pair = { client: socket, upstream }
  const track = trackPair(pair, visit.target.profile, deps, request)
  socket.write(
    `HTTP/1.1 101 Switching Protocols\r\n${headerLines(acceptedHeaders(headers, isFirstRead))}\r\n`,
    'latin1',
  )
  if (!visit.isStranger) track.known(visit)
  if (!isFirstRead) {
    if (head.length > 0) upstream.write(head)
    splice(socket, upstream, deps.clock, track.closed)
    return
  }
  const first = createFirstMessage((text): Verdict => {
    const { verdict, visitor } = judgeFirstMessage(text, visit, deps)
    if (visitor !== undefined && verdict.kind !== 'refuse') track.known(visitor)
    return verdict
  })
  awaitFirst({ pair, first, head, isStranger: visit.isStranger, closed: track.closed }, deps)
}

/** Counts the pair, and cuts it when its token dies. */
function trackPair({ client, upstream }: Pair, profile: string, deps: JoinDeps, request: IncomingMessage) {
  const cut = () => {
    client.destroy()
    upstream.destroy()
  }
  let forget = deps.live.track(undefined, cut)
  let meter: Meter | undefined
  let leave: (() => void) | undefined
  const before = bytesOf(client)
  return {
    known(visitor: Visitor) {
      if (meter !== undefined) return
      meter = deps.welcome(request, visitor, profile)
      leave = meter.socket()
      deps.leavePlace()
      forget()
      forget = deps.live.track(visitor.token?.id, cut)
    },
    closed() {
      deps.leavePlace()
      forget()
      leave?.()
      const after = bytesOf(client)
      meter?.bytes(after.read - before.read, after.written - before.written)
    },
  }
}

function bytesOf(socket: Duplex): { readonly read: number; readonly written: number } {
  const read = 'bytesRead' in socket && typeof socket.bytesRead === 'number' ? socket.bytesRead : 0
  const written =
    'bytesWritten' in socket && typeof socket.bytesWritten === 'number' ? socket.bytesWritten : 0
  return { read, written }
}
