/** The daemon itself: `PUT /v1/log-level` and `POST /v1/shutdown`. */
import type { ApiServer } from '../http/schema.js'
import { Secret } from '../std/secret.js'
import { logLevelAnswer, logLevelBody, shutdownAnswer, unlockBody, vaultAnswer } from '../wire/status.js'
import type { RouteContext } from './context.js'
import { describeApi } from './openapi.js'
import { renderVault } from './status.js'

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
