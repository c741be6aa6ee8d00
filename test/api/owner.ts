/** Every route as the owner uses it: its answer against its schema, and its audit line. */
import t from 'tap'
import type { z } from 'zod'
import { BrokerError } from '../../src/base/errors.js'
import { systemClock } from '../../src/std/clock.js'
import { Secret } from '../../src/std/secret.js'
import { answeredAsk, askDetail, askList } from '../../src/wire/asks.js'
import { empty } from '../../src/wire/common.js'
import { auditList } from '../../src/wire/events.js'
import { fileList, fileView, removeFileAnswer } from '../../src/wire/files.js'
import { createKeyAnswer, deleteKeyAnswer, keyList, renewAnswer } from '../../src/wire/keys.js'
import { loginView, logoutAnswer } from '../../src/wire/login.js'
import { pageLink } from '../../src/wire/page.js'
import { policyList } from '../../src/wire/policies.js'
import {
  adoptAnswer,
  createWorkspaceAnswer,
  profileList,
  profileView,
  setWorkspaceAnswer,
  workspaceList,
} from '../../src/wire/profile.js'
import {
  createServiceAccountAnswer,
  deleteServiceAccountAnswer,
  rotateBotAnswer,
  serviceAccountList,
} from '../../src/wire/service-accounts.js'
import {
  probeAnswer,
  removedSecretAnswer,
  shareList,
  shareSecretAnswer,
  shareView,
} from '../../src/wire/shares.js'
import {
  doctor,
  live,
  logLevelAnswer,
  ready,
  shutdownAnswer,
  status,
  vaultAnswer,
  vaultMoveAnswer,
} from '../../src/wire/status.js'
import { createTokenAnswer, tokenAnswer, tokenList } from '../../src/wire/tokens.js'
import { exportAnswer, importAnswer } from '../../src/wire/transfer.js'
import { type ApiUnderTest, ask, json, startApi } from '../fixtures/api-under-test.js'
import { CLOUD_KEY, EXPORT, WORKSPACE } from '../fixtures/fake-broker.js'

const fingerprint = (text: string) => new Secret(text).fingerprint()

interface Case {
  readonly ask: string
  readonly body?: unknown
  readonly status?: number
  readonly schema: z.ZodType
  /** What the domain was called with. */
  readonly call?: string
  readonly audit?: string
}

const cases: readonly Case[] = [
  { ask: 'GET /v1/status', schema: status },
  { ask: 'GET /v1/doctor', schema: doctor },
  {
    ask: 'POST /v1/keys/cloud/renew',
    schema: renewAnswer,
    call: 'renewal.renew cloud false',
    audit: 'key_renewed',
  },
  {
    ask: 'POST /v1/keys/cloud/renew',
    body: { if_due: true },
    schema: renewAnswer,
    call: 'renewal.renew cloud true',
  },
  {
    ask: 'POST /v1/keys/rotate-service-account',
    body: { profile: 'empty', name: 'ci', owner_profile: 'cloud', old_key_lives_s: 60 },
    schema: rotateBotAnswer,
    call: 'serviceAccounts.rotate empty ci cloud 60000',
    audit: 'key_rotated',
  },
  {
    ask: 'POST /v1/service-accounts/c%2Fi/rotate',
    body: { profile: 'empty', owner_profile: 'cloud', old_key_lives_s: 60 },
    schema: rotateBotAnswer,
    call: 'serviceAccounts.rotate empty c/i cloud 60000',
    audit: 'key_rotated',
  },
  { ask: 'GET /v1/service-accounts?profile=cloud', schema: serviceAccountList },
  { ask: 'GET /v1/shares', schema: shareList },
  {
    ask: 'POST /v1/shares/prod/init',
    body: { service_account: 'fleet', overlap_s: 7200 },
    status: 201,
    schema: shareView,
    call: 'shares.init prod fleet 7200000',
    audit: 'share_initialised',
  },
  {
    ask: 'POST /v1/shares/prod/probe',
    body: { service_account: 'spare' },
    schema: probeAnswer,
    call: 'shares.probe prod spare',
    audit: 'share_probed',
  },
  {
    ask: 'PUT /v1/share-secrets/prod',
    body: { value: 'hvs.12345' },
    schema: shareSecretAnswer,
    call: 'secrets.put prod 9',
    audit: 'share_secret_put',
  },
  {
    ask: 'DELETE /v1/share-secrets/prod',
    schema: removedSecretAnswer,
    call: 'secrets.remove prod',
    audit: 'share_secret_removed',
  },
  {
    ask: 'POST /v1/shares/prod/use',
    body: { profile: 'empty' },
    schema: shareView,
    call: 'shares.use prod empty',
    audit: 'share_used',
  },
  {
    ask: 'POST /v1/shares/prod/rotate',
    schema: shareView,
    call: 'shares.rotate prod',
    audit: 'share_rotated',
  },
  {
    ask: 'POST /v1/shares/prod/adopt',
    body: { api_key: 'pnb_12345' },
    schema: shareView,
    call: 'shares.adopt prod 9',
    audit: 'share_adopted',
  },
  {
    ask: 'POST /v1/shares/prod/leave',
    body: { profile: 'empty' },
    schema: empty,
    call: 'shares.leave prod empty',
    audit: 'share_left',
  },
  {
    ask: 'POST /v1/service-accounts',
    body: { profile: 'empty', name: 'ci', expires_at: '2027-01-01T00:00:00Z', role: null },
    status: 201,
    schema: createServiceAccountAnswer,
    call: 'serviceAccounts.create empty ci null',
    audit: 'service_account_created',
  },
  {
    ask: 'DELETE /v1/service-accounts/ci?sure=true',
    schema: deleteServiceAccountAnswer,
    call: 'serviceAccounts.delete ci true',
    audit: 'service_account_deleted',
  },
  {
    ask: 'POST /v1/profiles/cloud/workspaces',
    body: { handle: 'new', account: 'prefect' },
    status: 201,
    schema: createWorkspaceAnswer,
    call: 'workspaces.create cloud prefect/new',
    audit: 'workspace_created',
  },
  { ask: 'GET /v1/profiles', schema: profileList },
  { ask: 'GET /v1/profiles/cloud', schema: profileView },
  {
    ask: 'PUT /v1/profiles/active',
    body: { name: 'server' },
    schema: profileView,
    call: 'profiles.use server',
    audit: 'profile_changed',
  },
  {
    ask: 'POST /v1/profiles',
    body: { name: 'empty', api_url: 'http://x/api' },
    status: 201,
    schema: profileView,
    call: 'profiles.create empty http://x/api',
    audit: 'profile_changed',
  },
  {
    ask: 'PATCH /v1/profiles/cloud',
    body: { api_url: null, auth_string: 'a:b' },
    schema: profileView,
    call: 'profiles.change cloud {"apiUrl":null,"authString":"[secret]"}',
    audit: 'profile_changed',
  },
  {
    ask: 'PATCH /v1/profiles/cloud',
    body: { auth_string: null },
    schema: profileView,
    call: 'profiles.change cloud {"authString":null}',
    audit: 'profile_changed',
  },
  {
    ask: 'DELETE /v1/profiles/cloud',
    schema: empty,
    call: 'profiles.delete cloud',
    audit: 'profile_changed',
  },
  {
    ask: 'POST /v1/profiles/cloud/rename',
    body: { to: 'server' },
    schema: profileView,
    call: 'profiles.rename cloud server',
    audit: 'profile_changed',
  },
  { ask: 'POST /v1/profiles/cloud/adopt', schema: adoptAnswer, call: 'profiles.adopt cloud', audit: 'adopt' },
  {
    ask: 'POST /v1/profiles/cloud/logout',
    schema: logoutAnswer,
    call: 'profiles.logout cloud false',
    audit: 'logout',
  },
  {
    ask: 'POST /v1/profiles/cloud/logout',
    body: { revoke: true },
    schema: logoutAnswer,
    call: 'profiles.logout cloud true',
    audit: 'logout',
  },
  { ask: 'GET /v1/profiles/cloud/workspaces', schema: workspaceList },
  {
    ask: 'PUT /v1/profiles/cloud/workspace',
    body: { workspace: 'prefect/terry' },
    schema: setWorkspaceAnswer,
    call: 'workspaces.choose cloud prefect/terry',
    audit: 'profile_changed',
  },
  {
    ask: 'POST /v1/logins',
    body: { owner: 'terry', switch_owner: true },
    status: 201,
    schema: loginView,
    call: 'logins.begin cloud {"owner":"terry","switchOwner":true}',
  },
  { ask: 'POST /v1/logins', status: 200, schema: loginView, call: 'logins.begin cloud {}' },
  { ask: 'GET /v1/logins/login1', schema: loginView },
  {
    ask: 'POST /v1/logins/login1/key',
    body: { api_key: 'pnu_typed' },
    schema: loginView,
    call: `logins.submitKey ${fingerprint('pnu_typed')} false`,
  },
  {
    ask: 'POST /v1/logins/login1/address',
    body: { address: 'http://localhost:1/?key=pnu_TYPED' },
    schema: loginView,
    call: `logins.submitAddress ${new Secret('http://localhost:1/?key=pnu_TYPED').fingerprint()}`,
  },
  {
    ask: 'POST /v1/logins/login1/confirm',
    body: { accept: true, workspace: 'a/b' },
    schema: loginView,
    call: 'logins.confirm true a/b',
  },
  { ask: 'DELETE /v1/logins/login1', schema: loginView, call: 'logins.cancel login1' },
  { ask: 'GET /v1/keys', schema: keyList },
  {
    ask: 'POST /v1/keys',
    body: { name: 'ci', expires_at: '2027-01-01T00:00:00Z' },
    status: 201,
    schema: createKeyAnswer,
    call: 'keys.create cloud ci',
    audit: 'key_created',
  },
  {
    ask: 'DELETE /v1/keys/k1?profile=cloud',
    schema: deleteKeyAnswer,
    call: 'keys.delete k1',
    audit: 'key_deleted',
  },
  {
    ask: 'POST /v1/tokens',
    body: { name: 'ci' },
    status: 201,
    schema: createTokenAnswer,
    audit: 'token_created',
  },
  { ask: 'GET /v1/tokens', schema: tokenList },
  { ask: 'GET /v1/tokens/tok1', schema: tokenAnswer },
  { ask: 'GET /v1/policies', schema: policyList },
  { ask: 'GET /v1/asks', schema: askList },
  { ask: 'GET /v1/asks/1', schema: askDetail },
  { ask: 'POST /v1/asks/1', body: { accept: true, for: 'hour' }, schema: answeredAsk, audit: 'ask_accepted' },
  { ask: 'POST /v1/asks/2', body: { accept: false }, schema: answeredAsk, audit: 'ask_refused' },
  { ask: 'POST /v1/tokens/keep', body: { all: true }, schema: tokenList, audit: 'token_kept' },
  { ask: 'DELETE /v1/tokens/tok1', schema: empty, audit: 'token_revoked' },
  { ask: 'POST /v1/page', status: 201, schema: pageLink, audit: 'page_link' },
  { ask: 'GET /v1/files', schema: fileList },
  {
    ask: 'POST /v1/files',
    body: { path: '/h/key', what: 'key', replace: true },
    status: 201,
    schema: fileView,
    call: 'files.add /h/key key true',
  },
  {
    ask: 'DELETE /v1/files?path=/h/key',
    schema: removeFileAnswer,
    call: 'files.remove /h/key',
  },
  { ask: 'GET /v1/audit', schema: auditList },
  {
    ask: 'POST /v1/vault/unlock',
    body: { passphrase: 'hush' },
    schema: vaultAnswer,
    call: `vault.unlock ${fingerprint('hush')}`,
    audit: 'vault_unlock',
  },
  {
    ask: 'POST /v1/vault/move',
    body: { to: 'passphrase', passphrase: 'hush' },
    schema: vaultMoveAnswer,
    call: `vault.move passphrase ${fingerprint('hush')}`,
    audit: 'vault_moved',
  },
  {
    ask: 'POST /v1/vault/rekey',
    body: {},
    schema: vaultMoveAnswer,
    call: 'vault.move rekey ',
    audit: 'vault_moved',
  },
  {
    ask: 'POST /v1/vault/export',
    body: { passphrase: 'hush' },
    schema: exportAnswer,
    call: `transfer.export ${fingerprint('hush')}`,
    audit: 'vault_exported',
  },
  {
    ask: 'POST /v1/vault/import',
    body: { passphrase: 'hush', document: EXPORT },
    schema: importAnswer,
    call: `transfer.import ${fingerprint('hush')}`,
    audit: 'vault_imported',
  },
  { ask: 'POST /v1/vault/lock', body: {}, schema: vaultAnswer, call: 'vault.lock' },
  { ask: 'PUT /v1/log-level', body: { level: 'debug' }, schema: logLevelAnswer, call: 'log-level debug' },
  { ask: 'GET /livez', schema: live },
  { ask: 'GET /readyz', schema: ready },
  { ask: 'GET /readyz/server', schema: ready },
  { ask: 'POST /v1/shutdown', status: 202, schema: shutdownAnswer, call: 'shutdown', audit: 'shutdown' },
]

/** Two requests that wait, of different operations. */
async function openQuestions({ broker, tcp }: ApiUnderTest): Promise<void> {
  const asking = { name: 'agent', power: 'proxy', profiles: ['*'], lifeMs: 60_000, ask: 'write' } as const
  const { token } = await broker.deps.tokens.create(asking)
  for (const path of ['deployments/1/create_flow_run', 'variables/']) {
    const proxied = `/proxy/cloud/api/accounts/${WORKSPACE.accountId}/workspaces/${WORKSPACE.workspaceId}/${path}`
    await ask(tcp, proxied, { method: 'POST', token, body: { name: 'x' } })
  }
}

t.test('answers the owner exactly as the schemas say', async (t) => {
  const api = await startApi(t)
  await openQuestions(api)
  for (const one of cases) {
    const [method = '', path = ''] = one.ask.split(' ')
    const calls = api.broker.calls.length
    const lines = api.broker.audit.length
    const answer = await ask(api.socket, path, { method, body: one.body })
    t.equal(answer.status, one.status ?? 200, `${one.ask}: ${answer.text}`)
    t.same(one.schema.parse(json(answer)), json(answer), one.ask)
    t.equal(answer.headers['cache-control'], 'no-store')
    t.same(api.broker.calls.slice(calls), one.call === undefined ? [] : [one.call])
    t.same(
      api.broker.audit.slice(lines).map(({ action }) => action),
      one.audit === undefined ? [] : [one.audit],
    )
  }
  const exceptions = ['/v1/credentials', '/v1/env', '/v1/events', '/metrics', '/openapi.json']
  for (const { method, url } of api.app.routes) {
    const pattern = new RegExp(`^${method} ${url.replace(/:\w+/g, '[^/?]+')}(\\?|$)`)
    t.ok(exceptions.includes(url) || cases.some((one) => pattern.test(one.ask)), `${method} ${url} was asked`)
  }
})

t.test('never repeats or logs a secret that was sent', async (t) => {
  const api = await startApi(t)
  await ask(api.socket, '/v1/logins', { method: 'POST' })
  const sent = [
    ['POST', '/v1/logins/login1/key', { api_key: 'pnu_TYPED' }],
    ['POST', '/v1/logins/login1/key', { api_key: 'pnu_TYPED', extra: 1 }],
    ['POST', '/v1/logins/login1/key', { api_key: ['pnu_TYPED'] }],
    ['POST', '/v1/logins/login1/key', { pnu_TYPED: 1 }],
    ['POST', '/v1/logins/login1/address', { address: 'http://localhost:1/?key=pnu_TYPED', extra: 1 }],
    ['POST', '/v1/logins/login1/address', { address: ['http://localhost:1/?key=pnu_TYPED'] }],
    ['POST', '/v1/vault/unlock', { passphrase: 'pnu_TYPED' }],
    ['POST', '/v1/vault/unlock', '{"passphrase":"pnu_TYPED"'],
    ['POST', '/v1/vault/unlock', { passphrase: `pnu_TYPED${'x'.repeat(5000)}` }],
    ['PATCH', '/v1/profiles/cloud', { auth_string: 'pnu_TYPED' }],
    ['PUT', '/v1/log-level', { level: 'pnu_TYPED' }],
    ['GET', '/pnu_TYPED', undefined],
    ['GET', '/%zzpnu_TYPED', undefined],
  ] as const
  for (const [method, path, body] of sent) {
    const answer = await ask(api.socket, path, { method, body })
    t.notMatch(answer.text, 'TYPED', `${method} ${path}`)
  }
  t.notMatch(JSON.stringify([api.broker.logged, api.broker.audit, api.broker.calls]), 'TYPED')
})

t.test('rejects a wrong body and names the field', async (t) => {
  const api = await startApi(t)
  const wrong = [
    ['PUT', '/v1/profiles/active', {}, "'name' in the body is missing; it must be of type string"],
    ['PUT', '/v1/profiles/active', undefined, "'name' in the body is missing; it must be of type string"],
    ['PUT', '/v1/profiles/active', { name: 7 }, "'name' in the body must be of type string"],
    ['PUT', '/v1/profiles/active', [], 'the body must be of type object'],
    ['POST', '/v1/profiles', { name: 'a b' }, /^'name' in the body must be letters, digits/],
    ['PATCH', '/v1/profiles/cloud', {}, 'the body must set api_url, auth_string or both'],
    [
      'PUT',
      '/v1/log-level',
      { level: 'loud' },
      "'level' in the body must be one of debug, info, warn, error",
    ],
    [
      'POST',
      '/v1/tokens',
      { name: 'x', power: 'admin' },
      "'power' in the body must be one of inspect, proxy, use",
    ],
    ['POST', '/v1/tokens', { name: 'x', expires_in: 'soon' }, /^'expires_in' in the body must be a duration/],
    ['POST', '/v1/tokens', { name: 'x', expires_in: '366d' }, /^'expires_in' in the body must be a duration/],
    ['POST', '/v1/tokens', { name: 'x', expires_in: '0s' }, /^'expires_in' in the body must be a duration/],
    [
      'POST',
      '/v1/keys',
      { name: 'x', expires_at: 'tomorrow' },
      "'expires_at' in the body must be a datetime",
    ],
    ['GET', '/v1/audit?since=yesterday', undefined, "'since' in the query must be a datetime"],
  ] as const
  for (const [method, path, body, detail] of wrong) {
    const answer = await ask(api.socket, path, { method, body })
    t.equal(answer.status, 400, answer.text)
    t.match(json(answer), { code: 'bad_request', detail }, path)
  }
  t.same(api.broker.calls, [])
})

t.test(
  'a token is for the active profile unless told otherwise, and only for profiles that are there',
  async (t) => {
    const api = await startApi(t)
    const create = async (body: unknown) =>
      json(await ask(api.socket, '/v1/tokens', { method: 'POST', body }))
    t.match(await create({ name: 'a' }), { power: 'proxy', profiles: ['cloud'], token: /^pab_[\w-]{43}$/ })
    t.match(await create({ name: 'b', power: 'use', profiles: ['server', 'empty'] }), {
      profiles: ['server', 'empty'],
    })
    t.match(await create({ name: 'c', profiles: ['*'] }), { profiles: ['*'] })
    t.match(await create({ name: 'd', profiles: ['sever'] }), { code: 'profile_not_found' })
    t.equal(api.broker.deps.tokens.list().length, 3)
  },
)

t.test('reports a failure by its code, and an unexpected one as an opaque 500', async (t) => {
  const now = Date.UTC(2026, 0, 1)
  const api = await startApi(t, { clock: { ...systemClock(), now: () => now } })
  const lock = () => ask(api.socket, '/v1/vault/lock', { method: 'POST' })
  api.broker.failNext(
    new BrokerError('vault_not_lockable', 'this vault has no passphrase', { hint: 'nothing to do' }),
  )
  t.match(json(await lock()), {
    status: 409,
    code: 'vault_not_lockable',
    kind: 'conflict',
    hint: 'nothing to do',
  })
  const retryAt = now + 90_000
  api.broker.failNext(new BrokerError('prefect_rate_limited', 'Prefect asks to wait', { retryAt }))
  t.match((await lock()).headers, { 'retry-after': '90' })
  api.broker.failNext(new Error(`it broke on ${CLOUD_KEY}`))
  const answer = await lock()
  t.equal(answer.status, 500)
  t.notMatch(answer.text, 'broke')
  t.match(json(answer), { code: 'internal', detail: 'something went wrong inside the daemon' })
  t.match(api.broker.logged, [{ level: 'error', facts: { err: Error, route: '/v1/vault/lock' } }])
})

t.test('holds the answer about a login until it changes', async (t) => {
  const api = await startApi(t)
  const begun = await ask(api.socket, '/v1/logins', { method: 'POST' })
  t.match(begun.headers, { location: '/v1/logins/login1', etag: '"login1-1"' })
  const seen = { 'if-none-match': String(begun.headers.etag) }
  t.equal((await ask(api.socket, '/v1/logins/login1', { headers: seen })).status, 304)
  const watched = ask(api.socket, '/v1/logins/login1', { headers: { ...seen, prefer: 'wait=30' } })
  await ask(api.socket, '/v1/logins/login1/confirm', { method: 'POST', body: { accept: true } })
  t.match(json(await watched), { state: 'stored', version: 2 })
  t.equal((await ask(api.socket, '/v1/logins/nobody', { headers: { prefer: 'wait=30' } })).status, 404)
})
