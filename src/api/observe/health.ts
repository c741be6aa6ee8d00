/** Health: whether the daemon is alive, and whether a profile can be served. */

import { z } from 'zod'
import type { ApiServer } from '../../http/schema.js'
import type { ProfileState } from '../../serve/credentials.js'
import { defined } from '../../std/defined.js'
import { profileName } from '../../wire/common.js'
import { live, type Ready, ready } from '../../wire/status.js'
import type { RouteContext } from '../context.js'
import { pickProfile } from '../hand-out.js'

const readyParams = z.strictObject({ profile: profileName })

export function healthRoutes(
  api: ApiServer,
  { credentials, guard, inspection, renewal }: RouteContext,
): void {
  const degraded = (ready: Ready, { resolved, standing }: ProfileState): Ready => {
    const trouble = standing ?? renewal.view(resolved.name)?.trouble ?? inspection.trouble()
    return ready.ready && trouble !== undefined
      ? { ...ready, degraded: trouble.message, ...defined({ hint: trouble.hint }) }
      : ready
  }
  const look = async (profile: () => string | undefined) => {
    await credentials.refresh()
    const state = credentials.state(profile())
    return degraded(readiness(state), state)
  }
  api.get(
    '/livez',
    {
      config: { needs: 'none', summary: 'Whether the daemon is alive' },
      schema: { response: { 200: live } },
    },
    async (_request, reply) => reply.send({ live: true }),
  )
  api.get(
    '/readyz',
    {
      config: { needs: 'inspect', summary: 'Whether the active profile can be served, and if not, why' },
      schema: { response: { 200: ready, 503: ready } },
    },
    async (request, reply) => {
      const answer = await look(() => pickProfile(guard.callerOf(request), undefined, credentials))
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
      const answer = await look(() => request.params.profile)
      return reply.code(answer.ready ? 200 : 503).send(answer)
    },
  )
}

/** Whether there is something to serve, and if not, why and what to do. */
export function readiness({ outcome }: ProfileState): Pick<Ready, 'ready' | 'reason' | 'hint'> {
  if (outcome.kind === 'served') return { ready: true }
  const { message, hint } = outcome.error
  return { ready: false, reason: message, ...defined({ hint }) }
}
