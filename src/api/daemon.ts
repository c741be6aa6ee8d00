/** The daemon itself: `PUT /v1/log-level` and `POST /v1/shutdown`. */

import type { ApiServer } from '../http/schema.js'
import { logLevelAnswer, logLevelBody, shutdownAnswer } from '../wire/status.js'
import type { RouteContext } from './context.js'

export function daemonRoutes(api: ApiServer, { guard, setLogLevel, shutdown, trail }: RouteContext): void {
  api.put(
    '/v1/log-level',
    {
      config: { needs: 'admin', summary: 'Set the log level until the next start' },
      schema: { body: logLevelBody, response: { 200: logLevelAnswer } },
    },
    async (request, reply) => {
      setLogLevel(request.body.level)
      return reply.send({ level: request.body.level })
    },
  )
  api.post(
    '/v1/shutdown',
    {
      config: { needs: 'admin', summary: 'Stop the daemon' },
      schema: { response: { 202: shutdownAnswer } },
    },
    async (request, reply) => {
      trail.done(request, guard.callerOf(request), 'shutdown')
      // Once the answer is out, or its reader gone.
      reply.raw.once('close', shutdown)
      return reply.code(202).send({ message: 'the daemon is shutting down' })
    },
  )
}
