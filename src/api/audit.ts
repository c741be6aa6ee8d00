/** `GET /v1/audit`: who got what, when, by which door. */

import type { ApiServer } from '../http/schema.js'
import { auditList, auditQuery } from '../wire/events.js'
import type { RouteContext } from './context.js'
import { renderAuditEntry } from './render-token.js'

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
