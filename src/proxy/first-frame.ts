/** The first WebSocket message: held until its sender is known, then sent with the real key. */
import { isBrokerError } from '../base/errors.js'
import { tokenInFrame } from '../prefect/proxied.js'
import type { Clock } from '../std/clock.js'
import type { Tokens } from '../tokens/tokens.js'
import { requireReach, type Visit, type Visitor } from './admission.js'
import { type Pair, splice } from './dial.js'
import { closeFrame, type FirstMessage, readFrame, type Verdict } from './frames.js'

interface Waiting {
  readonly pair: Pair
  readonly first: FirstMessage
  /** What the client has already sent. */
  readonly head: Buffer
  readonly isStranger: boolean
  /** Called once, when both sockets are closed. */
  readonly closed: () => void
}

/**
 * Joins the sockets once the first message has passed. Until then only whole frames go to the client, so that a refusal can
 * be sent between two of them.
 */
export function awaitFirst(
  { pair, first, head, isStranger, closed }: Waiting,
  {
    clock,
    limits,
  }: {
    readonly clock: Clock
    readonly limits: { readonly bufferBytes: number; readonly firstFrameMs: number }
  },
): void {
  const { client, upstream } = pair
  let down: Buffer = Buffer.alloc(0)
  const stop = () => {
    late?.cancel()
    client.off('data', onUp).off('close', onGone).off('end', onGone).off('error', onGone)
    upstream.off('data', onDown).off('close', onEnd).off('end', onEnd).off('error', onEnd)
    upstream.off('drain', onDrain)
  }
  const end = (last?: Buffer) => {
    stop()
    client.on('error', () => undefined)
    upstream.on('error', () => undefined).destroy()
    if (last === undefined) client.destroy()
    else client.end(last, () => client.destroy())
    closed()
  }
  const refuse = (code: number, reason: string) => end(closeFrame(code, reason))
  const onGone = () => end()
  const onEnd = () => end(down)
  const onUp = (chunk: Buffer) => {
    const progress = first.push(chunk)
    if (progress.kind === 'refused') return refuse(progress.code, progress.reason)
    const isTaken = progress.forward.length === 0 || upstream.write(progress.forward)
    if (progress.kind === 'waiting') {
      // An upstream that does not read: its pings are not kept in our memory.
      if (!isTaken) client.pause()
      return
    }
    stop()
    client.pause()
    upstream.pause()
    if (down.length > 0) client.write(down)
    splice(client, upstream, clock, closed)
  }
  const onDrain = () => client.resume()
  const onDown = (chunk: Buffer) => {
    down = Buffer.concat([down, chunk])
    for (let reading = readFrame(down, limits.bufferBytes); reading.kind !== 'incomplete'; ) {
      if (reading.kind === 'large') return end(down)
      client.write(reading.frame.bytes)
      down = reading.rest
      reading = readFrame(down, limits.bufferBytes)
    }
  }
  const late = isStranger
    ? clock.after(limits.firstFrameMs, () => refuse(1008, 'no token was sent'))
    : undefined
  client.on('close', onGone).on('end', onGone).on('error', onGone)
  upstream.on('data', onDown).on('close', onEnd).on('end', onEnd).on('error', onEnd)
  upstream.on('drain', onDrain)
  client.on('data', onUp).resume()
  if (head.length > 0) onUp(head)
}

/** What Prefect's clients take for a refusal. */
const POLICY_VIOLATION = 1008
const TRY_AGAIN_LATER = 1013

interface Judgement {
  readonly verdict: Verdict
  /** Who sent the message. */
  readonly visitor?: Visitor
}

/** Decides on the text of the first message; `undefined` if it is not text. */
export function judgeFirstMessage(
  text: string | undefined,
  visit: Visit,
  {
    tokens,
    frameToken,
  }: {
    readonly tokens: Pick<Tokens, 'recognise'>
    /** The token that Prefect gets, as of now: the handshake may be a while ago. Throws as `credentials.serve` does. */
    readonly frameToken: (profile: string) => string | null
  },
): Judgement {
  const message = parseAuth(text)
  if (message === undefined) {
    if (!visit.isStranger) return { verdict: { kind: 'pass' }, visitor: visit }
    return { verdict: refuse("Expected 'auth' message") }
  }
  const visitor = visitorOf(message.token, visit, tokens)
  if (visitor === undefined) return { verdict: refuse('Invalid token') }
  try {
    requireReach(visitor.caller, visit.target.profile)
    const token = frameToken(visit.target.profile)
    return { verdict: { kind: 'replace', text: JSON.stringify({ ...message.rest, token }) }, visitor }
  } catch (error) {
    if (!isBrokerError(error)) throw error
    const isForbidden = error.kind === 'denied'
    return { verdict: refuse(error.code, isForbidden ? POLICY_VIOLATION : TRY_AGAIN_LATER) }
  }
}

/** Without a token in the message, it is whoever the handshake was from. `undefined` if nobody is known. */
function visitorOf(token: unknown, visit: Visit, tokens: Pick<Tokens, 'recognise'>): Visitor | undefined {
  if (typeof token !== 'string') return visit.isStranger ? undefined : visit
  const text = tokenInFrame(token)
  const known = text === undefined ? undefined : tokens.recognise(text)
  if (known === undefined) return undefined
  return { caller: { door: visit.caller.door, token: known }, token: known, isStranger: false }
}

function refuse(reason: string, code = POLICY_VIOLATION): Verdict {
  return { kind: 'refuse', code, reason }
}

function parseAuth(
  text: string | undefined,
): { readonly token: unknown; readonly rest: Readonly<Record<string, unknown>> } | undefined {
  if (text === undefined) return undefined
  try {
    const message: unknown = JSON.parse(text)
    if (typeof message !== 'object' || message === null || !('type' in message)) return undefined
    if (message.type !== 'auth') return undefined
    return { token: 'token' in message ? message.token : undefined, rest: { ...message } }
  } catch {
    return undefined
  }
}
