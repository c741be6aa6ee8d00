/** Prefect Cloud over HTTP: its calls, and how to open it from the daemon's environment. */
import type { z } from 'zod'
import { SECOND_MS } from '../std/clock.js'
import { defined } from '../std/defined.js'
import {
  keyAnswer,
  keysAnswer,
  mintedKeyAnswer,
  readAnswer,
  rotatedKeyAnswer,
  serviceAccountsAnswer,
  userAnswer,
  workspacesAnswer,
} from './answers.js'
import { type Answered, type CallOptions, createCloudCaller } from './call.js'
import type { CloudApi, CloudDefaults, CloudTarget, ServiceAccountsApi } from './cloud.js'
import { isProxyBase } from './proxied.js'
import { describeBody, isOwnRefusal, unexpected } from './refusals.js'
import { pathSegment, resolveProxySettings } from './way-out.js'

/** As Prefect's own clients send them: `/me/` has a trailing slash, the others have none. */
const PATHS = {
  me: '/me/',
  workspaces: '/me/workspaces',
  keys: (userId: string) => `/users/${pathSegment(userId)}/api_keys`,
  bots: (accountId: string) => `/accounts/${pathSegment(accountId)}/bots`,
  key: (userId: string, keyId: string) => `/users/${pathSegment(userId)}/api_keys/${pathSegment(keyId)}`,
}

/**
 * Loopback is never proxied, redirects are never followed, and a key is created at most once per call. Rejects as
 * `CloudApi` says.
 */
export function createCloudHttp(options: CallOptions): CloudApi & ServiceAccountsApi {
  const caller = createCloudCaller(options)

  const get = (target: CloudTarget, path: string, purpose: string, accept: readonly number[] = []) =>
    caller.call(target, { method: 'GET', path, purpose, accept })

  return {
    async me(target) {
      return read(userAnswer, await get(target, PATHS.me, 'find out who owns the key'))
    },
    async workspaces(target) {
      return read(workspacesAnswer, await get(target, PATHS.workspaces, 'list the workspaces'))
    },
    async createKey(target, userId, { name, expiresAt }) {
      const expiration = expiresAt === undefined ? undefined : formatExpiration(expiresAt)
      const body = JSON.stringify({ name, expiration })
      const call = { method: 'POST', path: PATHS.keys(userId), purpose: 'create a key', body } as const
      return read(mintedKeyAnswer, await caller.call(target, call))
    },
    async readKey(target, userId, keyId) {
      const answered = await get(target, PATHS.key(userId, keyId), 'read a key', [404])
      return isGone(answered) ? undefined : read(keyAnswer, answered)
    },
    async listKeys(target, userId) {
      const answered = await get(target, PATHS.keys(userId), 'list the keys', [404, 405])
      if (answered.answer.status < 400) return read(keysAnswer, answered)
      requireOwnRefusal(answered)
      return undefined
    },
    async deleteKey(target, userId, keyId) {
      const path = PATHS.key(userId, keyId)
      const answered = await caller.call(target, {
        method: 'DELETE',
        path,
        purpose: 'delete a key',
        accept: [404],
      })
      if (isGone(answered)) return 'already_gone'
      const { answer, asked } = answered
      // Prefect sends 204 without a body; anything else may be anybody's.
      if (answer.status !== 204) throw unexpected(asked, describeBody(answer))
      answered.believe()
      return 'deleted'
    },
    async serviceAccounts(target, accountId, name) {
      const body = JSON.stringify({ service_accounts: { name: { any_: [name] } } })
      const path = `${PATHS.bots(accountId)}/filter`
      const call = { method: 'POST', path, purpose: 'find a service account', body } as const
      return read(serviceAccountsAnswer, await caller.call(target, call))
    },
    async rotateServiceAccountKey(target, accountId, id, { oldKeyLivesMs, expiresAt }) {
      const body = JSON.stringify({
        api_key_expiration: expiresAt === undefined ? null : formatExpiration(expiresAt),
        old_key_expires_in_seconds: Math.round(oldKeyLivesMs / SECOND_MS),
      })
      const path = `${PATHS.bots(accountId)}/${pathSegment(id)}/rotate_api_key`
      const call = { method: 'POST', path, purpose: "rotate a service account's key", body } as const
      return read(rotatedKeyAnswer, await caller.call(target, call))
    },
    close: () => caller.close(),
  }
}

function read<T>(schema: z.ZodType<T>, { answer, asked, believe }: Answered): T {
  const found = readAnswer(schema, answer, asked)
  believe()
  return found
}

/** Only Prefect's own 404, in JSON, says that a key is gone; a proxy's "404 page not found" says nothing about keys. */
function isGone(answered: Answered): boolean {
  if (answered.answer.status !== 404) return false
  requireOwnRefusal(answered)
  return true
}

function requireOwnRefusal({ answer, asked, believe }: Answered): void {
  if (!isOwnRefusal(answer)) throw unexpected(asked, describeBody(answer))
  believe()
}

/** RFC 3339, UTC, rounded down to seconds: a key must not live longer than requested. */
function formatExpiration(at: number): string {
  return `${new Date(at).toISOString().slice(0, 19)}Z`
}

type Environment = Readonly<Record<string, string | undefined>>

/** `PREFECT_CLOUD_API_URL` and `PREFECT_CLOUD_UI_URL` of the daemon's environment, without trailing slashes. */
export function cloudDefaults(env: Environment): CloudDefaults {
  const { PREFECT_CLOUD_API_URL: set, PREFECT_CLOUD_UI_URL: ui } = env
  // A daemon started by a job of its own proxy would be its own upstream.
  const api = set !== undefined && isProxyBase(set) ? undefined : set
  return {
    cloudApiUrl: (api === undefined || api === '' ? 'https://api.prefect.cloud/api' : api).replace(
      /\/+$/,
      '',
    ),
    ...defined({ cloudUiUrl: ui?.replace(/\/+$/, '') || undefined }),
  }
}

/** `SSL_CERT_FILE` and the usual proxy variables; empty counts as unset. */
export function openCloudFromEnv(
  env: Environment,
  options: Omit<CallOptions, 'tls' | 'proxy'>,
): CloudApi & ServiceAccountsApi {
  const { SSL_CERT_FILE: caFile } = env
  return createCloudHttp({
    ...options,
    tls: defined({ caFile: caFile || undefined }),
    proxy: resolveProxySettings(env),
  })
}
