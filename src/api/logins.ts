/** Logins: start one, watch it, give it a key, confirm its owner, cancel it. No answer carries a key. */

import type { FastifyReply, FastifyRequest } from 'fastify'
import { entityTag, matchesTag, preferredWaitMs, sendTagged } from '../http/conditional.js'
import { renderProblem } from '../http/problem.js'
import type { ApiServer } from '../http/schema.js'
import type { LoginView as Login } from '../login/login.js'
import type { Workspace } from '../prefect/cloud.js'
import { defined } from '../std/defined.js'
import { Secret } from '../std/secret.js'
import {
  type LoginView,
  loginAddressBody,
  loginBody,
  loginConfirmBody,
  loginKeyBody,
  loginParams,
  loginView,
} from '../wire/login.js'
import type { RouteContext } from './context.js'
import { renderKey, renderOwner, renderTime } from './view.js'
import { renderWorkspace } from './workspaces.js'

export function loginRoutes(api: ApiServer, context: RouteContext): void {
  beginRoute(api, context)
  watchRoute(api, context)
  answerRoutes(api, context)
}

function beginRoute(api: ApiServer, { logins }: RouteContext): void {
  api.post(
    '/v1/logins',
    {
      config: { needs: 'admin', summary: 'Start a login, or join the pending one' },
      schema: { body: loginBody, response: { 200: loginView, 201: loginView } },
    },
    async (request, reply) => {
      const { profile, workspace, owner, port, switch_owner } = request.body
      const { login, isJoined } = await logins.begin(
        defined({ profile, workspace, owner, port, switchOwner: switch_owner }),
      )
      reply.header('location', `/v1/logins/${encodeURIComponent(login.id)}`)
      return answer(reply.code(isJoined ? 200 : 201), login)
    },
  )
}

function watchRoute(api: ApiServer, context: RouteContext): void {
  api.get(
    '/v1/logins/:id',
    {
      config: { needs: 'admin', summary: 'The state of a login; with Prefer: wait, as soon as it changes' },
      schema: { params: loginParams, response: { 200: loginView } },
    },
    async (request, reply) => {
      const login = await current(context, request, reply, request.params.id)
      if (login === undefined) return reply.hijack()
      return sendTagged(request, reply, tagOf(login), () => JSON.stringify(renderLogin(login)))
    },
  )
}

function answerRoutes(api: ApiServer, { logins }: RouteContext): void {
  api.delete(
    '/v1/logins/:id',
    {
      config: { needs: 'admin', summary: 'Cancel a login' },
      schema: { params: loginParams, response: { 200: loginView } },
    },
    async (request, reply) => answer(reply, await logins.cancel(request.params.id)),
  )
  api.post(
    '/v1/logins/:id/key',
    {
      config: { needs: 'admin', summary: 'Submit a key that was typed or piped in' },
      schema: { params: loginParams, body: loginKeyBody, response: { 200: loginView } },
    },
    async (request, reply) => {
      const { api_key, exchange = false } = request.body
      return answer(reply, await logins.submitKey(request.params.id, new Secret(api_key), { exchange }))
    },
  )
  api.post(
    '/v1/logins/:id/address',
    {
      config: { needs: 'admin', summary: 'Submit the address that the browser ended on' },
      schema: { params: loginParams, body: loginAddressBody, response: { 200: loginView } },
    },
    async (request, reply) => {
      const { id } = request.params
      return answer(reply, await logins.submitAddress(id, new Secret(request.body.address)))
    },
  )
  api.post(
    '/v1/logins/:id/confirm',
    {
      config: { needs: 'admin', summary: 'Accept or reject the owner, and choose the workspace' },
      schema: { params: loginParams, body: loginConfirmBody, response: { 200: loginView } },
    },
    async (request, reply) => {
      const { accept, workspace } = request.body
      return answer(reply, await logins.confirm(request.params.id, defined({ accept, workspace })))
    },
  )
}

function tagOf({ id, version }: Login): string {
  return entityTag(id, version)
}

function answer(reply: FastifyReply, login: Login): FastifyReply {
  return reply.header('etag', tagOf(login)).type('application/json; charset=utf-8').send(renderLogin(login))
}

/** The login, held until it changes if the caller asks for that. `undefined`: the caller has gone. */
async function current(
  { guard, holds, logins }: RouteContext,
  request: FastifyRequest,
  reply: FastifyReply,
  id: string,
): Promise<Login | undefined> {
  const login = logins.get(id)
  const waitMs = preferredWaitMs(request.headers.prefer)
  if (waitMs === 0 || !matchesTag(request.headers['if-none-match'], tagOf(login))) return login
  const hold = holds.open(reply)
  try {
    const next = await logins.waitForChange(id, login.version, waitMs, hold.signal)
    if (hold.isAbandoned()) return undefined
    guard.readmit(request)
    return next
  } finally {
    hold.release()
  }
}

function renderLogin(login: Login): LoginView {
  const { owner, workspaces, workspace, key, exchange, error } = login
  const render = (one: Workspace) => renderWorkspace(one, workspace?.workspaceId)
  return defined({
    id: login.id,
    profile: login.profile,
    state: login.state,
    version: login.version,
    url: login.url,
    expires_at: renderTime(login.expiresAt),
    owner: owner && renderOwner(owner),
    owner_known: login.isOwnerKnown,
    workspaces: workspaces?.map(render),
    workspace: workspace && render(workspace),
    refused: login.refused,
    refused_by: login.refused === 0 ? undefined : login.refusedBy,
    notice: login.notice,
    key: key && renderKey(key),
    exchange: exchange && { done: exchange.isDone, message: exchange.message },
    error: error && renderProblem(error),
  })
}
