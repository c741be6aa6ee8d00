/** Variables for a process: the credentials (GET), or the way through the proxy for a job (POST). */

import type { FastifyReply } from 'fastify'
import { BrokerError } from '../base/errors.js'
import type { ApiServer } from '../http/schema.js'
import { renderShell } from '../http/shell.js'
import { planProxyEnv } from '../proxy/env.js'
import { defined } from '../std/defined.js'
import { loginCommand } from '../std/text.js'
import type { ListenerFacts } from '../tokens/access.js'
import { envQuery, proxyEnvBody } from '../wire/credentials.js'
import type { EnvFormat } from '../wire/kinds.js'
import type { RouteContext } from './context.js'
import { pickProfile, renderEnv } from './credentials.js'

export function envRoutes(api: ApiServer, context: RouteContext): void {
  directRoute(api, context)
  proxyRoute(api, context)
}

function directRoute(api: ApiServer, { credentials, guard, metrics, trail }: RouteContext): void {
  api.get(
    '/v1/env',
    {
      config: {
        needs: 'use',
        summary: 'The current credentials as variables, quoted for a shell',
        produces: 'text/plain',
      },
      schema: { querystring: envQuery },
    },
    async (request, reply) => {
      const { profile, format } = request.query
      const caller = guard.callerOf(request)
      await credentials.refresh()
      const current = credentials.serve(pickProfile(caller, profile, credentials))
      // What cannot be rendered is not handed out.
      renderDirect(format, renderEnv(current))
      const served = await credentials.markHandedOut(current)
      const body = renderDirect(format, renderEnv(served))
      metrics.handedOut(served.profile)
      trail.given(request, caller, 'env', {
        profile: served.profile,
        ...defined({ fingerprint: served.key?.fingerprint }),
      })
      return sendVariables(reply, format, body)
    },
  )
}

function renderDirect(format: EnvFormat, env: ReturnType<typeof renderEnv>): string {
  return format === 'json' ? `${JSON.stringify(env)}\n` : renderShell(format, env)
}

function proxyRoute(api: ApiServer, context: RouteContext): void {
  const { credentials, guard, inspection, tokens, trail } = context
  api.post(
    '/v1/env',
    {
      config: {
        needs: 'admin',
        summary: 'Variables for one job through the proxy, with a token of its own',
        produces: 'text/plain',
      },
      schema: { body: proxyEnvBody },
    },
    async (request, reply) => {
      const { profile, format, name, pid, no_proxy: noProxy } = request.body
      const address = tcpAddress(inspection.status().listeners)
      await credentials.refresh()
      // Throws if there is nothing to serve: a job that could only wait had better not start.
      const served = credentials.serve(profile)
      const { resolved } = credentials.state(profile)
      if (resolved.kind === 'none') throw withoutApi(resolved.name)
      const { facts, token, isDurable } = await tokens.createForJob({
        name,
        profile: served.profile,
        ...defined({ workspace: resolved.workspace, pid }),
      })
      const env = planProxyEnv({ address, resolved, token, ...defined({ noProxy }) })
      const caller = { ...guard.callerOf(request), token: { ...facts, power: 'proxy' as const } }
      trail.given(request, caller, 'token_created', { profile: served.profile })
      const notice = isDurable ? undefined : NOT_DURABLE
      const body =
        format === 'json'
          ? `${JSON.stringify({ profile: served.profile, env, ...defined({ notice }) })}\n`
          : renderShell(format, env, env)
      if (notice !== undefined) reply.header('prefect-auth-notice', notice)
      return sendVariables(reply, format, body)
    },
  )
}

const NOT_DURABLE =
  'the state disk cannot be written, so the token of this job ends with the daemon; run: prefect-auth doctor'

function sendVariables(reply: FastifyReply, format: EnvFormat, body: string): FastifyReply {
  const type = format === 'json' ? 'application/json' : 'text/plain'
  return reply.type(`${type}; charset=utf-8`).send(body)
}

/** Throws `tcp_unavailable`. */
function tcpAddress(listeners: readonly ListenerFacts[]): string {
  const tcp = listeners.find(({ door }) => door === 'tcp')
  if (tcp?.state === 'listening') return tcp.address
  const why = tcp?.problem ?? 'it is switched off'
  throw new BrokerError('tcp_unavailable', `the proxy needs the TCP listener: ${why}`, {
    hint: 'start the daemon on any free port: PREFECT_AUTH_PORT=0 prefect-authd',
  })
}

function withoutApi(profile: string): BrokerError {
  return new BrokerError('profile_not_cloud', `profile '${profile}' has no API URL`, {
    hint: loginCommand(profile),
  })
}
