/** The daemon itself: unlock and lock its vault, set its log level, shut it down. */
import type { FastifyRequest } from 'fastify'
import type { ApiServer } from '../http/schema.js'
import { defined } from '../std/defined.js'
import { Secret } from '../std/secret.js'
import type { MoveRequest, VaultDescription } from '../vault/vault.js'
import {
  logLevelAnswer,
  logLevelBody,
  type Status,
  shutdownAnswer,
  unlockBody,
  vaultAnswer,
  vaultMoveAnswer,
  vaultMoveBody,
  vaultRekeyBody,
} from '../wire/status.js'
import type { RouteContext } from './context.js'
import { transferRoutes } from './transfer.js'

export function vaultRoutes(api: ApiServer, context: RouteContext): void {
  const { guard, trail, vault } = context
  transferRoutes(api, context)
  api.post(
    '/v1/vault/unlock',
    {
      config: { needs: 'admin', summary: 'Unlock the vault with its passphrase' },
      schema: { body: unlockBody, response: { 200: vaultAnswer } },
    },
    async (request, reply) => {
      const unlocked = await vault.unlock(new Secret(request.body.passphrase))
      trail.done(request, guard.callerOf(request), 'vault_unlock')
      return reply.send({ vault: renderVault(unlocked) })
    },
  )
  api.post(
    '/v1/vault/lock',
    {
      config: { needs: 'admin', summary: "Lock the vault: forget its passphrase's key" },
      schema: { response: { 200: vaultAnswer } },
    },
    async (_request, reply) => reply.send({ vault: renderVault(await vault.lock()) }),
  )
  const move = async (request: FastifyRequest, { to, passphrase }: MoveWish) => {
    const secret = passphrase === undefined ? undefined : new Secret(passphrase)
    const moved = await vault.move({ to, ...defined({ passphrase: secret }) })
    trail.done(request, guard.callerOf(request), 'vault_moved')
    return { vault: renderVault(moved.vault), items: moved.count }
  }
  api.post(
    '/v1/vault/move',
    {
      config: { needs: 'admin', summary: 'Move every secret into another vault' },
      schema: { body: vaultMoveBody, response: { 200: vaultMoveAnswer } },
    },
    async (request, reply) => reply.send(await move(request, request.body)),
  )
  api.post(
    '/v1/vault/rekey',
    {
      config: { needs: 'admin', summary: 'Make a new data key, and a new passphrase if it has one' },
      schema: { body: vaultRekeyBody, response: { 200: vaultMoveAnswer } },
    },
    async (request, reply) => reply.send(await move(request, { to: 'rekey', ...request.body })),
  )
}

interface MoveWish {
  readonly to: MoveRequest['to']
  readonly passphrase?: string | undefined
}

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
      // Only once the answer is out, or its reader gone.
      reply.raw.once('close', shutdown)
      return reply.code(202).send({ message: 'the daemon is shutting down' })
    },
  )
}

export function renderVault({ backend, atRest, because, state, problem }: VaultDescription): Status['vault'] {
  return { backend, at_rest: atRest, because, state, ...defined({ problem: problem && { ...problem } }) }
}
