/** Conditional requests: entity tags, `If-None-Match`, `Prefer: wait`, and answers that are held. */
import type { FastifyReply, FastifyRequest } from 'fastify'
import { shuttingDown } from '../base/errors.js'
import { MINUTE_MS, SECOND_MS } from '../std/clock.js'

/** The longest that an answer is held. */
const MAX_WAIT_MS = 5 * MINUTE_MS

/** `"<name>-<version>"`. A name may be any TOML key, so characters that a header cannot hold are percent-encoded. */
export function entityTag(name: string, version: number): string {
  return `"${encodeURIComponent(name)}-${version}"`
}

/** Whether the header names this tag. `*` does not: it would hold back an answer that the caller has never seen. */
export function matchesTag(header: string | undefined, tag: string): boolean {
  if (header === undefined) return false
  return header.split(',').some((one) => one.trim().replace(/^W\//, '') === tag)
}

/** Milliseconds from `Prefer: wait=N`, N in seconds, at most 300; 0 without it. */
export function preferredWaitMs(header: string | readonly string[] | undefined): number {
  if (header === undefined) return 0
  const text = typeof header === 'string' ? header : header.join(',')
  for (const preference of text.split(',')) {
    const seconds = /^\s*wait\s*=\s*"?(\d{1,9})"?\s*(?:;.*)?$/i.exec(preference)?.[1]
    if (seconds !== undefined) return Math.min(Number(seconds) * SECOND_MS, MAX_WAIT_MS)
  }
  return 0
}

/** Sends 304 if the caller has this version already, else the JSON from `render`. */
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
  /** True if the caller has gone. Throws `shutting_down` if the daemon stops. */
  isAbandoned(): boolean
  /** Must be called once the wait is over. */
  release(): void
}

export interface Holds {
  open(reply: FastifyReply): Hold
  /** Ends every hold, later ones at once. */
  stop(): void
  isStopping(): boolean
}

export function createHolds(): Holds {
  // A set instead of one shared signal: Node warns of a leak at the eleventh listener of a signal.
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
