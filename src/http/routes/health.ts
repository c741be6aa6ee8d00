/** Is it alive, can it serve, and the counts: `GET /livez`, `/readyz`, `/metrics`. */

import { z } from 'zod'
import { profileName } from '../../wire/common.js'
import { live, ready } from '../../wire/status.js'
import type { RouteContext } from '../context.js'
import { renderReady } from '../render-status.js'
import type { ApiServer } from '../schema.js'
import { pickProfile, visibleStates } from '../scope.js'

const readyParams = z.strictObject({ profile: profileName })

export function healthRoutes(api: ApiServer, context: RouteContext): void {
  api.get(
    '/livez',
    { config: { needs: 'none', summary: 'Whether the daemon answers' }, schema: { response: { 200: live } } },
    async (_request, reply) => reply.send({ live: true }),
  )
  readyRoutes(api, context)
  const { credentials, guard, metrics } = context
  api.get(
    '/metrics',
    {
      config: { needs: 'inspect', summary: 'Counts, as Prometheus text', produces: 'text/plain' },
    },
    async (request, reply) => {
      const states = visibleStates(guard.callerOf(request), credentials)
      return reply.type('text/plain; version=0.0.4; charset=utf-8').send(metrics.render(states))
    },
  )
}

function readyRoutes(api: ApiServer, { credentials, guard }: RouteContext): void {
  api.get(
    '/readyz',
    {
      config: { needs: 'inspect', summary: 'Whether the active profile can be served, and if not, why' },
      schema: { response: { 200: ready, 503: ready } },
    },
    async (request, reply) => {
      await credentials.refresh()
      const state = credentials.state(pickProfile(guard.callerOf(request), undefined, credentials))
      const answer = renderReady(state)
      return reply.code(answer.ready ? 200 : 503).send(answer)
    },
  )
  api.get(
    '/readyz/:profile',
    {
      config: { needs: 'inspect', summary: 'The same for one profile' },
      schema: { params: readyParams, response: { 200: ready, 503: ready } },
    },
    async (request, reply) => {
      await credentials.refresh()
      const answer = renderReady(credentials.state(request.params.profile))
      return reply.code(answer.ready ? 200 : 503).send(answer)
    },
  )
}
