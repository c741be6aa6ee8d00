/** `POST /v1/vault/unlock` and `lock`. */

import type { ApiServer } from '../http/schema.js'
import { Secret } from '../std/secret.js'
import { unlockBody, vaultAnswer } from '../wire/status.js'
import type { RouteContext } from './context.js'
import { renderVault } from './status.js'

export function vaultRoutes(api: ApiServer, { guard, trail, vault }: RouteContext): void {
  api.post(
    '/v1/vault/unlock',
    {
      config: { needs: 'admin', summary: 'Open the vault with its passphrase' },
      schema: { body: unlockBody, response: { 200: vaultAnswer } },
    },
    async (request, reply) => {
      const opened = await vault.unlock(new Secret(request.body.passphrase))
      trail.done(request, guard.callerOf(request), 'vault_unlock')
      return reply.send({ vault: renderVault(opened) })
    },
  )
  api.post(
    '/v1/vault/lock',
    {
      config: { needs: 'admin', summary: 'Forget the key of the vault' },
      schema: { response: { 200: vaultAnswer } },
    },
    async (_request, reply) => reply.send({ vault: renderVault(await vault.lock()) }),
  )
}
