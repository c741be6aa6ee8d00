/** The page of this machine: a link to it, for the owner only. */
import type { ApiServer } from '../http/schema.js'
import { pageLink } from '../wire/page.js'
import type { RouteContext } from './context.js'
import { renderTime } from './view.js'

export function pageRoutes(api: ApiServer, { findPeer, guard, page, trail }: RouteContext): void {
  api.post(
    '/v1/page',
    {
      config: { needs: 'admin', summary: 'Open the page of this machine, and make a link to it' },
      schema: { response: { 201: pageLink } },
    },
    async (request, reply) => {
      const { url, expiresAt } = await page.link(await findPeer(request.raw.socket))
      trail.done(request, guard.callerOf(request), 'page_link')
      return reply.code(201).send({ url, expires_at: renderTime(expiresAt) })
    },
  )
}
