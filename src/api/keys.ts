/** `/v1/keys`: the keys we know; make one, which is shown this once, and delete one. */

import type { ApiServer } from '../http/schema.js'
import type { Caller } from '../tokens/access.js'
import {
  createKeyAnswer,
  createKeyBody,
  deleteKeyAnswer,
  deleteKeyQuery,
  type KeyList,
  keyList,
  keyParams,
  keysQuery,
} from '../wire/keys.js'
import type { RouteContext } from './context.js'
import { renderKeyEntry, renderTime } from './render.js'
import { seesAll, visibleStates } from './scope.js'

export function keyRoutes(api: ApiServer, context: RouteContext): void {
  listRoute(api, context)
  createRoute(api, context)
  deleteRoute(api, context)
}

function listRoute(api: ApiServer, context: RouteContext): void {
  api.get(
    '/v1/keys',
    {
      config: { needs: 'inspect', summary: 'The keys we know, without the keys' },
      schema: { querystring: keysQuery, response: { 200: keyList } },
    },
    async (request, reply) => {
      await context.credentials.refresh()
      const asked = profilesAsked(context, context.guard.callerOf(request), request.query.profile)
      const lists = await Promise.all(asked.map((profile) => listOf(context, profile)))
      return reply.send({
        keys: lists.flatMap(({ keys }) => keys),
        notices: lists.flatMap(({ notices }) => notices),
      })
    },
  )
}

/** One call for all, or one for each profile that the caller may see: notices name profiles too. */
function profilesAsked(
  { credentials }: RouteContext,
  caller: Caller,
  asked: string | undefined,
): readonly (string | undefined)[] {
  if (asked !== undefined || seesAll(caller)) return [asked]
  return visibleStates(caller, credentials).map(({ resolved }) => resolved.name)
}

async function listOf({ keys }: RouteContext, profile: string | undefined): Promise<KeyList> {
  const list = await keys.list(profile)
  return { keys: list.keys.map(renderKeyEntry), notices: [...list.notices] }
}

function createRoute(api: ApiServer, { guard, keys, trail }: RouteContext): void {
  api.post(
    '/v1/keys',
    {
      config: { needs: 'admin', summary: 'Make a key at Prefect; shown this once' },
      schema: { body: createKeyBody, response: { 201: createKeyAnswer } },
    },
    async (request, reply) => {
      const { profile, name, expires_at } = request.body
      const made = await keys.create({
        name,
        ...(profile === undefined ? {} : { profile }),
        ...(expires_at === undefined ? {} : { expiresAt: Date.parse(expires_at) }),
      })
      trail.given(request, guard.callerOf(request), 'key_created', {
        profile: made.profile,
        fingerprint: made.key.fingerprint(),
      })
      return reply.code(201).send({
        profile: made.profile,
        id: made.id,
        name: made.name,
        key: made.key.reveal(),
        ...(made.expiresAt === undefined ? {} : { expires_at: renderTime(made.expiresAt) }),
      })
    },
  )
}

function deleteRoute(api: ApiServer, { guard, keys, trail }: RouteContext): void {
  api.delete(
    '/v1/keys/:id',
    {
      config: { needs: 'admin', summary: 'Delete a key at Prefect' },
      schema: { params: keyParams, querystring: deleteKeyQuery, response: { 200: deleteKeyAnswer } },
    },
    async (request, reply) => {
      const { profile } = request.query
      const outcome = await keys.delete(request.params.id, profile)
      trail.done(request, guard.callerOf(request), 'key_deleted', profile === undefined ? {} : { profile })
      return reply.send({ id: request.params.id, outcome })
    },
  )
}
