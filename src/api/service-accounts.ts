/** Service accounts: list, create, delete, and rotate their keys. */

import type { FastifyRequest } from 'fastify'
import type { ListedServiceAccount } from '../admin/service-accounts.js'
import { BrokerError } from '../base/errors.js'
import type { ApiServer } from '../http/schema.js'
import { shownName } from '../profiles/bundled.js'
import { SECOND_MS } from '../std/clock.js'
import { defined } from '../std/defined.js'
import {
  createServiceAccountAnswer,
  createServiceAccountBody,
  deleteServiceAccountAnswer,
  deleteServiceAccountQuery,
  type RotateBotAnswer,
  type RotateBotBody,
  rotateBotAnswer,
  rotateBotBody,
  rotateServiceAccountBody,
  type ServiceAccountList,
  serviceAccountList,
  serviceAccountParams,
  serviceAccountsQuery,
} from '../wire/service-accounts.js'
import type { RouteContext } from './context.js'
import { renderKey, renderTime } from './view.js'

export function serviceAccountRoutes(api: ApiServer, context: RouteContext): void {
  listRoute(api, context)
  createRoute(api, context)
  deleteRoute(api, context)
  rotateRoutes(api, context)
}

function listRoute(api: ApiServer, { serviceAccountDirectory }: RouteContext): void {
  api.get(
    '/v1/service-accounts',
    {
      config: { needs: 'admin', summary: "The service accounts of the account of a profile's workspace" },
      schema: { querystring: serviceAccountsQuery, response: { 200: serviceAccountList } },
    },
    async (request, reply) => {
      const { profile, accountId, serviceAccounts } = await serviceAccountDirectory.list(
        request.query.profile,
      )
      return reply.send({
        profile,
        account_id: accountId,
        service_accounts: serviceAccounts.map(renderServiceAccount),
      })
    },
  )
}

function createRoute(api: ApiServer, { guard, serviceAccounts, trail }: RouteContext): void {
  api.post(
    '/v1/service-accounts',
    {
      config: { needs: 'admin', summary: 'Create a service account and keep its key for a profile' },
      schema: { body: createServiceAccountBody, response: { 201: createServiceAccountAnswer } },
    },
    async (request, reply) => {
      const { profile, name, owner_profile, expires_at, role } = request.body
      const { key } = await serviceAccounts.create({
        profile,
        name,
        ...defined({
          ownerProfile: owner_profile,
          expiresAt: expires_at === undefined ? undefined : Date.parse(expires_at),
          role,
        }),
      })
      const { fingerprint } = key
      trail.done(request, guard.callerOf(request), 'service_account_created', { profile, fingerprint })
      return reply.code(201).send({ profile, service_account: name, key: renderKey(key) })
    },
  )
}

function deleteRoute(api: ApiServer, { guard, serviceAccountDirectory, trail }: RouteContext): void {
  api.delete(
    '/v1/service-accounts/:account',
    {
      config: { needs: 'admin', summary: 'Delete a service account and all its keys' },
      schema: {
        params: serviceAccountParams,
        querystring: deleteServiceAccountQuery,
        response: { 200: deleteServiceAccountAnswer },
      },
    },
    async (request, reply) => {
      const { profile, sure } = request.query
      const options = defined({ profile, isSure: sure })
      const deleted = await serviceAccountDirectory.delete(request.params.account, options)
      trail.done(request, guard.callerOf(request), 'service_account_deleted', defined({ profile }))
      return reply.send(deleted)
    },
  )
}

/** Two ways to the same: the older one names the account in its body. */
function rotateRoutes(api: ApiServer, { guard, serviceAccounts, shares, trail }: RouteContext): void {
  async function rotate(request: FastifyRequest, wanted: RotateBotBody): Promise<RotateBotAnswer> {
    const { profile, name, owner_profile, old_key_lives_s, expires_in_s } = wanted
    const share = shares.of(profile)
    if (share !== undefined) {
      requireItsPace(wanted, share)
      const { document } = await shares.rotate(share)
      trail.done(request, guard.callerOf(request), 'share_rotated', { profile })
      return { profile, service_account: document?.serviceAccount.name ?? name, share }
    }
    const { key, oldKeyExpiresAt } = await serviceAccounts.rotate({
      profile,
      name,
      ...defined({
        ownerProfile: owner_profile,
        oldKeyLivesMs: milliseconds(old_key_lives_s),
        expiresInMs: milliseconds(expires_in_s),
      }),
    })
    const { fingerprint } = key
    trail.done(request, guard.callerOf(request), 'key_rotated', { profile, fingerprint })
    return {
      profile,
      service_account: name,
      key: renderKey(key),
      old_key_expires_at: renderTime(oldKeyExpiresAt),
    }
  }

  api.post(
    '/v1/service-accounts/:account/rotate',
    {
      config: { needs: 'admin', summary: "Rotate a service account's key and keep the new one" },
      schema: {
        params: serviceAccountParams,
        body: rotateServiceAccountBody,
        response: { 200: rotateBotAnswer },
      },
    },
    async (request, reply) =>
      reply.send(await rotate(request, { ...request.body, name: request.params.account })),
  )
  api.post(
    '/v1/keys/rotate-service-account',
    {
      config: { needs: 'admin', summary: 'The same as POST /v1/service-accounts/{account}/rotate' },
      schema: { body: rotateBotBody, response: { 200: rotateBotAnswer } },
    },
    async (request, reply) => reply.send(await rotate(request, request.body)),
  )
}

/** How long its keys live, and the overlap, are agreed for all machines of a share. */
function requireItsPace(
  { owner_profile, old_key_lives_s, expires_in_s }: RotateBotBody,
  share: string,
): void {
  const isOwn = [owner_profile, old_key_lives_s, expires_in_s].some((one) => one !== undefined)
  if (!isOwn) return
  throw new BrokerError(
    'share_pace_invalid',
    `share ${shownName(share)} has a rotator, an overlap and a lifetime of its own`,
    { hint: `prefect-auth share rotate ${share} --now` },
  )
}

function milliseconds(seconds: number | undefined): number | undefined {
  return seconds === undefined ? undefined : seconds * SECOND_MS
}

function renderServiceAccount({
  id,
  name,
  role,
  key,
  profiles,
}: ListedServiceAccount): ServiceAccountList['service_accounts'][number] {
  const { createdAt, expiresAt } = key ?? {}
  const times = defined({ issued_at: renderTime(createdAt), expires_at: renderTime(expiresAt) })
  return {
    id,
    name,
    ...defined({ role, key: key && { id: key.id, name: key.name, ...times } }),
    profiles: [...profiles],
  }
}
