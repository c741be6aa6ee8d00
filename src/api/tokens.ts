/** `/v1/tokens`: narrow tokens, made, listed and revoked by the owner alone. */

import type { AuditEntry } from '../audit/audit.js'
import { BrokerError } from '../base/errors.js'
import type { ApiServer } from '../http/schema.js'
import type { Credentials } from '../serve/credentials.js'
import { defined } from '../std/defined.js'
import { parseDuration } from '../std/time.js'
import type { TokenFacts } from '../tokens/tokens.js'
import { empty } from '../wire/common.js'
import { type AuditEntry as AuditEntryView, auditList, auditQuery } from '../wire/events.js'
import { createTokenAnswer, createTokenBody, type TokenView, tokenList, tokenParams } from '../wire/tokens.js'
import type { RouteContext } from './context.js'
import { renderTime } from './render.js'

const MAX_LIFE_MS = 365 * 86_400_000

export function tokenRoutes(api: ApiServer, context: RouteContext): void {
  createRoute(api, context)
  const { events, guard, tokens, trail } = context
  api.get(
    '/v1/tokens',
    {
      config: { needs: 'admin', summary: 'All tokens, without the tokens' },
      schema: { response: { 200: tokenList } },
    },
    async (_request, reply) => reply.send({ tokens: tokens.list().map(renderToken) }),
  )
  api.delete(
    '/v1/tokens/:id',
    {
      config: { needs: 'admin', summary: 'Revoke a token' },
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
      config: { needs: 'admin', summary: 'Make a token; shown this once' },
      schema: { body: createTokenBody, response: { 201: createTokenAnswer } },
    },
    async (request, reply) => {
      const { name, power, profiles, expires_in } = request.body
      await credentials.refresh()
      const names = profiles ?? [credentials.state().resolved.name]
      // A mistyped name would make a token that is good for nothing, or for a profile still to come.
      for (const profile of names) if (profile !== '*') credentials.state(profile)
      const { facts, token } = await tokens.create({
        name,
        power,
        profiles: names,
        lifeMs: lifeOf(expires_in),
        ...workspaceOf(names, credentials),
      })
      events.emit('token.created', { facts: { id: facts.id, name, power, profiles: names } })
      trail.given(request, guard.callerOf(request), 'token_created', {})
      return reply.code(201).send({ ...renderToken(facts), token })
    },
  )
}

/** A token for one profile goes on where it began; with several nobody could say in which. */
function workspaceOf(names: readonly string[], credentials: Credentials) {
  const [only, ...others] = names
  if (only === undefined || only === '*' || others.length > 0) return {}
  const { workspace } = credentials.state(only).resolved
  return workspace === undefined ? {} : { workspace }
}

function lifeOf(text: string): number {
  const ms = parseDuration(text)
  if (ms !== undefined && ms >= 1_000 && ms <= MAX_LIFE_MS) return ms
  throw new BrokerError(
    'bad_request',
    "'expires_in' in the body must be a time as 30m, 8h or 7d, at most 365d",
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
    ...(token.lastUsedAt === undefined ? {} : { last_used_at: renderTime(token.lastUsedAt) }),
  }
}

function renderAuditEntry(entry: AuditEntry): AuditEntryView {
  const { at, action, outcome, door, profile, fingerprint, tokenId, tokenName, agent, code } = entry
  return {
    at: renderTime(at),
    action,
    outcome,
    door,
    ...defined({ profile, fingerprint, token: tokenId, token_name: tokenName, agent, code }),
  }
}

export function auditRoutes(api: ApiServer, { audit }: RouteContext): void {
  api.get(
    '/v1/audit',
    {
      config: { needs: 'admin', summary: 'The audit log, oldest line first' },
      schema: { querystring: auditQuery, response: { 200: auditList } },
    },
    async (request, reply) => {
      const { since } = request.query
      const entries = await audit.read(since === undefined ? undefined : Date.parse(since))
      return reply.send({ entries: entries.map(renderAuditEntry) })
    },
  )
}
