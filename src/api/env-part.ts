/** `GET /v1/env`: the same credentials as text that a shell evaluates. */

import type { ApiServer } from '../http/schema.js'
import { renderShell } from '../http/shell.js'
import { type EnvFormat, envQuery } from '../wire/credentials.js'
import type { RouteContext } from './context.js'
import { renderEnv } from './render-credentials.js'
import { pickProfile } from './scope.js'

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
