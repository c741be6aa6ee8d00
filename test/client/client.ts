/** The typed client: paths, schemas, and the wait for a login. */
import t from 'tap'
import { type Client, createClient } from '../../src/client/client.js'
import { failureOf } from '../../src/client/failure.js'
import { createTransport } from '../../src/client/transport.js'
import { problem, type Script, startScriptedDaemon } from '../fixtures/scripted-daemon.js'
import { sampleLogin, sampleStatus } from '../fixtures/wire-samples.js'

async function start(t: Parameters<typeof startScriptedDaemon>[0], script: Script) {
  const daemon = await startScriptedDaemon(t, script)
  return { daemon, client: createClient(createTransport({ candidates: [daemon.socket], userAgent: 'test' })) }
}

t.test('reports an answer of the wrong shape and names the field', async (t) => {
  const { client } = await start(t, {
    'GET /v1/status': { json: { ...sampleStatus(), active: 7 } },
    'GET /v1/doctor': { text: 'hello' },
  })

  t.match(failureOf(await client.status().catch((e: unknown) => e)), {
    code: 'not_understood',
    detail: /\(at active\)/,
    hint: /prefect-auth version/,
  })
  t.match(failureOf(await client.doctor().catch((e: unknown) => e)), { code: 'not_understood' })
})

t.test("passes on the daemon's problem with code and hint", async (t) => {
  const { client } = await start(t, {
    'POST /v1/profiles/cloud/adopt': problem(
      'profile_has_no_key',
      'conflict',
      409,
      'no key there',
      'do that',
    ),
  })

  const error: unknown = await client.adopt('cloud').catch((e: unknown) => e)

  t.match(failureOf(error), {
    code: 'profile_has_no_key',
    kind: 'conflict',
    detail: 'no key there',
    hint: 'do that',
  })
})

t.test('encodes names with slashes, spaces and dots into one path segment', async (t) => {
  const { client, daemon } = await start(t, {})
  const names = ['a/b', '../../v1/shutdown', 'ä ?x=1#y', '%2e']

  for (const name of names) await client.deleteProfile(name).catch(() => undefined)

  t.same(
    daemon.asked.map(({ path }) => path),
    names.map((name) => `/v1/profiles/${name}`),
  )
})

t.test('sends every mutation to its route with its body', async (t) => {
  const table: readonly [(client: Client) => Promise<unknown>, string, unknown][] = [
    [(c) => c.useProfile('a'), 'PUT /v1/profiles/active', { name: 'a' }],
    [(c) => c.createProfile({ name: 'a' }), 'POST /v1/profiles', { name: 'a' }],
    [(c) => c.changeProfile('a', { api_url: null }), 'PATCH /v1/profiles/a', { api_url: null }],
    [(c) => c.deleteProfile('a'), 'DELETE /v1/profiles/a', undefined],
    [(c) => c.renameProfile('a', 'b'), 'POST /v1/profiles/a/rename', { to: 'b' }],
    [(c) => c.logout('a', true), 'POST /v1/profiles/a/logout', { revoke: true }],
    [(c) => c.setWorkspace('a', 'x/y'), 'PUT /v1/profiles/a/workspace', { workspace: 'x/y' }],
    [(c) => c.createKey({ name: 'ci' }), 'POST /v1/keys', { name: 'ci' }],
    [(c) => c.deleteKey('k1', { profile: 'a' }), 'DELETE /v1/keys/k1', undefined],
    [(c) => c.revokeToken('t1'), 'DELETE /v1/tokens/t1', undefined],
    [(c) => c.unlock('pass'), 'POST /v1/vault/unlock', { passphrase: 'pass' }],
    [(c) => c.lock(), 'POST /v1/vault/lock', {}],
    [(c) => c.logout('a', true, true), 'POST /v1/profiles/a/logout', { revoke: true, keep_unrevoked: true }],
    [(c) => c.addFile({ path: '/k', what: 'key' }), 'POST /v1/files', { path: '/k', what: 'key' }],
    [(c) => c.removeFile('/k'), 'DELETE /v1/files', undefined],
    [(c) => c.shutDown(), 'POST /v1/shutdown', {}],
  ]
  const { client, daemon } = await start(t, {})

  for (const [call] of table) await call(client).catch(() => undefined)

  t.same(
    daemon.asked.map(({ method, path, body }) => [`${method} ${path}`, body]),
    table.map(([, route, body]) => [route, body]),
  )
})

t.test('keeps waiting for a login through 304 and unchanged answers', async (t) => {
  let round = 0
  const { client, daemon } = await start(t, {
    'GET /v1/logins/login-1': () => {
      round += 1
      if (round === 1) return { status: 304, json: '' }
      const version = round === 2 ? 1 : 2
      return { json: sampleLogin({ version, state: 'received' }), etag: `"v${version}"` }
    },
  })
  const { signal } = new AbortController()

  const next = await client.waitForLogin({ view: sampleLogin(), etag: '"v1"' }, signal)

  t.match(next, { view: { state: 'received', version: 2 }, etag: '"v2"' })
  t.match(daemon.asked[0]?.headers, { prefer: 'wait=60', 'if-none-match': '"v1"' })
  t.equal(daemon.asked.length, 3)
})
