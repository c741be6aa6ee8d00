/** Which answer a request for credentials gets, and when: at once, or when it differs from what the caller has. */
import type { FastifyReply, FastifyRequest } from 'fastify'
import { entityTag, matchesTag, preferredWaitMs } from '../http/conditional.js'
import type { Served } from '../serve/credentials.js'
import type { RouteContext } from './context.js'
import { pickProfile } from './scope.js'

type Parts = Pick<RouteContext, 'clock' | 'credentials' | 'events' | 'guard' | 'holds'>

export function tagOf(served: Served): string {
  return entityTag(served.profile, served.generation)
}

/**
 * The answer for `asked`, else for the profile that the caller means. With `If-None-Match` and `Prefer: wait` it is held
 * until it differs or the time is over. `undefined`: the caller has gone. Throws why nothing can be served.
 */
export async function currentAnswer(
  { clock, credentials, events, guard, holds }: Parts,
  request: FastifyRequest,
  reply: FastifyReply,
  asked: string | undefined,
): Promise<Served | undefined> {
  const lookUp = () => credentials.serve(pickProfile(guard.callerOf(request), asked, credentials))
  const isKnown = (served: Served) => matchesTag(request.headers['if-none-match'], tagOf(served))
  await credentials.refresh()
  let served = lookUp()
  const waitMs = preferredWaitMs(request.headers.prefer)
  if (waitMs === 0 || !isKnown(served)) return served
  const hold = holds.open(reply)
  const deadline = clock.monotonic() + waitMs
  try {
    for (let left = waitMs; left > 0 && isKnown(served); left = deadline - clock.monotonic()) {
      await changeOf(served, {
        credentials,
        events,
        isFollowing: asked === undefined,
        left,
        signal: hold.signal,
      })
      if (hold.isAbandoned()) return undefined
      // What comes now may be a new key: the token must still be good for it.
      guard.readmit(request)
      served = lookUp()
    }
    return served
  } finally {
    hold.release()
  }
}

interface Turn extends Pick<Parts, 'credentials' | 'events'> {
  /** The caller follows the active profile: another one may become it. */
  readonly isFollowing: boolean
  /** Milliseconds. */
  readonly left: number
  readonly signal: AbortSignal
}

async function changeOf(
  served: Served,
  { credentials, events, isFollowing, left, signal }: Turn,
): Promise<void> {
  const turn = new AbortController()
  const end = () => turn.abort()
  const unfollow = events.onEvent(({ type }) => {
    if (isFollowing && type === 'profiles.changed') end()
  })
  signal.addEventListener('abort', end, { once: true })
  if (signal.aborted) end()
  try {
    await credentials.waitForChange(served.profile, served.generation, left, turn.signal)
  } finally {
    unfollow()
    signal.removeEventListener('abort', end)
  }
}
