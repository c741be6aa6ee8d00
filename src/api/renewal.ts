/** `/v1/keys/{profile}/renew` and `/v1/keys/rotate-service-account`: another key in the place of the one in use. */

import type { ApiServer } from '../http/schema.js'
import { renewAnswer, renewBody, renewParams, rotateBotAnswer, rotateBotBody } from '../wire/keys.js'
import type { RouteContext } from './context.js'
import { renderKey, renderTime } from './render.js'

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
        ...(owner_profile === undefined ? {} : { ownerProfile: owner_profile }),
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
