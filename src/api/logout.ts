/** `POST /v1/profiles/{name}/logout`: forget our key, and with `revoke` delete it at Prefect. */

import type { ApiServer } from '../http/schema.js'
import { logoutAnswer, logoutBody } from '../wire/login.js'
import { profileParams } from '../wire/profile.js'
import type { RouteContext } from './context.js'

export function logoutRoutes(api: ApiServer, { guard, profiles, trail }: RouteContext): void {
  api.post(
    '/v1/profiles/:name/logout',
    {
      config: { needs: 'admin', summary: 'Forget the key of a profile' },
      schema: { params: profileParams, body: logoutBody, response: { 200: logoutAnswer } },
    },
    async (request, reply) => {
      const { name } = request.params
      const { revoke = false } = request.body
      const { forgotten, revoked, notRevoked } = await profiles.logout(name, { revoke })
      trail.done(request, guard.callerOf(request), 'logout', { profile: name })
      return reply.send({
        profile: name,
        forgotten: [...forgotten],
        revoked: [...revoked],
        not_revoked: notRevoked.map(({ fingerprint, reason }) => ({ fingerprint, reason })),
      })
    },
  )
}
