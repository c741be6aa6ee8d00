/** Tokens with narrow powers: created, listed and revoked by the owner only. */

import { BrokerError } from '../base/errors.js'
import type { ApiServer } from '../http/schema.js'
import type { Credentials } from '../serve/credentials.js'
import { DAY_MS, SECOND_MS } from '../std/clock.js'
import { defined } from '../std/defined.js'
import { parseDuration } from '../std/time.js'
import type { TokenFacts } from '../tokens/tokens.js'
import { empty } from '../wire/common.js'
import {
  createTokenAnswer,
  createTokenBody,
  keepTokensBody,
  type TokenView,
  tokenList,
  tokenParams,
} from '../wire/tokens.js'
import type { RouteContext } from './context.js'
import { renderTime } from './view.js'

const MIN_LIFE_MS = SECOND_MS
const MAX_LIFE_MS = 365 * DAY_MS

export function tokenRoutes(api: ApiServer, context: RouteContext): void {
  createRoute(api, context)
  keepRoute(api, context)
  const { events, guard, tokens, trail } = context
  api.get(
    '/v1/tokens',
    {
      config: { onPage: true, needs: 'admin', summary: 'All tokens, without the secrets' },
      schema: { response: { 200: tokenList } },
    },
    async (_request, reply) => reply.send({ tokens: tokens.list().map(renderToken) }),
  )
  api.delete(
    '/v1/tokens/:id',
    {
      config: { onPage: true, needs: 'admin', summary: 'Revoke a token' },
      schema: { params: tokenParams, response: { 200: empty } },
    },
    async (request, reply) => {
      const { id } = request.params
      await tokens.revoke(id)
      // Its event streams end with this event.
      events.emit('token.revoked', { facts: { id } })
      trail.done(request, guard.callerOf(request), 'token_revoked')
      return reply.send({})
    },
  )
}

function createRoute(api: ApiServer, { credentials, events, guard, tokens, trail }: RouteContext): void {
  api.post(
    '/v1/tokens',
    {
      config: { needs: 'admin', summary: 'Create a token; it is shown only in this answer' },
      schema: { body: createTokenBody, response: { 201: createTokenAnswer } },
    },
    async (request, reply) => {
      const { name, power, profiles, expires_in } = request.body
      await credentials.refresh()
      const names = profiles ?? [credentials.state().resolved.name]
      // Throws for a mistyped name: its token would be good for nothing, or for a profile created later.
      for (const profile of names) if (profile !== '*') credentials.state(profile)
      const { facts, token } = await tokens.create({
        name,
        power,
        profiles: names,
        lifeMs: lifeOf(expires_in),
        ...defined({ workspace: workspaceOf(names, credentials) }),
      })
      events.emit('token.created', { facts: { id: facts.id, name, power, profiles: names } })
      trail.given(request, guard.callerOf(request), 'token_created', {})
      return reply.code(201).send({ ...renderToken(facts), token })
    },
  )
}

/** The owner says that whoever was found on our port may know the tokens, or cannot have got them. */
function keepRoute(api: ApiServer, { events, guard, tokens, trail }: RouteContext): void {
  api.post(
    '/v1/tokens/keep',
    {
      config: { needs: 'admin', summary: 'End the parking of a token, or of all' },
      schema: { body: keepTokensBody, response: { 200: tokenList } },
    },
    async (request, reply) => {
      const { id, all } = request.body
      if ((id === undefined) === (all === undefined)) {
        throw new BrokerError('bad_request', "the body must have either 'id' or 'all'")
      }
      const kept = await tokens.keep(id)
      for (const token of kept) events.emit('token.kept', { facts: { id: token.id, name: token.name } })
      trail.done(request, guard.callerOf(request), 'token_kept')
      return reply.send({ tokens: kept.map(renderToken) })
    },
  )
}

/** A token for one profile stays in the workspace where it began; with several profiles there is no such workspace. */
function workspaceOf(names: readonly string[], credentials: Credentials) {
  const [only, ...others] = names
  if (only === undefined || only === '*' || others.length > 0) return undefined
  return credentials.state(only).resolved.workspace
}

function lifeOf(text: string): number {
  const ms = parseDuration(text)
  if (ms !== undefined && ms >= MIN_LIFE_MS && ms <= MAX_LIFE_MS) return ms
  throw new BrokerError(
    'bad_request',
    "'expires_in' in the body must be a duration such as 30m, 8h or 7d, at most 365d",
  )
}

function renderToken(token: TokenFacts): TokenView {
  return {
    id: token.id,
    name: token.name,
    power: token.power,
    profiles: [...token.profiles],
    created_at: renderTime(token.createdAt),
    expires_at: renderTime(token.expiresAt),
    ...defined({ last_used_at: renderTime(token.lastUsedAt), parked_at: renderTime(token.parkedAt) }),
  }
}
