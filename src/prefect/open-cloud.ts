/** Prefect Cloud over HTTP: its calls, and how to open it from the daemon's environment. */
import { defined } from '../std/defined.js'
import type { AccountApi } from './account.js'
import { createAccountCalls } from './account-calls.js'
import { keyAnswer, keysAnswer, mintedKeyAnswer, userAnswer, workspacesAnswer } from './answers.js'
import { type CallOptions, createCloudCaller } from './call.js'
import type { CloudApi, CloudDefaults, CloudTarget } from './cloud.js'
import { isProxyBase } from './proxied.js'
import { deletionOf, formatExpiration, isGone, read, requireOwnRefusal } from './replies.js'
import { pathSegment, resolveProxySettings } from './way-out.js'

/** As Prefect's own clients send them: `/me/` has a trailing slash, the others have none. */
const PATHS = {
  me: '/me/',
  workspaces: '/me/workspaces',
  keys: (userId: string) => `/users/${pathSegment(userId)}/api_keys`,
  key: (userId: string, keyId: string) => `/users/${pathSegment(userId)}/api_keys/${pathSegment(keyId)}`,
}

/**
 * Loopback is never proxied, redirects are never followed, and a key is created at most once per call. Rejects as
 * `CloudApi` says.
 */
export function createCloudHttp(options: CallOptions): CloudApi & AccountApi {
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
      return deletionOf(
        await caller.call(target, { method: 'DELETE', path, purpose: 'delete a key', accept: [404] }),
      )
    },
    ...createAccountCalls(caller),
    close: () => caller.close(),
  }
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
): CloudApi & AccountApi {
  const { SSL_CERT_FILE: caFile } = env
  return createCloudHttp({
    ...options,
    tls: defined({ caFile: caFile || undefined }),
    proxy: resolveProxySettings(env),
  })
}
