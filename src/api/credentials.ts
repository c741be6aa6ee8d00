/** The current credentials of a profile, at once or as soon as they differ from what the caller has. */

import type { FastifyReply, FastifyRequest } from 'fastify'
import { matchesTag, preferredWaitMs, sendTagged } from '../http/conditional.js'
import type { ApiServer } from '../http/schema.js'
import type { Served } from '../serve/credentials.js'
import { credentialsQuery, credentials as credentialsSchema } from '../wire/credentials.js'
import type { RouteContext } from './context.js'
import { pickProfile, tagOf } from './hand-out.js'

export function credentialsRoutes(api: ApiServer, context: RouteContext): void {
  const { guard, handOut } = context
  api.get(
    '/v1/credentials',
    {
      config: { needs: 'use', summary: 'The current credentials of a profile' },
      schema: { querystring: credentialsQuery, response: { 200: credentialsSchema } },
    },
    async (request, reply) => {
      const current = await currentAnswer(context, request, reply, request.query.profile)
      if (current === undefined) return reply.hijack()
      const { tag, body } = await handOut.pair(request, guard.callerOf(request), current)
      return sendTagged(request, reply, tag, () => body ?? '')
    },
  )
}

/**
 * The answer for `asked`, else for the profile that the caller means. With `If-None-Match` and `Prefer: wait` it is held
 * until it differs or the time is up. `undefined`: the caller has gone. Throws why nothing can be served.
 */
async function currentAnswer(
  context: RouteContext,
  request: FastifyRequest,
  reply: FastifyReply,
  asked: string | undefined,
): Promise<Served | undefined> {
  const { clock, credentials, guard, holds } = context
  const isFollowing = asked === undefined
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
      await changeOf(context, served, { isFollowing, ms: left, signal: hold.signal })
      if (hold.isAbandoned()) return undefined
      // The answer may be a new key now: the token must still be good for it.
      guard.readmit(request)
      served = lookUp()
    }
    return served
  } finally {
    hold.release()
  }
}

/** Resolves when the answer may be another one, after `ms`, or on abort. Never rejects. */
async function changeOf(
  { credentials, events }: RouteContext,
  { profile, generation }: Served,
  { isFollowing, ms, signal }: { isFollowing: boolean; ms: number; signal: AbortSignal },
): Promise<void> {
  const turn = new AbortController()
  const end = () => turn.abort()
  const unfollow = events.onEvent(({ type }) => {
    // A caller who named no profile follows the active one, which may be another now.
    if (isFollowing && type === 'profiles.changed') end()
  })
  signal.addEventListener('abort', end, { once: true })
  if (signal.aborted) end()
  try {
    await credentials.waitForChange(profile, generation, ms, turn.signal)
  } finally {
    unfollow()
    signal.removeEventListener('abort', end)
  }
}
