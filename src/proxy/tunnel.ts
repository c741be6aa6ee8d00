/** A WebSocket through the proxy: handshake, first message, then two joined sockets. */
import type { IncomingMessage } from 'node:http'
import { BrokerError } from '../base/errors.js'
import { toBrokerError } from '../http/problem.js'
import type { DispatcherFor } from '../prefect/agent.js'
import type { Tokens } from '../tokens/tokens.js'
import { type Admission, targetOf, type Visit, type Visitor } from './admission.js'
import { type Dialled, dial } from './dial.js'
import { authExpected, closeFor, closeForStatus, readFirst, senderOf } from './first-frame.js'
import { closeFrame, OPCODE, writeFrame } from './frames.js'
import type { Gate } from './gate.js'
import type { Authorizer } from './headers.js'
import { bytesOf, type Guest, type JoinParts, join, screenAnswer, trackPair } from './joined.js'
import { keyRejected, upstreamFailed, writeAnswer } from './parking.js'
import { isWrite, policyRefused } from './ruling.js'
import { acceptHandshake, awaitIntroduction, type Introduction, type StrangerLimits } from './stranger.js'
import { farewell, keepEarly, splice } from './wires.js'

export interface TunnelLimits extends StrangerLimits {
  /** How much is kept of what a client sends before the upstream has answered the handshake. */
  readonly bufferBytes: number
  /** Until Prefect's response begins. */
  readonly answerMs: number
  /** How many WebSockets without a token may be open. */
  readonly strangers: number
}

interface TunnelParts extends JoinParts {
  readonly admission: Admission
  readonly gate: Pick<Gate, 'requireSocket'>
  readonly tokens: Pick<Tokens, 'recognise' | 'spend'>
  readonly authorizer: Pick<Authorizer, 'header'>
  readonly dispatcherFor: DispatcherFor
  readonly limits: TunnelLimits
}

/**
 * The function that it returns resolves once the sockets are joined or the client was refused, and rejects with the refusal
 * to send instead of a handshake.
 */
export function createTunnel(parts: TunnelParts) {
  const { admission, limits } = parts
  const takePlace = createPlaces(limits.strangers)
  return async (guest: Guest): Promise<void> => {
    const { request } = guest
    const visitor = admission.identify(request, { mayUpgrade: true })
    if (request.method !== 'GET') {
      throw new BrokerError('bad_request', 'a WebSocket handshake must be a GET request')
    }
    if (!visitor.isStranger) return openFor(await admit(request, visitor, parts), guest, parts)
    targetOf(request)
    const leavePlace = takePlace()
    try {
      acceptHandshake(request, guest.socket)
      await serveStranger(visitor, guest, leavePlace, parts)
    } finally {
      leavePlace()
    }
  }
}

async function admit(
  request: IncomingMessage,
  visitor: Visitor,
  { admission, gate, tokens }: TunnelParts,
): Promise<Visit> {
  const visit = await admission.admit(request, visitor)
  const { token, ruling } = visit
  gate.requireSocket(request, visit)
  if (token === undefined || ruling === undefined) return visit
  // A handshake cannot wait for a yes.
  if (!ruling.mayPass) throw policyRefused(token, ruling)
  tokens.spend(token.id, isWrite('GET', ruling, request.headers, { kind: 'none' }))
  return visit
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

/** The handshake is accepted: from here on, whatever goes wrong is a close frame. Never rejects. */
async function serveStranger(
  visitor: Visitor,
  { request, socket, head }: Guest,
  leavePlace: () => void,
  parts: TunnelParts,
): Promise<void> {
  const { clock, limits, traffic, report } = parts
  const forget = traffic.sockets.track(undefined, socket)
  const before = bytesOf(socket)
  let sender = visitor
  try {
    const introduction = await awaitIntroduction(socket, head, limits, clock)
    if (introduction === undefined) return
    const first = readFirst(introduction.text)
    if (first.kind !== 'auth') throw authExpected()
    sender = senderOf(first.message, visitor, parts.tokens)
    leavePlace()
    const visit = await admit(request, sender, parts)
    const withKey = () => first.message.withToken(parts.frameToken(visit))
    const { mask, rest } = introduction
    await introduce({ request, socket, head: rest }, visit, { mask, withKey, before }, parts)
  } catch (thrown) {
    report(request, thrown, sender)
    const { code, reason } = closeFor(toBrokerError(thrown))
    farewell(socket, closeFrame(code, reason), clock)
  } finally {
    forget()
  }
}

/** Dials for a client that is known now, and sends its first message with the key. Rejects if there is no upstream. */
async function introduce(
  guest: Guest,
  visit: Visit,
  {
    mask,
    withKey,
    before,
  }: {
    readonly mask: Introduction['mask']
    readonly withKey: () => string
    readonly before: ReturnType<typeof bytesOf>
  },
  parts: TunnelParts,
): Promise<void> {
  const { request, socket } = guest
  const { clock, dispatcherFor, limits, traffic } = parts
  const keeping = keepEarly(guest, limits.bufferBytes, 'pause')
  const dialled = await dial({
    ...{ visit, request, signal: keeping.signal, answerMs: limits.answerMs, isAccepted: true },
    // As the client does it: by the first message alone.
    authorization: undefined,
    dispatcher: await dispatcherFor(visit.upstream.origin, visit.upstream.connection?.tls),
  })
  const early = keeping.stop()
  switch (dialled.kind) {
    case 'open': {
      if (keeping.signal.aborted || isUnexpected(dialled.headers)) {
        dialled.socket.destroy()
        if (keeping.signal.aborted) return void socket.destroy()
        throw upstreamFailed(visit.upstream.origin, undefined, true)
      }
      const pair = { client: socket, upstream: dialled.socket }
      const welcome = (visitor: Visitor) => traffic.welcome(request, visitor, visit.target.profile)
      const track = trackPair(pair, before, welcome, traffic.sockets)
      track.known(visit)
      const text = writeFrame(OPCODE.text, Buffer.from(withKey()), mask)
      dialled.socket.write(Buffer.concat([text, early]))
      splice(socket, dialled.socket, clock, track.closed, screenAnswer(pair, request, visit, parts))
      return
    }
    case 'refused': {
      const { code, reason } = closeForStatus(dialled.status)
      traffic.welcome(request, visit, visit.target.profile)
      farewell(socket, closeFrame(code, reason), clock)
      return
    }
    case 'failed':
      throw upstreamFailed(visit.upstream.origin, dialled.error, dialled.wasSent)
  }
}

/** Whether the upstream chose what the client was not told: its frames would look different. */
function isUnexpected(headers: readonly string[]): boolean {
  return headers.some(
    (name, index) =>
      index % 2 === 0 && name.toLowerCase() === 'sec-websocket-extensions' && headers[index + 1] !== '',
  )
}

/** For a client whose handshake had a token: the upstream's answer is the client's. */
async function openFor(visit: Visit, guest: Guest, parts: TunnelParts): Promise<void> {
  const { request, socket } = guest
  // Nobody has anything to say before the handshake is over: who does wants to fill our memory.
  const keeping = keepEarly(guest, parts.limits.bufferBytes, 'destroy')
  const dialled = await dialWithKey(visit, request, keeping.signal, parts)
  const head = keeping.stop()
  switch (dialled.kind) {
    case 'open':
      if (keeping.signal.aborted) dialled.socket.destroy()
      else join({ request, socket, head }, visit, dialled, parts)
      return
    case 'refused':
      parts.traffic.welcome(request, visit, visit.target.profile)
      writeAnswer(socket, dialled, parts.clock)
      return
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
      ...{ visit: now, request, signal, answerMs: limits.answerMs, isAccepted: false },
      authorization: authorizer.header(now.served, now.upstream),
      dispatcher: await dispatcherFor(now.upstream.origin, now.upstream.connection?.tls),
    })
  const first = await once(visit)
  if (first.kind !== 'refused' || first.status !== 401) return first
  const second = await once(await renew(visit))
  if (second.kind !== 'refused' || second.status !== 401) return second
  throw keyRejected(visit.served.profile)
}
