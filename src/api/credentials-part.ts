/** `GET /v1/credentials`: the current pair. The hot path: rendered once per answer, then only handed out. */

import { matchesTag, sendTagged } from '../http/conditional.js'
import type { ApiServer } from '../http/schema.js'
import type { Served } from '../serve/credentials.js'
import { credentialsQuery, credentials as credentialsSchema } from '../wire/credentials.js'
import type { RouteContext } from './context.js'
import { currentAnswer, tagOf } from './credentials.js'
import { renderCredentials } from './render-credentials.js'

export function credentialsRoutes(api: ApiServer, context: RouteContext): void {
  const bodyOf = createBodies()
  api.get(
    '/v1/credentials',
    {
      config: { needs: 'use', summary: 'The current credentials of a profile' },
      schema: { querystring: credentialsQuery, response: { 200: credentialsSchema } },
    },
    async (request, reply) => {
      const current = await currentAnswer(context, request, reply, request.query.profile)
      if (current === undefined) return reply.hijack()
      const isKnown = matchesTag(request.headers['if-none-match'], tagOf(current))
      const served = isKnown ? current : await context.credentials.markHandedOut(current)
      if (!isKnown) noteHandedOut(context, request, served)
      return sendTagged(request, reply, tagOf(served), () => bodyOf(served))
    },
  )
}

function noteHandedOut(
  { trail, guard, metrics }: RouteContext,
  request: Parameters<RouteContext['guard']['callerOf']>[0],
  { profile, key }: Served,
): void {
  metrics.handedOut(profile)
  trail.given(request, guard.callerOf(request), 'credentials', {
    profile,
    ...(key === undefined ? {} : { fingerprint: key.fingerprint }),
  })
}

/** An answer is an immutable object, so its JSON is made once. */
function createBodies(): (served: Served) => string {
  const bodies = new WeakMap<Served, string>()
  return (served) => {
    const known = bodies.get(served)
    if (known !== undefined) return known
    const body = JSON.stringify(renderCredentials(served))
    bodies.set(served, body)
    return body
  }
}
