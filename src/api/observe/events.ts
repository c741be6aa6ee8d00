/** Server-Sent Events: many watchers, one subscription; no watcher can slow the daemon down. */

import type { ServerResponse } from 'node:http'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { BrokerError } from '../../base/errors.js'
import type { BrokerEvent, Events } from '../../base/events.js'
import type { Guard } from '../../http/guard.js'
import type { ApiServer } from '../../http/schema.js'
import type { Clock, Timer } from '../../std/clock.js'
import { defined } from '../../std/defined.js'
import { type Caller, reachesProfile } from '../../tokens/access.js'
import type { Tokens } from '../../tokens/tokens.js'
import type { Event } from '../../wire/events.js'
import { renderTime, seesAll } from '../view.js'

const HEARTBEAT_MS = 15_000
/** A watcher with more than this unread is not reading. Bytes. */
const MAX_PENDING = 256 * 1024
const MAX_OWNER_WATCHERS = 2_048
const MAX_TOKEN_WATCHERS = 256

export interface EventStreams {
  /** Takes the answer over. Throws `too_many_requests` when there are too many watchers. */
  open(request: FastifyRequest, reply: FastifyReply, caller: Caller): void
  /** Ends every stream. */
  stop(): void
}

interface Watcher {
  readonly raw: ServerResponse
  readonly caller: Caller
}

export function eventRoutes(
  api: ApiServer,
  { guard, streams }: { guard: Guard; streams: EventStreams },
): void {
  api.get(
    '/v1/events',
    {
      config: {
        onPage: true,
        needs: 'inspect',
        summary: 'Server-Sent Events; Last-Event-ID resumes',
        produces: 'text/event-stream',
      },
    },
    (request, reply) => streams.open(request, reply, guard.callerOf(request)),
  )
}

export function createEventStreams({
  events,
  tokens,
  clock,
}: {
  events: Events
  tokens: Tokens
  clock: Clock
}): EventStreams {
  const watchers = new Set<Watcher>()
  const deliver = (event: BrokerEvent) => {
    if (event.type === 'token.revoked') dropDeadTokens(watchers, tokens, clock)
    const frames = createFrames(events.epoch, event)
    for (const watcher of watchers) {
      const frame = frames.for(watcher.caller)
      if (frame !== undefined) write(watcher, frame)
    }
  }
  const beat = () => {
    dropDeadTokens(watchers, tokens, clock)
    for (const watcher of watchers) write(watcher, ': still here\n\n')
  }
  // Nobody watches most of the time; then no timer wakes the machine.
  const pulse = createPulse(events, deliver, clock, beat)
  return {
    open(request, reply, caller) {
      refuseTooMany(watchers, caller)
      reply.hijack()
      const watcher = { raw: reply.raw, caller }
      // The stream ends with its connection, so chunks around its frames would be waste.
      watcher.raw.useChunkedEncodingByDefault = false
      watcher.raw.writeHead(200, HEADERS)
      write(watcher, openingFrames(events, request.headers['last-event-id'], caller))
      watchers.add(watcher)
      pulse.start()
      watcher.raw.on('error', () => undefined)
      watcher.raw.once('close', () => {
        watchers.delete(watcher)
        if (watchers.size === 0) pulse.stop()
      })
    },
    stop() {
      for (const { raw } of watchers) raw.end()
    },
  }
}

const HEADERS = {
  'content-type': 'text/event-stream',
  'cache-control': 'no-store',
  'x-content-type-options': 'nosniff',
} as const

/** The subscription and the heartbeat, on while somebody watches. */
function createPulse(events: Events, deliver: (event: BrokerEvent) => void, clock: Clock, beat: () => void) {
  let unsubscribe: (() => void) | undefined
  let timer: Timer | undefined
  const tick = () => {
    timer = clock.after(HEARTBEAT_MS, tick)
    beat()
  }
  return {
    start() {
      unsubscribe ??= events.onEvent(deliver)
      timer ??= clock.after(HEARTBEAT_MS, tick)
    },
    stop() {
      unsubscribe?.()
      timer?.cancel()
      unsubscribe = undefined
      timer = undefined
    },
  }
}

/** A stream outlives its request, so it must also end with its token. */
function dropDeadTokens(watchers: ReadonlySet<Watcher>, tokens: Tokens, clock: Clock): void {
  const now = clock.now()
  const alive = new Set(tokens.list().flatMap(({ id, expiresAt }) => (expiresAt > now ? [id] : [])))
  for (const { raw, caller } of watchers) {
    if (caller.token !== undefined && !alive.has(caller.token.id)) raw.end()
  }
}

function refuseTooMany(watchers: ReadonlySet<Watcher>, { token }: Caller): void {
  let kin = 0
  for (const { caller } of watchers) {
    if ((caller.token === undefined) === (token === undefined)) kin += 1
  }
  if (kin < (token === undefined ? MAX_OWNER_WATCHERS : MAX_TOKEN_WATCHERS)) return
  throw new BrokerError('too_many_requests', 'too many programs are watching events', {
    hint: 'close some of them, or run now and then: prefect-auth status',
  })
}

/** Slow watchers are dropped, not waited for; they come back with Last-Event-ID. */
function write({ raw }: Watcher, frame: string | Buffer): void {
  if (raw.writableEnded || raw.destroyed) return
  raw.write(frame)
  if (raw.writableLength > MAX_PENDING) raw.destroy()
}

/** What a watcher gets at once: the events it missed (or a gap), and where to resume from. */
function openingFrames(events: Events, lastEventId: unknown, caller: Caller): string {
  const parts = ['retry: 2000\n\n']
  const resumed = typeof lastEventId === 'string' && lastEventId !== ''
  const { events: past, isComplete } = events.since(resumed ? sequenceOf(events.epoch, lastEventId) : 0)
  if (!resumed) {
    // An id without data is not an event, only the place to resume from.
    parts.push(`id: ${events.epoch}-${past.at(-1)?.seq ?? 0}\n\n`)
    return parts.join('')
  }
  if (!isComplete || !lastEventId.startsWith(`${events.epoch}-`)) parts.push(gapFrame(events.epoch, past))
  for (const event of past) parts.push(createFrames(events.epoch, event).for(caller)?.toString() ?? '')
  return parts.join('')
}

/** 0 for an id of another run of the daemon, which counted differently: everything that is left is new. */
function sequenceOf(epoch: string, lastEventId: string): number {
  const [, number] = /-(\d{1,15})$/.exec(lastEventId) ?? []
  return number !== undefined && lastEventId === `${epoch}-${number}` ? Number(number) : 0
}

function gapFrame(epoch: string, past: readonly BrokerEvent[]): string {
  const [next] = past
  const id = `${epoch}-${(next?.seq ?? 1) - 1}`
  const at = renderTime(next?.at ?? 0)
  return frameOf({ id, at, type: 'events.gap', facts: {} })
}

interface Frames {
  /** The bytes for this caller; `undefined` if it may not see the event. */
  for(caller: Caller): Buffer | undefined
}

/** Renders an event once for all who may see the whole of it, and once for those who may see less. */
function createFrames(epoch: string, event: BrokerEvent): Frames {
  let whole: Buffer | undefined
  let reduced: Buffer | undefined
  return {
    for(caller) {
      if (seesAll(caller) || (event.profile !== undefined && reachesProfile(caller, event.profile))) {
        whole ??= Buffer.from(frameOf(renderEvent(epoch, event)))
        return whole
      }
      if (event.profile !== undefined) return undefined
      // Facts about the whole daemon may name other profiles.
      reduced ??= Buffer.from(frameOf(renderEvent(epoch, { ...event, facts: {} })))
      return reduced
    },
  }
}

function renderEvent(epoch: string, { seq, at, type, profile, facts }: BrokerEvent): Event {
  const plain = Object.entries(facts).map(([name, value]): [string, Event['facts'][string]] => [
    name,
    typeof value === 'object' ? [...value] : value,
  ])
  return {
    id: `${epoch}-${seq}`,
    at: renderTime(at),
    type,
    ...defined({ profile }),
    facts: Object.fromEntries(plain),
  }
}

/** JSON has no raw line breaks, so one `data:` line holds it. */
function frameOf(event: Event): string {
  return `id: ${event.id}\nevent: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`
}
