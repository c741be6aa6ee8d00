/** `GET /v1/events`: what happens, as it happens. */

import type { ApiServer } from '../http/schema.js'
import type { RouteContext } from './context.js'

export function eventRoutes(api: ApiServer, { guard, streams }: RouteContext): void {
  api.get(
    '/v1/events',
    {
      config: {
        needs: 'inspect',
        summary: 'Server-Sent Events; Last-Event-ID resumes',
        produces: 'text/event-stream',
      },
    },
    (request, reply) => streams.open(request, reply, guard.callerOf(request)),
  )
}
