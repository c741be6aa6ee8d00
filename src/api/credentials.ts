/** The current credentials of a profile, at once or as soon as they differ from what the caller has. */

import type { FastifyReply, FastifyRequest } from 'fastify'
import { BrokerError, isBrokerError } from '../base/errors.js'
import { entityTag, matchesTag, preferredWaitMs, sendTagged } from '../http/conditional.js'
import type { ApiServer } from '../http/schema.js'
import type { ResolvedProfile } from '../profiles/profile.js'
import type { Credentials, Served } from '../serve/credentials.js'
import { defined } from '../std/defined.js'
import { type Caller, reachesProfile, requireProfile } from '../tokens/access.js'
import {
  type Credentials as CredentialsView,
  credentialsQuery,
  credentials as credentialsSchema,
  type PrefectEnv,
} from '../wire/credentials.js'
import { isNameable, readsOurFile } from './callers-file.js'
import type { RouteContext } from './context.js'
import { renderKey, renderOwner, renderWorkspaceRef, seesAll } from './view.js'

export function credentialsRoutes(api: ApiServer, context: RouteContext): void {
  const { credentials, guard, metrics, trail } = context
  const bodyOf = createBodies(credentials)
  api.get(
    '/v1/credentials',
    {
      config: { needs: 'use', summary: 'The current credentials of a profile' },
      schema: { querystring: credentialsQuery, response: { 200: credentialsSchema } },
    },
    async (request, reply) => {
      const current = await currentAnswer(context, request, reply, request.query.profile)
      if (current === undefined) return reply.hijack()
      const isOurFile = await readsOurFile(request, credentials.reading().path)
      const isKnown = matchesTag(request.headers['if-none-match'], tagOf(current))
      const served = isKnown ? current : await credentials.markHandedOut(current)
      if (!isKnown) {
        const { profile, key } = served
        metrics.handedOut(profile)
        const facts = { profile, ...defined({ fingerprint: key?.fingerprint }) }
        trail.given(request, guard.callerOf(request), 'credentials', facts)
      }
      return sendTagged(request, reply, tagOf(served), () => bodyOf(served, isOurFile))
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

/**
 * The profile that the request is about: the one asked for; else the active one, if the caller may use it; else the only
 * one of its token. `undefined` means the active one. Throws `profile_not_allowed`.
 */
export function pickProfile(
  caller: Caller,
  asked: string | undefined,
  credentials: Credentials,
): string | undefined {
  if (asked !== undefined) {
    requireProfile(caller, asked)
    return asked
  }
  if (caller.token === undefined || seesAll(caller)) return undefined
  const active = activeName(credentials)
  if (active !== undefined && reachesProfile(caller, active)) return active
  const [only, ...others] = caller.token.profiles
  if (only !== undefined && others.length === 0) return only
  throw new BrokerError('profile_not_allowed', 'this token does not include the active profile', {
    hint: 'name one of its profiles: ?profile=NAME',
  })
}

/** `undefined` if the active profile does not exist. */
function activeName(credentials: Credentials): string | undefined {
  try {
    return credentials.state().resolved.name
  } catch (error) {
    if (isBrokerError(error, 'profile_not_found')) return undefined
    throw error
  }
}

function tagOf(served: Served): string {
  return entityTag(served.profile, served.generation)
}

/** An answer is an immutable object, so its JSON is made once; that for callers with another profile file each time. */
function createBodies(credentials: Credentials): (served: Served, isOurFile: boolean) => string {
  const bodies = new WeakMap<Served, string>()
  return (served, isOurFile) => {
    const known = isOurFile ? bodies.get(served) : undefined
    if (known !== undefined) return known
    const { resolved } = credentials.state(served.profile)
    const body = JSON.stringify(renderCredentials(served, resolved, isOurFile))
    if (isOurFile) bodies.set(served, body)
    return body
  }
}

function renderCredentials(served: Served, resolved: ResolvedProfile, isOurFile: boolean): CredentialsView {
  const { workspace, owner, key } = served
  const { notes = [] } = resolved
  return {
    profile: served.profile,
    kind: served.kind,
    env: renderEnv(served),
    ...defined({
      workspace: workspace && renderWorkspaceRef(workspace),
      owner: owner && renderOwner(owner),
      key: key && renderKey(key),
      state: served.state,
    }),
    generation: served.generation,
    because: served.because,
    ...defined({
      in_file: isNameable(resolved, isOurFile) ? true : undefined,
      notes: notes.length > 0 ? [...notes] : undefined,
    }),
  }
}

/** The pair as variables; what has no value is absent. */
export function renderEnv(served: Served): PrefectEnv {
  return defined({
    PREFECT_API_URL: served.apiUrl,
    PREFECT_API_KEY: served.apiKey?.reveal(), // the answer to a caller who may have it
    PREFECT_API_AUTH_STRING: served.authString?.reveal(), // the answer to a caller who may have it
    PREFECT_CLOUD_API_URL: served.cloudApiUrl,
    PREFECT_CLOUD_UI_URL: served.cloudUiUrl,
  })
}
