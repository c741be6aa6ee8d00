/** A WebSocket through the proxy: handshake, first message, then two joined sockets. */
import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import type { Dispatcher } from 'undici'
import { BrokerError } from '../base/errors.js'
import { headerLines } from '../http/headers.js'
import type { Credentials } from '../serve/credentials.js'
import type { Clock } from '../std/clock.js'
import type { Tokens } from '../tokens/tokens.js'
import { type Admission, authenticatesByFrame, type Visit, type Visitor } from './admission.js'
import { type Dialled, dial, type Pair, splice } from './dial.js'
import { awaitFirst, judgeFirstMessage } from './first-frame.js'
import { createFirstMessage, type Verdict } from './frames.js'
import { type Authorizer, acceptedHeaders } from './headers.js'
import { keyRejected, upstreamFailed, writeAnswer } from './parking.js'
import type { Renew } from './rejection.js'
import type { Meter, Traffic } from './traffic.js'

/** A client that wants a WebSocket. */
interface Guest {
  readonly request: IncomingMessage
  readonly socket: Duplex
  /** What it has already sent. */
  readonly head: Buffer
}

export interface TunnelLimits {
  /** How much is kept of what a client sends before the handshake is over, and of a frame before the first message. */
  readonly bufferBytes: number
  /** Until Prefect's response begins. */
  readonly answerMs: number
  /** Until a WebSocket whose handshake had no token has sent one in its first frame. */
  readonly firstFrameMs: number
  /** How many of those may be open. */
  readonly strangers: number
}

interface TunnelParts {
  readonly admission: Admission
  readonly authorizer: Authorizer
  readonly renew: Renew
  readonly dispatcherFor: (origin: string) => Promise<Dispatcher>
  readonly traffic: Pick<Traffic, 'welcome' | 'sockets'>
  readonly tokens: Pick<Tokens, 'recognise'>
  readonly credentials: Pick<Credentials, 'serve'>
  readonly limits: TunnelLimits
  readonly clock: Clock
}

/**
 * The function that it returns resolves once the sockets are joined or the upstream's refusal was passed on, and rejects
 * with the refusal to send instead.
 */
export function createTunnel(parts: TunnelParts) {
  const { admission, limits } = parts
  const takePlace = createPlaces(limits.strangers)
  return async (guest: Guest): Promise<void> => {
    const { request } = guest
    const visitor = admission.identify(request, { mayUpgrade: true })
    const leavePlace = visitor.isStranger ? takePlace() : () => undefined
    let isJoined = false
    try {
      const visit = await admission.admit(request, visitor)
      isJoined = await openFor(visit, guest, leavePlace, parts)
    } finally {
      if (!isJoined) leavePlace()
    }
  }
}

/** A limited number of places. Taking one returns the function that gives it back, which may be called more than once. */
function createPlaces(most: number): () => () => void {
  let taken = 0
  return () => {
    if (taken >= most) {
      throw new BrokerError('too_many_requests', 'too many WebSockets are waiting to authenticate')
    }
    taken += 1
    let isHeld = true
    return () => {
      if (isHeld) taken -= 1
      isHeld = false
    }
  }
}

/** Resolves with true if the two sides are joined; otherwise the client has its response. */
async function openFor(
  visit: Visit,
  { request, socket, head }: Guest,
  leavePlace: () => void,
  parts: TunnelParts,
): Promise<boolean> {
  const gone = new AbortController()
  const early: Buffer[] = head.length === 0 ? [] : [head]
  let earlyBytes = head.length
  const keep = (chunk: Buffer) => {
    early.push(chunk)
    earlyBytes += chunk.length
    // Nobody has anything to say before the handshake is over: this client wants to fill our memory.
    if (earlyBytes > parts.limits.bufferBytes) socket.destroy()
  }
  const leave = () => gone.abort()
  // Read from now on: only a reader notices that the other side leaves.
  socket.on('data', keep).on('close', leave).on('end', leave)
  const dialled = await dialWithKey(visit, request, gone.signal, parts)
  socket.off('data', keep).off('end', leave)
  socket.pause()
  switch (dialled.kind) {
    case 'open':
      if (gone.signal.aborted) {
        dialled.socket.destroy()
        return false
      }
      join({ request, socket, head: Buffer.concat(early) }, visit, dialled, leavePlace, parts)
      return true
    case 'refused':
      writeAnswer(socket, dialled)
      return false
    case 'failed':
      throw upstreamFailed(visit.upstream.origin, dialled.error, dialled.wasSent)
  }
}

/** A 401 to our own key is not for the client: tries once more with the best there is. Rejects with `key_rejected`. */
async function dialWithKey(
  visit: Visit,
  request: IncomingMessage,
  signal: AbortSignal,
  { authorizer, renew, dispatcherFor, limits }: TunnelParts,
): Promise<Dialled> {
  const once = async (now: Visit) =>
    dial({
      visit: now,
      request,
      signal,
      answerMs: limits.answerMs,
      authorization: now.isStranger ? undefined : authorizer.header(now.served, now.upstream),
      dispatcher: await dispatcherFor(now.upstream.origin),
    })
  const first = await once(visit)
  if (visit.isStranger || first.kind !== 'refused' || first.status !== 401) return first
  const second = await once(await renew(visit))
  if (second.kind !== 'refused' || second.status !== 401) return second
  throw keyRejected(visit.served.profile)
}

function join(
  { request, socket, head }: Guest,
  visit: Visit,
  { socket: upstream, headers }: Extract<Dialled, { kind: 'open' }>,
  leavePlace: () => void,
  { authorizer, credentials, tokens, traffic, limits, clock }: TunnelParts,
): void {
  const isFirstRead = authenticatesByFrame(request)
  const pair = { client: socket, upstream }
  const profile = visit.target.profile
  const welcome = (visitor: Visitor) => traffic.welcome(request, visitor, profile)
  const track = trackPair(pair, { welcome, leavePlace, live: traffic.sockets })
  socket.write(
    `HTTP/1.1 101 Switching Protocols\r\n${headerLines(acceptedHeaders(headers, isFirstRead))}\r\n`,
    'latin1',
  )
  if (!visit.isStranger) track.known(visit)
  if (!isFirstRead) {
    if (head.length > 0) upstream.write(head)
    splice(socket, upstream, clock, track.closed)
    return
  }
  const frameToken = (name: string) => authorizer.frameToken(credentials.serve(name))
  const first = createFirstMessage((text): Verdict => {
    const { verdict, visitor } = judgeFirstMessage(text, visit, { tokens, frameToken })
    if (visitor !== undefined && verdict.kind !== 'refuse') track.known(visitor)
    return verdict
  })
  awaitFirst({ pair, first, head, isStranger: visit.isStranger, closed: track.closed }, { clock, limits })
}

/** Counts the pair, and cuts it when its token dies. */
function trackPair(
  { client, upstream }: Pair,
  {
    welcome,
    leavePlace,
    live,
  }: {
    readonly welcome: (visitor: Visitor) => Meter
    readonly leavePlace: () => void
    readonly live: Traffic['sockets']
  },
) {
  const cut = () => {
    client.destroy()
    upstream.destroy()
  }
  let forget = live.track(undefined, cut)
  let meter: Meter | undefined
  let leave: (() => void) | undefined
  const before = bytesOf(client)
  return {
    known(visitor: Visitor) {
      if (meter !== undefined) return
      meter = welcome(visitor)
      leave = meter.socket()
      leavePlace()
      forget()
      forget = live.track(visitor.token?.id, cut)
    },
    closed() {
      leavePlace()
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
