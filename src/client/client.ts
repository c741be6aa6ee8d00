/** The daemon's API as typed calls, one per route, named after the nouns of the command line. */
import { MINUTE_MS, SECOND_MS } from '../std/clock.js'
import { defined } from '../std/defined.js'
import { empty } from '../wire/common.js'
import { auditList } from '../wire/events.js'
import { type AddFileBody, fileList, fileView, removeFileAnswer } from '../wire/files.js'
import { createKeyAnswer, deleteKeyAnswer, keyList, type RenewBody, renewAnswer } from '../wire/keys.js'
import { type LoginBody, type LoginView, loginView, logoutAnswer } from '../wire/login.js'
import { pageLink } from '../wire/page.js'
import { policyList } from '../wire/policies.js'
import {
  adoptAnswer,
  type CreateWorkspaceBody,
  createWorkspaceAnswer,
  profileList,
  profileView,
  setWorkspaceAnswer,
  workspaceList,
} from '../wire/profile.js'
import {
  type CreateServiceAccountBody,
  createServiceAccountAnswer,
  deleteServiceAccountAnswer,
  type RotateBotBody,
  rotateBotAnswer,
  serviceAccountList,
} from '../wire/service-accounts.js'
import { doctor, type Status, shutdownAnswer, status, vaultAnswer, vaultMoveAnswer } from '../wire/status.js'
import {
  type CreateTokenBody,
  createTokenAnswer,
  type KeepTokensBody,
  tokenAnswer,
  tokenList,
} from '../wire/tokens.js'
import { exportAnswer, importAnswer } from '../wire/transfer.js'
import { createAskCalls } from './asks.js'
import { type Caller, createCaller, parseJson, query, understand } from './caller.js'
import { createShareCalls } from './share-calls.js'
import { parseTolerantly } from './tolerant.js'
import type { SocketRequest, Transport } from './transport.js'

export type Client = ReturnType<typeof createClient>

/** Every call rejects as `Transport` does, with the daemon's problem, or with `not_understood`. */
export function createClient(transport: Transport) {
  const caller = createCaller(transport)
  return {
    ...createReadCalls(caller),
    ...createProfileCalls(caller),
    ...createLoginCalls(caller),
    ...createKeyCalls(caller),
    ...createServiceAccountCalls(caller),
    ...createShareCalls(caller),
    ...createVaultCalls(caller),
    ...createAskCalls(caller),
  }
}

function createReadCalls({ ask, call }: Caller) {
  return {
    /** What could not be read of it is a notice. */
    status: async (): Promise<Status> => {
      const answer = await ask({ method: 'GET', path: '/v1/status' })
      const read = parseTolerantly(status, parseJson(answer.text))
      if (read === undefined) return understand(status, answer)
      const missing = read.without.map((where) => `this version cannot read part of the status: ${where}`)
      return { ...read.value, notices: [...read.value.notices, ...missing] }
    },
    doctor: (question: { readonly profile?: string; readonly check?: string } = {}, timeoutMs?: number) =>
      call(doctor, { method: 'GET', path: `/v1/doctor${query({ ...question })}`, ...defined({ timeoutMs }) }),
    metrics: async () => (await ask({ method: 'GET', path: '/metrics' })).text,
    audit: (wanted: { readonly since?: string; readonly token?: string } = {}) =>
      call(auditList, { method: 'GET', path: `/v1/audit${query(wanted)}` }),
  }
}

interface NewProfile {
  readonly name: string
  readonly api_url?: string
  readonly auth_string?: string
}

/** `null` removes the value. */
export interface ProfileChange {
  readonly api_url?: string | null
  readonly auth_string?: string | null
}

function createProfileCalls({ call }: Caller) {
  return {
    profiles: () => call(profileList, { method: 'GET', path: '/v1/profiles' }),
    profile: (name: string) => call(profileView, { method: 'GET', path: pathOf(name) }),
    useProfile: (name: string) =>
      call(profileView, { method: 'PUT', path: '/v1/profiles/active', body: { name } }),
    createProfile: (body: NewProfile) => call(profileView, { method: 'POST', path: '/v1/profiles', body }),
    changeProfile: (name: string, body: ProfileChange) =>
      call(profileView, { method: 'PATCH', path: pathOf(name), body }),
    deleteProfile: (name: string) => call(empty, { method: 'DELETE', path: pathOf(name) }),
    renameProfile: (name: string, to: string) =>
      call(profileView, { method: 'POST', path: `${pathOf(name)}/rename`, body: { to } }),
    adopt: (name: string) => call(adoptAnswer, { method: 'POST', path: `${pathOf(name)}/adopt`, body: {} }),
    /** `isKept`: what Prefect does not delete stays in the vault. */
    logout: (name: string, revoke: boolean, isKept?: true) => {
      const body = { revoke, ...defined({ keep_unrevoked: isKept }) }
      return call(logoutAnswer, { method: 'POST', path: `${pathOf(name)}/logout`, body })
    },
    workspaces: (name: string) => call(workspaceList, { method: 'GET', path: `${pathOf(name)}/workspaces` }),
    createWorkspace: (name: string, body: CreateWorkspaceBody) =>
      call(createWorkspaceAnswer, { method: 'POST', path: `${pathOf(name)}/workspaces`, body }),
    setWorkspace: (name: string, workspace: string) =>
      call(setWorkspaceAnswer, { method: 'PUT', path: `${pathOf(name)}/workspace`, body: { workspace } }),
  }
}

interface NewKey {
  readonly profile?: string
  readonly name: string
  /** RFC 3339; absent if it never expires. */
  readonly expires_at?: string
}

/** A new key may have to be asked about several times before Prefect accepts it. */
const RENEWED_WITHIN_MS = 200 * SECOND_MS

function createKeyCalls({ call }: Caller) {
  return {
    keys: (profile?: string) => call(keyList, { method: 'GET', path: `/v1/keys${query({ profile })}` }),
    createKey: (body: NewKey) => call(createKeyAnswer, { method: 'POST', path: '/v1/keys', body }),
    deleteKey: (id: string, options: { readonly profile?: string; readonly sure?: 'true' } = {}) => {
      const path = `/v1/keys/${encodeURIComponent(id)}${query({ ...options })}`
      return call(deleteKeyAnswer, { method: 'DELETE', path })
    },
    renew: (profile: string, body: RenewBody) =>
      call(renewAnswer, {
        method: 'POST',
        path: `/v1/keys/${encodeURIComponent(profile)}/renew`,
        body,
        timeoutMs: RENEWED_WITHIN_MS,
      }),
    createToken: (body: CreateTokenBody) =>
      call(createTokenAnswer, { method: 'POST', path: '/v1/tokens', body }),
    tokens: () => call(tokenList, { method: 'GET', path: '/v1/tokens' }),
    openPage: () => call(pageLink, { method: 'POST', path: '/v1/page' }),
    token: (idOrName: string) => call(tokenAnswer, { method: 'GET', path: tokenPath(idOrName) }),
    policies: () => call(policyList, { method: 'GET', path: '/v1/policies' }),
    keepTokens: (body: KeepTokensBody) => call(tokenList, { method: 'POST', path: '/v1/tokens/keep', body }),
    revokeToken: (id: string) => call(empty, { method: 'DELETE', path: tokenPath(id) }),
  }
}

function tokenPath(id: string): string {
  return `/v1/tokens/${encodeURIComponent(id)}`
}

function createServiceAccountCalls({ call }: Caller) {
  const pathOfAccount = (account: string) => `/v1/service-accounts/${encodeURIComponent(account)}`
  return {
    serviceAccounts: (profile?: string) =>
      call(serviceAccountList, { method: 'GET', path: `/v1/service-accounts${query({ profile })}` }),
    createServiceAccount: (body: CreateServiceAccountBody) =>
      call(createServiceAccountAnswer, {
        method: 'POST',
        path: '/v1/service-accounts',
        body,
        timeoutMs: RENEWED_WITHIN_MS,
      }),
    deleteServiceAccount: (
      account: string,
      options: { readonly profile?: string; readonly sure?: 'true' } = {},
    ) => {
      const path = `${pathOfAccount(account)}${query({ ...options })}`
      return call(deleteServiceAccountAnswer, { method: 'DELETE', path })
    },
    rotateServiceAccount: ({ name, ...body }: RotateBotBody) =>
      call(rotateBotAnswer, { method: 'POST', path: `${pathOfAccount(name)}/rotate`, body }),
  }
}

/** A keychain takes a process for each secret. */
const VAULT_MS = 10 * MINUTE_MS

/** The vault, the kept files, and the daemon itself. */
function createVaultCalls({ call }: Caller) {
  return {
    unlock: (passphrase: string) =>
      call(vaultAnswer, { method: 'POST', path: '/v1/vault/unlock', body: { passphrase } }),
    files: () => call(fileList, { method: 'GET', path: '/v1/files' }),
    addFile: (body: AddFileBody) => call(fileView, { method: 'POST', path: '/v1/files', body }),
    removeFile: (path: string) =>
      call(removeFileAnswer, { method: 'DELETE', path: `/v1/files${query({ path })}` }),
    lock: () => call(vaultAnswer, { method: 'POST', path: '/v1/vault/lock', body: {} }),
    moveVault: (body: { readonly to: string; readonly passphrase?: string }) =>
      call(vaultMoveAnswer, { method: 'POST', path: '/v1/vault/move', body, timeoutMs: VAULT_MS }),
    exportVault: (passphrase: string) =>
      call(exportAnswer, {
        method: 'POST',
        path: '/v1/vault/export',
        body: { passphrase },
        timeoutMs: VAULT_MS,
      }),
    importVault: (body: { readonly passphrase: string; readonly document: unknown }) =>
      call(importAnswer, { method: 'POST', path: '/v1/vault/import', body, timeoutMs: VAULT_MS }),
    rekeyVault: (body: { readonly passphrase?: string }) =>
      call(vaultMoveAnswer, { method: 'POST', path: '/v1/vault/rekey', body, timeoutMs: VAULT_MS }),
    shutDown: () => call(shutdownAnswer, { method: 'POST', path: '/v1/shutdown', body: {} }),
  }
}

function pathOf(profile: string): string {
  return `/v1/profiles/${encodeURIComponent(profile)}`
}

/** A login, and what a long poll needs to wait for its next change. */
export interface LoginSnapshot {
  readonly view: LoginView
  readonly etag: string | undefined
}

const POLL_S = 60

function createLoginCalls({ ask }: Caller) {
  const step = async (request: SocketRequest): Promise<LoginSnapshot> => {
    const answer = await ask(request)
    return { view: understand(loginView, answer), etag: answer.etag }
  }
  return {
    /** `isJoined`: a login for this profile was already in progress, and this is it. */
    beginLogin: async (body: LoginBody) => {
      const answer = await ask({ method: 'POST', path: '/v1/logins', body })
      return { view: understand(loginView, answer), etag: answer.etag, isJoined: answer.status === 200 }
    },
    /** Resolves when the login has changed since `since`. */
    async waitForLogin({ view, etag }: LoginSnapshot, signal: AbortSignal): Promise<LoginSnapshot> {
      for (;;) {
        const answer = await ask({
          method: 'GET',
          path: loginPath(view.id),
          headers: { prefer: `wait=${POLL_S}`, ...defined({ 'if-none-match': etag }) },
          timeoutMs: (POLL_S + 30) * SECOND_MS,
          signal,
        })
        if (answer.status === 304) continue
        const next = understand(loginView, answer)
        if (next.version !== view.version) return { view: next, etag: answer.etag }
      }
    },
    submitKey: (id: string, body: { readonly api_key: string; readonly exchange?: boolean }) =>
      step({ method: 'POST', path: `${loginPath(id)}/key`, body }),
    submitAddress: (id: string, address: string) =>
      step({ method: 'POST', path: `${loginPath(id)}/address`, body: { address } }),
    confirmLogin: (id: string, body: { readonly accept: boolean; readonly workspace?: string }) =>
      step({ method: 'POST', path: `${loginPath(id)}/confirm`, body }),
    cancelLogin: (id: string) => step({ method: 'DELETE', path: loginPath(id) }),
  }
}

function loginPath(id: string): string {
  return `/v1/logins/${encodeURIComponent(id)}`
}
