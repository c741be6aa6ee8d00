/** The encrypted export of every profile's secret, and its import on another machine. */
import type { ApiServer } from '../http/schema.js'
import { Secret } from '../std/secret.js'
import { exportAnswer, exportBody, importAnswer, importBody } from '../wire/transfer.js'
import type { RouteContext } from './context.js'

/** An export is larger than any other body. */
const IMPORT_LIMIT_BYTES = 4 * 1024 * 1024

export function transferRoutes(api: ApiServer, { guard, trail, transfer }: RouteContext): void {
  api.post(
    '/v1/vault/export',
    {
      config: { needs: 'admin', summary: 'Every secret that is served, encrypted for another machine' },
      schema: { body: exportBody, response: { 200: exportAnswer } },
    },
    async (request, reply) => {
      const { document, profiles } = await transfer.export(new Secret(request.body.passphrase))
      for (const profile of profiles) {
        trail.done(request, guard.callerOf(request), 'vault_exported', { profile })
      }
      return reply.header('cache-control', 'no-store').send({ document, profiles: [...profiles] })
    },
  )
  api.post(
    '/v1/vault/import',
    {
      bodyLimit: IMPORT_LIMIT_BYTES,
      config: { needs: 'admin', summary: 'Take what an export holds and is missing here' },
      schema: { body: importBody, response: { 200: importAnswer } },
    },
    async (request, reply) => {
      const { passphrase, document } = request.body
      const profiles = await transfer.import(document, new Secret(passphrase))
      trail.done(request, guard.callerOf(request), 'vault_imported')
      return reply.send({ profiles: [...profiles] })
    },
  )
}
