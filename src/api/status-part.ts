/** `GET /v1/status` and `GET /v1/doctor`: how things are, without secrets. */

import type { ApiServer } from '../http/schema.js'
import { doctor, status } from '../wire/status.js'
import type { RouteContext } from './context.js'
import { renderStatus } from './status.js'

export function statusRoutes(api: ApiServer, context: RouteContext): void {
  const { credentials, guard, inspection, proxyTraffic } = context
  api.get(
    '/v1/status',
    {
      config: { needs: 'inspect', summary: 'One snapshot of everything' },
      schema: { response: { 200: status } },
    },
    async (request, reply) => {
      await credentials.refresh()
      return reply.send(renderStatus(inspection.status(), proxyTraffic(), guard.callerOf(request)))
    },
  )
  api.get(
    '/v1/doctor',
    {
      config: { needs: 'inspect', summary: 'Named checks with verdict, finding and remedy' },
      schema: { response: { 200: doctor } },
    },
    async (_request, reply) => {
      const checks = await inspection.doctor()
      return reply.send({
        checks: checks.map(({ name, verdict, finding, remedy }) => ({
          name,
          verdict,
          finding,
          ...(remedy === undefined ? {} : { remedy }),
        })),
      })
    },
  )
}
