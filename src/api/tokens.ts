/** Tokens with narrow powers: created, listed and revoked by the owner only. */

import { BrokerError } from '../base/errors.js'
import type { ApiServer } from '../http/schema.js'
import { describePolicies, effectOf, POLICIES, type Policy, type PolicyFacts } from '../policy/policy.js'
import type { Credentials } from '../serve/credentials.js'
import { DAY_MS, SECOND_MS } from '../std/clock.js'
import { defined } from '../std/defined.js'
import { cleanText } from '../std/text.js'
import { parseDuration } from '../std/time.js'
import type { RefusedOperation, TokenFacts } from '../tokens/tokens.js'
import { empty } from '../wire/common.js'
import { type Effect, POLICY_NAMES, type PolicyName } from '../wire/kinds.js'
import {
  createTokenAnswer,
  createTokenBody,
  keepTokensBody,
  type RefusedOperationView,
  type TokenView,
  tokenAnswer,
  tokenList,
  tokenLookup,
  tokenParams,
} from '../wire/tokens.js'
import type { RouteContext } from './context.js'
import { limitsOf } from './policies.js'
import { renderTime } from './view.js'

const MIN_LIFE_MS = SECOND_MS
const MAX_LIFE_MS = 365 * DAY_MS

export function tokenRoutes(api: ApiServer, context: RouteContext): void {
  createRoute(api, context)
  lookupRoute(api, context)
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
      const name = tokens.list().find((token) => token.id === id)?.name
      await tokens.revoke(id)
      // Its event streams end with this event.
      events.emit('token.revoked', { facts: { id } })
      trail.done(request, guard.callerOf(request), 'token_revoked', {
        aboutId: id,
        ...defined({ aboutName: name }),
      })
      return reply.send({})
    },
  )
}

function lookupRoute(api: ApiServer, { tokens }: RouteContext): void {
  api.get(
    '/v1/tokens/:id',
    {
      config: {
        needs: 'admin',
        summary: 'A token by its id or name: what it may do, and what it was refused',
      },
      schema: { params: tokenLookup, response: { 200: tokenAnswer } },
    },
    async (request, reply) => {
      const token = findToken(tokens.list(), request.params.id)
      const { policy } = token
      return reply.send({
        ...renderToken(token),
        ...defined({
          sentence: token.power === 'proxy' ? POLICIES[policy?.may ?? 'all'].sentence : undefined,
          operations: policy && operationsOf(policy),
        }),
      })
    },
  )
}

/** Throws `token_not_found`, also for a name that several tokens have. */
function findToken(list: readonly TokenFacts[], wanted: string): TokenFacts {
  const named = list.filter(({ name }) => name === wanted)
  const found = list.find(({ id }) => id === wanted) ?? (named.length === 1 ? named[0] : undefined)
  if (found !== undefined) return found
  const shown = cleanText(wanted, 100)
  const ids = named.map(({ id }) => id).join(', ')
  throw new BrokerError(
    'token_not_found',
    named.length === 0
      ? `there is no token '${shown}'`
      : `${named.length} tokens have the name '${shown}': ${ids}`,
    { hint: 'prefect-auth token ls' },
  )
}

/** All that it includes; `undefined` for `all`, which also includes what is in no list. */
function operationsOf({ may, allow = [], deny = [] }: Policy): string[] | undefined {
  if (may === 'all') return undefined
  const listed = describePolicies().find(({ name }) => name === may)?.operations ?? []
  return [...new Set([...listed, ...allow])].filter((operation) => !deny.includes(operation))
}

function createRoute(api: ApiServer, context: RouteContext): void {
  const { credentials, events, guard, proxyAllow, tokens, trail } = context
  api.post(
    '/v1/tokens',
    {
      config: { needs: 'admin', summary: 'Create a token; it is shown only in this answer' },
      schema: { body: createTokenBody, response: { 201: createTokenAnswer } },
    },
    async (request, reply) => {
      const { name, power, profiles, expires_in, ...wanted } = request.body
      const limits = limitsOf(wanted, proxyAllow)
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
        ...limits,
      })
      const limited = defined({ may: limits.policy?.may, ask: limits.ask })
      events.emit('token.created', { facts: { id: facts.id, name, power, profiles: names, ...limited } })
      const about = { aboutId: facts.id, aboutName: name }
      trail.given(request, guard.callerOf(request), 'token_created', about)
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
    ...defined({
      last_used_at: renderTime(token.lastUsedAt),
      parked_at: renderTime(token.parkedAt),
      may: token.policy?.may,
      allow: token.policy?.allow && [...token.policy.allow],
      deny: token.policy?.deny && [...token.policy.deny],
      ask: token.ask,
      writes_per_hour: token.budget?.writesPerHour,
      requests_per_minute: token.budget?.requestsPerMinute,
      writes_last_hour: token.used?.writes,
      requests_last_minute: token.used?.requests,
      agent: token.isAgent,
      refused: token.refused?.length ? token.refused.map(renderRefused) : undefined,
    }),
  }
}

function renderRefused({ operation, count, at, by }: RefusedOperation): RefusedOperationView {
  const effect = effectOf(operation)
  const allowedBy = by === 'policy' ? narrowestFor(operation, effect) : undefined
  return { operation, count, last_at: renderTime(at), by, ...defined({ effect, allowed_by: allowedBy }) }
}

/** `all` for what is not in the table. */
function narrowestFor(operation: string, effect: Effect | undefined): PolicyName {
  const includes = ({ effects, operations }: PolicyFacts) =>
    operations.includes(operation) || (effect !== undefined && effects.includes(effect))
  return POLICY_NAMES.find((name) => includes(POLICIES[name])) ?? 'all'
}
