/** `POST /v1/env`: the variables of a job that goes through the proxy, with a token made for it alone. */

import { BrokerError } from '../base/errors.js'
import type { ApiServer } from '../http/schema.js'
import { renderShell } from '../http/shell.js'
import { planProxyEnv } from '../proxy/env.js'
import { defined } from '../std/defined.js'
import { envQuery, proxyEnvBody } from '../wire/credentials.js'
import type { EnvFormat } from '../wire/kinds.js'
import type { RouteContext } from './context.js'
import { renderEnv } from './credentials.js'
import { pickProfile } from './scope.js'

export function proxyEnvRoutes(api: ApiServer, context: RouteContext): void {
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
      const address = addressOf(inspection.status().listeners)
      await credentials.refresh()
      // Throws where there is nothing to serve: a job that could only wait had better not begin.
      const served = credentials.serve(profile)
      const { resolved } = credentials.state(profile)
      if (resolved.kind === 'none') throw withoutApi(resolved.name)
      const { facts, token } = await tokens.createForJob({
        name,
        profile: served.profile,
        ...defined({ workspace: resolved.workspace, pid }),
      })
      const env = planProxyEnv({ address, resolved, token, ...defined({ noProxy }) })
      const caller = { ...guard.callerOf(request), token: { ...facts, power: 'proxy' as const } }
      trail.given(request, caller, 'token_created', { profile: served.profile })
      const body =
        format === 'json'
          ? `${JSON.stringify({ profile: served.profile, env })}\n`
          : renderShell(format, env, env)
      const type = format === 'json' ? 'application/json' : 'text/plain'
      return reply.type(`${type}; charset=utf-8`).send(body)
    },
  )
}

type Listeners = ReturnType<RouteContext['inspection']['status']>['listeners']

function addressOf(listeners: Listeners): string {
  const tcp = listeners.find(({ door }) => door === 'tcp')
  if (tcp?.state === 'listening') return tcp.address
  const why = tcp?.problem ?? 'the loopback port is switched off'
  throw new BrokerError('tcp_unavailable', `the proxy needs our own loopback port: ${why}`, {
    hint: 'PREFECT_AUTH_PORT=0 prefect-authd takes any free one',
  })
}

function withoutApi(profile: string): BrokerError {
  return new BrokerError('profile_not_cloud', `profile '${profile}' has no API URL to go to`, {
    hint: `prefect-auth login --profile ${profile}`,
  })
}

export function envRoutes(api: ApiServer, context: RouteContext): void {
  const { credentials, guard, metrics, trail } = context
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
      // What can't be rendered is not handed out.
      render(format, renderEnv(current))
      const served = await credentials.markHandedOut(current)
      const body = render(format, renderEnv(served))
      metrics.handedOut(served.profile)
      trail.given(request, caller, 'env', {
        profile: served.profile,
        ...(served.key === undefined ? {} : { fingerprint: served.key.fingerprint }),
      })
      const type = format === 'json' ? 'application/json' : 'text/plain'
      return reply.type(`${type}; charset=utf-8`).send(body)
    },
  )
}

function render(format: EnvFormat, env: ReturnType<typeof renderEnv>): string {
  return format === 'json' ? `${JSON.stringify(env)}\n` : renderShell(format, env)
}
