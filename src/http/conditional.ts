/** Conditional requests: entity tags, `If-None-Match`, `Prefer: wait`, and the answer to them. */
import type { FastifyReply, FastifyRequest } from 'fastify'
import { shuttingDown } from '../base/errors.js'

/** The longest time that an answer is held, in milliseconds. */
const MAX_WAIT_MS = 300_000

/** `"<name>-<version>"`; names may be any TOML key, so what a header cannot hold is percent-encoded. */
export function entityTag(name: string, version: number): string {
  return `"${encodeURIComponent(name)}-${version}"`
}

/** Whether the header names this tag. `*` names nothing: it would hold an answer that the caller never saw. */
export function matchesTag(header: string | undefined, tag: string): boolean {
  if (header === undefined) return false
  return header.split(',').some((one) => one.trim().replace(/^W\//, '') === tag)
}

/** Milliseconds that the caller is ready to wait: `Prefer: wait=N`, N in seconds, cut at 300; 0 without. */
export function preferredWaitMs(header: string | readonly string[] | undefined): number {
  if (header === undefined) return 0
  const text = typeof header === 'string' ? header : header.join(',')
  for (const preference of text.split(',')) {
    const seconds = /^\s*wait\s*=\s*"?(\d{1,9})"?\s*(?:;.*)?$/i.exec(preference)?.[1]
    if (seconds !== undefined) return Math.min(Number(seconds) * 1000, MAX_WAIT_MS)
  }
  return 0
}

/** Answers 304 where the caller has this version already; else lets `render` make the JSON. */
export function sendTagged(
  request: FastifyRequest,
  reply: FastifyReply,
  tag: string,
  render: () => string,
): FastifyReply {
  reply.header('etag', tag)
  if (matchesTag(request.headers['if-none-match'], tag)) return reply.code(304).send()
  return reply.type('application/json; charset=utf-8').send(render())
}

interface Hold {
  /** Aborted when the caller has gone or the daemon stops. */
  readonly signal: AbortSignal
  /** True where nobody waits for the answer any more. Throws `shutting_down` where the daemon stops. */
  isAbandoned(): boolean
  /** Must be called when the waiting is over. */
  release(): void
}

export interface Holds {
  open(reply: FastifyReply): Hold
  /** Ends all that are held, and every later one at once. */
  stop(): void
  isStopping(): boolean
}

export function createHolds(): Holds {
  // A set of our own instead of one shared signal: Node warns of a leak at the eleventh listener of a signal.
  const held = new Set<AbortController>()
  let stopping = false
  return {
    open(reply) {
      const controller = new AbortController()
      let isGone = reply.raw.destroyed
      const leave = () => {
        isGone = true
        controller.abort()
      }
      reply.raw.once('close', leave)
      held.add(controller)
      if (stopping || isGone) controller.abort()
      return {
        signal: controller.signal,
        isAbandoned() {
          if (stopping) throw shuttingDown()
          return isGone
        },
        release() {
          reply.raw.off('close', leave)
          held.delete(controller)
        },
      }
    },
    stop() {
      stopping = true
      for (const controller of held) controller.abort()
    },
    isStopping: () => stopping,
  }
}
