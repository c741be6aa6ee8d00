/** Which answer a request for credentials gets, and when: at once, or when it differs from what the caller has. */

import type { FastifyReply, FastifyRequest } from 'fastify'
import { entityTag, matchesTag, preferredWaitMs, sendTagged } from '../http/conditional.js'
import type { ApiServer } from '../http/schema.js'
import type { Served } from '../serve/credentials.js'
import { defined } from '../std/defined.js'
import {
  type Credentials,
  credentialsQuery,
  credentials as credentialsSchema,
  type PrefectEnv,
} from '../wire/credentials.js'
import type { RouteContext } from './context.js'
import { renderKey, renderOwner, renderWorkspaceRef } from './render.js'
import { pickProfile } from './scope.js'

type Parts = Pick<RouteContext, 'clock' | 'credentials' | 'events' | 'guard' | 'holds'>

function tagOf(served: Served): string {
  return entityTag(served.profile, served.generation)
}

/**
 * The answer for `asked`, else for the profile that the caller means. With `If-None-Match` and `Prefer: wait` it is held
 * until it differs or the time is over. `undefined`: the caller has gone. Throws why nothing can be served.
 */
async function currentAnswer(
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

/** What the caller's environment must hold; what is absent must be unset there. */
export function renderEnv(served: Served): PrefectEnv {
  const { apiUrl, apiKey, authString, cloudApiUrl, cloudUiUrl } = served
  return {
    ...defined({ PREFECT_API_URL: apiUrl }),
    ...(apiKey === undefined ? {} : { PREFECT_API_KEY: apiKey.reveal() }), // the answer to a caller who may have it
    ...(authString === undefined ? {} : { PREFECT_API_AUTH_STRING: authString.reveal() }), // the answer to a caller who may have it
    ...defined({ PREFECT_CLOUD_API_URL: cloudApiUrl, PREFECT_CLOUD_UI_URL: cloudUiUrl }),
  }
}

function renderCredentials(served: Served): Credentials {
  return {
    profile: served.profile,
    kind: served.kind,
    env: renderEnv(served),
    ...(served.workspace === undefined ? {} : { workspace: renderWorkspaceRef(served.workspace) }),
    ...(served.owner === undefined ? {} : { owner: renderOwner(served.owner) }),
    ...(served.key === undefined ? {} : { key: renderKey(served.key) }),
    generation: served.generation,
    because: served.because,
  }
}
