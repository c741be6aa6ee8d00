/** `GET /openapi.json`: this API, described from its own schemas. */

import type { ApiServer } from '../http/schema.js'
import type { RouteContext } from './context.js'
import { describeApi } from './openapi.js'

export function openapiRoutes(api: ApiServer, { book, version }: RouteContext): void {
  let body: string | undefined
  api.get(
    '/openapi.json',
    { config: { needs: 'inspect', summary: 'This description' } },
    async (_request, reply) => {
      // Made at the first question: most daemons are never asked.
      body ??= JSON.stringify(describeApi({ routes: book.routes(), version }))
      return reply.type('application/json; charset=utf-8').send(body)
    },
  )
}
