/** Answers that are held back until something changes: ended when the caller leaves or the daemon stops. */
import type { FastifyReply } from 'fastify'
import { BrokerError } from '../base/errors.js'

export interface Hold {
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

/** What everyone hears while the daemon stops. */
export function shuttingDown(): BrokerError {
  return new BrokerError('shutting_down', 'the daemon is shutting down', {
    hint: 'ask again once it is back: prefect-auth status',
  })
}
