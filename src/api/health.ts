/** Is it alive, can it serve, and the counts: `GET /livez`, `/readyz`, `/metrics`. */

import { z } from 'zod'
import type { ApiServer } from '../http/schema.js'
import type { ProfileState } from '../serve/credentials.js'
import { profileName } from '../wire/common.js'
import { live, ready } from '../wire/status.js'
import type { RouteContext } from './context.js'
import { visibleTraffic } from './metrics.js'
import { pickProfile, visibleStates } from './scope.js'
import { renderReady } from './status.js'

const readyParams = z.strictObject({ profile: profileName })

export function healthRoutes(api: ApiServer, context: RouteContext): void {
  api.get(
    '/livez',
    { config: { needs: 'none', summary: 'Whether the daemon answers' }, schema: { response: { 200: live } } },
    async (_request, reply) => reply.send({ live: true }),
  )
  readyRoutes(api, context)
  const { credentials, guard, metrics, proxyTraffic } = context
  api.get(
    '/metrics',
    {
      config: { needs: 'inspect', summary: 'Counts, as Prometheus text', produces: 'text/plain' },
    },
    async (request, reply) => {
      const caller = guard.callerOf(request)
      const text = metrics.render(visibleStates(caller, credentials), visibleTraffic(proxyTraffic(), caller))
      return reply.type('text/plain; version=0.0.4; charset=utf-8').send(text)
    },
  )
}

function readyRoutes(api: ApiServer, { credentials, guard, renewal }: RouteContext): void {
  const answerFor = (state: ProfileState) => renderReady(state, renewal.view(state.resolved.name))
  api.get(
    '/readyz',
    {
      config: { needs: 'inspect', summary: 'Whether the active profile can be served, and if not, why' },
      schema: { response: { 200: ready, 503: ready } },
    },
    async (request, reply) => {
      await credentials.refresh()
      const state = credentials.state(pickProfile(guard.callerOf(request), undefined, credentials))
      const answer = answerFor(state)
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
      const answer = answerFor(credentials.state(request.params.profile))
      return reply.code(answer.ready ? 200 : 503).send(answer)
    },
  )
}
