/** Keys: list, create, delete and renew them. */

import type { KeyEntry } from '../admin/keys.js'
import type { ApiServer } from '../http/schema.js'
import type { RenewalView } from '../renewal/view.js'
import { defined } from '../std/defined.js'
import type { Caller } from '../tokens/access.js'
import {
  createKeyAnswer,
  createKeyBody,
  deleteKeyAnswer,
  deleteKeyQuery,
  type KeyEntry as KeyEntryView,
  type KeyList,
  keyList,
  keyParams,
  keysQuery,
  renewAnswer,
  renewBody,
  renewParams,
  type RenewalView as WireView,
} from '../wire/keys.js'
import type { RouteContext } from './context.js'
import { renderKey, renderLife, renderTime, seesAll, visibleStates } from './view.js'

export function keyRoutes(api: ApiServer, context: RouteContext): void {
  listRoute(api, context)
  createRoute(api, context)
  deleteRoute(api, context)
  renewRoute(api, context)
}

function listRoute(api: ApiServer, context: RouteContext): void {
  api.get(
    '/v1/keys',
    {
      config: { needs: 'inspect', summary: 'All known keys, without the secrets' },
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

/** `undefined` stands for all. One call per profile for a caller who may not see all: notices name profiles too. */
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
  return { keys: list.keys.map(renderEntry), notices: [...list.notices] }
}

function createRoute(api: ApiServer, { guard, keys, trail }: RouteContext): void {
  api.post(
    '/v1/keys',
    {
      config: { needs: 'admin', summary: 'Create a key at Prefect; it is shown only in this answer' },
      schema: { body: createKeyBody, response: { 201: createKeyAnswer } },
    },
    async (request, reply) => {
      const { profile, name, expires_at } = request.body
      const made = await keys.create({
        name,
        ...defined({ profile, expiresAt: expires_at === undefined ? undefined : Date.parse(expires_at) }),
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
        ...defined({ expires_at: renderTime(made.expiresAt) }),
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
      const { profile, sure } = request.query
      const outcome = await keys.delete(request.params.id, defined({ profile, isSure: sure }))
      trail.done(request, guard.callerOf(request), 'key_deleted', defined({ profile }))
      return reply.send({ id: request.params.id, outcome })
    },
  )
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

/** A key that Prefect lists and we do not hold has no fingerprint and no origin. */
function renderEntry(entry: KeyEntry): KeyEntryView {
  return {
    profile: entry.profile,
    state: entry.state,
    ...renderLife(entry),
    ...defined({
      fingerprint: entry.fingerprint,
      origin: entry.origin,
      handed_out: entry.isHandedOut,
      retired_at: renderTime(entry.retiredAt),
      share: entry.share,
    }),
  }
}

export function renderRenewal({ plan, last, trouble, oldKeys }: RenewalView): WireView {
  return {
    ...renderPlan(plan),
    ...defined({ last: last && { ...last, at: renderTime(last.at) }, trouble: trouble && { ...trouble } }),
    old_keys: oldKeys.map(({ fingerprint, isHandedOut, retiredAt, expiresAt }) => ({
      fingerprint,
      handed_out: isHandedOut,
      retired_at: renderTime(retiredAt),
      ...defined({ expires_at: renderTime(expiresAt) }),
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
