/** The daemon's API as typed calls, one per route, in the nouns of the command line. */
import { empty } from '../wire/common.js'
import { auditList } from '../wire/events.js'
import {
  createKeyAnswer,
  deleteKeyAnswer,
  keyList,
  type RenewBody,
  type RotateBotBody,
  renewAnswer,
  rotateBotAnswer,
} from '../wire/keys.js'
import { logoutAnswer } from '../wire/login.js'
import { adoptAnswer, profileList, profileView, setWorkspaceAnswer, workspaceList } from '../wire/profile.js'
import { doctor, status, vaultAnswer } from '../wire/status.js'
import { type CreateTokenBody, createTokenAnswer, tokenList } from '../wire/tokens.js'
import { type Caller, createCaller, query } from './call.js'
import { createLoginCalls } from './login-calls.js'
import type { Transport } from './transport.js'

export type Client = ReturnType<typeof createClient>

/** All calls fail as `Transport` does, with the daemon's problem, or with `not_understood`. */
export function createClient(transport: Transport) {
  const caller = createCaller(transport)
  return {
    ...createLookingCalls(caller),
    ...createProfileCalls(caller),
    ...createLoginCalls(caller),
    ...createKeyCalls(caller),
    ...createVaultCalls(caller),
  }
}

function createLookingCalls({ ask, call }: Caller) {
  return {
    status: () => call(status, { method: 'GET', path: '/v1/status' }),
    doctor: () => call(doctor, { method: 'GET', path: '/v1/doctor' }),
    metrics: async () => (await ask({ method: 'GET', path: '/metrics' })).text,
    audit: (since?: string) => call(auditList, { method: 'GET', path: `/v1/audit${query({ since })}` }),
  }
}

export interface NewProfile {
  readonly name: string
  readonly api_url?: string
  readonly auth_string?: string
}

/** What a profile shall become; `null` removes. */
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
    logout: (name: string, revoke: boolean) =>
      call(logoutAnswer, { method: 'POST', path: `${pathOf(name)}/logout`, body: { revoke } }),
    workspaces: (name: string) => call(workspaceList, { method: 'GET', path: `${pathOf(name)}/workspaces` }),
    setWorkspace: (name: string, workspace: string) =>
      call(setWorkspaceAnswer, { method: 'PUT', path: `${pathOf(name)}/workspace`, body: { workspace } }),
  }
}

export interface NewKey {
  readonly profile?: string
  readonly name: string
  /** RFC 3339; absent: never expires. */
  readonly expires_at?: string
}

/** A new key may have to be asked about several times before Prefect accepts it. */
const RENEWED_WITHIN_MS = 200_000

function createKeyCalls({ call }: Caller) {
  return {
    keys: (profile?: string) => call(keyList, { method: 'GET', path: `/v1/keys${query({ profile })}` }),
    createKey: (body: NewKey) => call(createKeyAnswer, { method: 'POST', path: '/v1/keys', body }),
    deleteKey: (id: string, profile?: string) => {
      const path = `/v1/keys/${encodeURIComponent(id)}${query({ profile })}`
      return call(deleteKeyAnswer, { method: 'DELETE', path })
    },
    renew: (profile: string, body: RenewBody) =>
      call(renewAnswer, {
        method: 'POST',
        path: `/v1/keys/${encodeURIComponent(profile)}/renew`,
        body,
        timeoutMs: RENEWED_WITHIN_MS,
      }),
    rotateServiceAccount: (body: RotateBotBody) =>
      call(rotateBotAnswer, { method: 'POST', path: '/v1/keys/rotate-service-account', body }),
    createToken: (body: CreateTokenBody) =>
      call(createTokenAnswer, { method: 'POST', path: '/v1/tokens', body }),
    tokens: () => call(tokenList, { method: 'GET', path: '/v1/tokens' }),
    revokeToken: (id: string) =>
      call(empty, { method: 'DELETE', path: `/v1/tokens/${encodeURIComponent(id)}` }),
  }
}

function createVaultCalls({ call }: Caller) {
  return {
    unlock: (passphrase: string) =>
      call(vaultAnswer, { method: 'POST', path: '/v1/vault/unlock', body: { passphrase } }),
    lock: () => call(vaultAnswer, { method: 'POST', path: '/v1/vault/lock', body: {} }),
  }
}

function pathOf(profile: string): string {
  return `/v1/profiles/${encodeURIComponent(profile)}`
}
