/** `/v1/keys`: the keys we know; make one, which is shown this once, and delete one. */

import type { ApiServer } from '../http/schema.js'
import type { RenewalView } from '../renewal/view.js'
import { defined } from '../std/defined.js'
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
  renewAnswer,
  renewBody,
  renewParams,
  rotateBotAnswer,
  rotateBotBody,
  type RenewalView as WireView,
} from '../wire/keys.js'
import type { RouteContext } from './context.js'
import { renderKey, renderKeyEntry, renderTime } from './render.js'
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
        ...defined({ profile }),
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
        key: made.key.reveal(), // a new key, shown once
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

export function renewalRoutes(api: ApiServer, context: RouteContext): void {
  renewRoute(api, context)
  rotateRoute(api, context)
}

function renewRoute(api: ApiServer, { guard, renewal, trail }: RouteContext): void {
  api.post(
    '/v1/keys/:profile/renew',
    {
      config: { needs: 'admin', summary: "Renew a profile's key, and wait for the outcome" },
      schema: { params: renewParams, body: renewBody, response: { 200: renewAnswer } },
    },
    async (request, reply) => {
      const { profile } = request.params
      const { kind, key } = await renewal.renew(profile, { ifDue: request.body.if_due })
      if (kind === 'renewed') {
        const { fingerprint } = key
        trail.done(request, guard.callerOf(request), 'key_renewed', { profile, fingerprint })
      }
      return reply.send({ profile, outcome: kind, key: renderKey(key) })
    },
  )
}

function rotateRoute(api: ApiServer, { guard, serviceAccounts, trail }: RouteContext): void {
  api.post(
    '/v1/keys/rotate-service-account',
    {
      config: { needs: 'admin', summary: "Rotate a service account's key and keep the new one" },
      schema: { body: rotateBotBody, response: { 200: rotateBotAnswer } },
    },
    async (request, reply) => {
      const { profile, name, owner_profile, old_key_lives_s, expires_in_s } = request.body
      const { key, oldKeyExpiresAt } = await serviceAccounts.rotate({
        profile,
        name,
        ...defined({ ownerProfile: owner_profile }),
        ...(old_key_lives_s === undefined ? {} : { oldKeyLivesMs: old_key_lives_s * 1000 }),
        ...(expires_in_s === undefined ? {} : { expiresInMs: expires_in_s * 1000 }),
      })
      const { fingerprint } = key
      trail.done(request, guard.callerOf(request), 'key_rotated', { profile, fingerprint })
      return reply.send({
        profile,
        service_account: name,
        key: renderKey(key),
        old_key_expires_at: renderTime(oldKeyExpiresAt),
      })
    },
  )
}

export function renderRenewal({ plan, last, trouble, oldKeys }: RenewalView): WireView {
  return {
    ...renderPlan(plan),
    ...(last === undefined ? {} : { last: { ...last, at: renderTime(last.at) } }),
    ...(trouble === undefined ? {} : { trouble: { ...trouble } }),
    old_keys: oldKeys.map(({ fingerprint, isHandedOut, retiredAt, expiresAt }) => ({
      fingerprint,
      handed_out: isHandedOut,
      retired_at: renderTime(retiredAt),
      ...(expiresAt === undefined ? {} : { expires_at: renderTime(expiresAt) }),
    })),
  }
}

function renderPlan(plan: RenewalView['plan']): Pick<WireView, 'plan' | 'at' | 'why' | 'hint'> {
  switch (plan.kind) {
    case 'renew':
      return { plan: 'scheduled', at: renderTime(plan.at) }
    case 'not_renewable':
      return { plan: 'not_renewable', why: plan.why, hint: plan.hint }
    case 'not_needed':
      return { plan: 'not_needed', why: plan.why }
  }
}
