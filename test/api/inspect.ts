/** What a token with the power inspect sees: its own profiles, and nothing about others. */
import t from 'tap'
import { BrokerError } from '../../src/base/errors.js'
import { ask, json, startApi } from '../fixtures/api-under-test.js'

t.test('shows a token only its own profiles', async (t) => {
  const api = await startApi(t)
  const token = await api.broker.token('inspect', ['server', 'empty'])
  for (const path of ['/v1/status', '/v1/profiles', '/v1/keys', '/metrics']) {
    const all = await ask(api.socket, path)
    const mine = await ask(api.tcp, path, { token })
    t.equal(mine.status, 200, path)
    t.match(all.text, /"?profile"?[=:]"cloud"|"name":"cloud"/, `${path} has it for the owner`)
    t.notMatch(mine.text, /"?profile"?[=:]"cloud"|"name":"cloud"/, `${path} does not have it for the token`)
    t.match(mine.text, 'server', path)
  }
  t.same(json(await ask(api.tcp, '/v1/status', { token })).notices, [], 'sentences may name any profile')
  t.same(json(await ask(api.tcp, '/v1/keys', { token })).notices, ['asked for server', 'asked for empty'])
})

t.test('hides secrets in the profile file, whatever they are called', async (t) => {
  const api = await startApi(t)
  const settings = {
    PREFECT_API_URL: 'http://me:hush@localhost:4200/api',
    PREFECT_API_DATABASE_PASSWORD: 'hush',
    PREFECT_API_DATABASE_CONNECTION_URL: 'postgresql://me:hush@db/prefect',
    PREFECT_CLIENT_CUSTOM_HEADERS: '{"x": "hush"}',
    PREFECT_UI_API_URL: 'pnu_hush',
    PREFECT_LOGGING_LEVEL: 'DEBUG',
  }
  const entry = { name: 'server', settings }
  Object.assign(api.broker.deps.credentials.reading().file, { profiles: new Map([['server', entry]]) })
  const answer = await ask(api.socket, '/v1/profiles/server')
  t.notMatch(answer.text, 'hush')
  t.match(json(answer), {
    api_url: 'http://[secret]@localhost:4200/api',
    settings: { PREFECT_LOGGING_LEVEL: 'DEBUG', PREFECT_CLIENT_CUSTOM_HEADERS: '[secret]' },
  })
  t.notMatch((await ask(api.socket, '/v1/status')).text, 'hush')
})

t.test('says why a profile is not ready', async (t) => {
  const api = await startApi(t)
  t.same(
    json(await ask(api.socket, '/readyz')),
    { ready: true, degraded: 'it could not be renewed', hint: 'prefect-auth doctor' },
    'a key that serves and could not be renewed',
  )
  api.broker.refuse(
    'cloud',
    new BrokerError('vault_locked', 'the vault is locked', { hint: 'prefect-auth unlock' }),
  )
  for (const path of ['/readyz', '/readyz/cloud']) {
    const answer = await ask(api.socket, path)
    t.equal(answer.status, 503)
    t.same(json(answer), { ready: false, reason: 'the vault is locked', hint: 'prefect-auth unlock' })
  }
  t.equal((await ask(api.socket, '/readyz/server')).status, 200)
  t.equal((await ask(api.socket, '/readyz/nobody')).status, 404)
  t.same(json(await ask(api.socket, '/v1/profiles/cloud')).login_required, false, 'locked is not logged out')
  api.broker.refuse('cloud', new BrokerError('login_required', 'there is no key'))
  t.same(json(await ask(api.socket, '/v1/profiles/cloud')).login_required, true)
})

t.test('counts answers and hand-outs in the metrics', async (t) => {
  const api = await startApi(t)
  await ask(api.socket, '/v1/credentials')
  await ask(api.socket, '/v1/env')
  await ask(api.socket, '/v1/env?profile=nobody')
  await ask(api.socket, '/no/such/path/pnu_x')
  const { text, headers } = await ask(api.socket, '/metrics')
  t.match(headers['content-type'], 'text/plain; version=0.0.4')
  for (const line of [
    'prefect_auth_up 1',
    'prefect_auth_requests_total{route="/v1/credentials",method="GET",status="200"} 1',
    'prefect_auth_requests_total{route="/v1/env",method="GET",status="404"} 1',
    'prefect_auth_requests_total{route="",method="GET",status="404"} 1',
    'prefect_auth_credentials_handed_out_total{profile="cloud"} 2',
    'prefect_auth_credentials_handed_out_total{profile="server"} 0',
    'prefect_auth_generation{profile="cloud"} 7',
    'prefect_auth_ready{profile="cloud"} 1',
    'prefect_auth_key_expiry_timestamp_seconds{profile="cloud"} 1795219200',
  ]) {
    t.ok(text.split('\n').includes(line), line)
  }
  t.notMatch(text, 'pnu_x', 'paths are the callers’ to invent')
})

t.test('describes every route with its power and its schemas', async (t) => {
  const api = await startApi(t)
  const token = await api.broker.token('inspect')
  const description = json(await ask(api.tcp, '/openapi.json', { token }))
  t.match(description, {
    openapi: '3.1.0',
    paths: {
      '/v1/credentials': {
        get: {
          'x-power': 'use',
          parameters: [{ name: 'profile', in: 'query', required: false, schema: { type: 'string' } }],
          responses: { 200: { content: { 'application/json': { schema: { type: 'object' } } } } },
        },
      },
      '/v1/profiles/{name}': {
        patch: {
          'x-power': 'admin',
          parameters: [{ name: 'name', in: 'path', required: true }],
          requestBody: { content: { 'application/json': { schema: { additionalProperties: false } } } },
        },
      },
      '/livez': { get: { 'x-power': 'none', security: [{}] } },
      '/proxy/{profile}/api/{path}': {
        parameters: [{ name: 'profile', in: 'path' }, { name: 'path' }],
        get: { 'x-power': 'proxy', responses: { 503: { description: /wait/ } } },
        delete: { 'x-power': 'proxy' },
      },
    },
  })
  const described = JSON.stringify(description.paths)
  for (const { url } of api.app.routes) t.ok(described.includes(`"${url.replace(/:(\w+)/g, '{$1}')}"`), url)
})
