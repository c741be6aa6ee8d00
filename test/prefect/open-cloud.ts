/** The calls themselves: paths, headers, bodies, and what is made of good answers. */
import t, { type Test } from 'tap'
import type { CloudApi } from '../../src/prefect/cloud.js'
import {
  createTestCloud,
  failureOf,
  keepingLog,
  TEST_KEY,
  TEST_USER_ID,
  target,
} from '../fixtures/cloud-client.js'
import { type Behaviour, json, startServer } from '../fixtures/cloud-server.js'

const KEY_ID = 'aaaaaaaa-0000-0000-0000-000000000001'

async function serve(t: Test, behave: Behaviour, options: Parameters<typeof createTestCloud>[0] = {}) {
  const server = await startServer(behave)
  const cloud = createTestCloud(options)
  t.teardown(async () => {
    await cloud.close()
    await server.close()
  })
  return { server, cloud, at: target(server.port) }
}

const CALLS: readonly {
  readonly name: string
  readonly call: (cloud: CloudApi, at: ReturnType<typeof target>) => Promise<unknown>
  readonly request: string
  readonly status: number
  readonly answer: unknown
  readonly result: unknown
}[] = [
  {
    name: 'me',
    call: (cloud, at) => cloud.me(at),
    request: 'GET /api/me/',
    status: 200,
    answer: {
      id: TEST_USER_ID,
      handle: 'terry',
      email: 't@example.com',
      first_name: 'Terry',
      last_name: null,
      new: 1,
    },
    result: { id: TEST_USER_ID, handle: 'terry', email: 't@example.com', name: 'Terry' },
  },
  {
    name: 'me without a handle',
    call: (cloud, at) => cloud.me(at),
    request: 'GET /api/me/',
    status: 200,
    answer: { id: TEST_USER_ID, handle: null, email: 't@example.com' },
    result: { id: TEST_USER_ID, handle: 't@example.com', email: 't@example.com' },
  },
  {
    name: 'workspaces, with names that carry an escape sequence',
    call: (cloud, at) => cloud.workspaces(at),
    request: 'GET /api/me/workspaces',
    status: 200,
    answer: [
      {
        account_id: 'AAAAAAAA-0000-0000-0000-000000000002',
        account_handle: 'prefect',
        account_name: 'Pre\x1b[31mfect',
        workspace_id: 'aaaaaaaa-0000-0000-0000-000000000003',
        workspace_handle: 'terry',
        workspace_name: null,
        workspace_description: 'x',
      },
    ],
    result: [
      {
        accountId: 'aaaaaaaa-0000-0000-0000-000000000002',
        accountHandle: 'prefect',
        accountName: 'Pre [31mfect',
        workspaceId: 'aaaaaaaa-0000-0000-0000-000000000003',
        workspaceHandle: 'terry',
      },
    ],
  },
  {
    name: 'readKey',
    call: (cloud, at) => cloud.readKey(at, TEST_USER_ID, KEY_ID),
    request: `GET /api/users/${TEST_USER_ID}/api_keys/${KEY_ID}`,
    status: 200,
    answer: {
      id: KEY_ID,
      name: 'n',
      created: '2026-01-01T02:00:00.123456+02:00',
      expiration: null,
      key: null,
    },
    result: { id: KEY_ID, name: 'n', createdAt: Date.parse('2026-01-01T00:00:00.123Z') },
  },
  {
    name: 'readKey of a key that is gone',
    call: (cloud, at) => cloud.readKey(at, TEST_USER_ID, KEY_ID),
    request: `GET /api/users/${TEST_USER_ID}/api_keys/${KEY_ID}`,
    status: 404,
    answer: { detail: 'Not Found' },
    result: undefined,
  },
  {
    name: 'listKeys',
    call: (cloud, at) => cloud.listKeys(at, TEST_USER_ID),
    request: `GET /api/users/${TEST_USER_ID}/api_keys`,
    status: 200,
    answer: [{ id: KEY_ID, name: 'cli-1', expiration: '2026-02-01T00:00:00' }],
    result: [{ id: KEY_ID, name: 'cli-1', expiresAt: Date.parse('2026-02-01T00:00:00Z') }],
  },
  ...[404, 405].map((status) => ({
    name: `listKeys where there is no such list (${status})`,
    call: (cloud: CloudApi, at: ReturnType<typeof target>) => cloud.listKeys(at, TEST_USER_ID),
    request: `GET /api/users/${TEST_USER_ID}/api_keys`,
    status,
    answer: { detail: 'no' },
    result: undefined,
  })),
  {
    name: 'deleteKey',
    call: (cloud, at) => cloud.deleteKey(at, TEST_USER_ID, KEY_ID),
    request: `DELETE /api/users/${TEST_USER_ID}/api_keys/${KEY_ID}`,
    status: 204,
    answer: undefined,
    result: 'deleted',
  },
  {
    name: 'deleteKey of a key that is gone',
    call: (cloud, at) => cloud.deleteKey(at, TEST_USER_ID, KEY_ID),
    request: `DELETE /api/users/${TEST_USER_ID}/api_keys/${KEY_ID}`,
    status: 404,
    answer: { detail: 'Not Found' },
    result: 'already_gone',
  },
]

for (const { name, call, request, status, answer, result } of CALLS) {
  t.test(`${name} asks with Prefect's own path and reads the answer`, async (t) => {
    const { server, cloud, at } = await serve(t, (response) =>
      answer === undefined ? response.writeHead(status).end() : json(response, status, answer),
    )
    t.strictSame(await call(cloud, at), result)
    const [seen] = server.seen
    t.equal(`${seen?.method} ${seen?.path}`, request)
    t.equal(seen?.headers.authorization, `Bearer ${TEST_KEY}`)
    t.equal(seen?.headers['user-agent'], 'prefect-auth-broker/test')
    t.equal(server.seen.length, 1)
  })
}

t.test(
  'createKey sends a length, a UTC expiry in whole seconds, and hands over the key as a secret',
  async (t) => {
    const minted = `pnu_${'z9'.repeat(18)}`
    const { server, cloud, at } = await serve(t, (response) =>
      json(response, 201, {
        id: KEY_ID,
        name: 'n',
        created: '2026-01-01T00:00:00Z',
        expiration: '2026-01-31T00:00:00+00:00',
        key: minted,
      }),
    )
    const key = await cloud.createKey(at, TEST_USER_ID, {
      name: 'n',
      expiresAt: Date.parse('2026-01-31T00:00:00.999Z'),
    })
    t.equal(key.key.reveal(), minted)
    t.equal(key.expiresAt, Date.parse('2026-01-31T00:00:00Z'))
    t.notMatch(JSON.stringify(key), minted)
    const [seen] = server.seen
    t.strictSame(JSON.parse(seen?.body ?? ''), { name: 'n', expiration: '2026-01-31T00:00:00Z' })
    t.equal(seen?.headers['content-length'], String(Buffer.byteLength(seen?.body ?? '')))
    t.equal(seen?.headers['transfer-encoding'], undefined)
    t.equal(seen?.headers['content-type'], 'application/json')
    t.equal(`${seen?.method} ${seen?.path}`, `POST /api/users/${TEST_USER_ID}/api_keys`)
  },
)

t.test('createKey without an expiry leaves the field out', async (t) => {
  const { server, cloud, at } = await serve(t, (response) =>
    json(response, 201, { id: KEY_ID, name: 'ü', key: 'pnu_1' }),
  )
  await cloud.createKey(at, TEST_USER_ID, { name: 'ü' })
  t.equal(server.seen[0]?.body, '{"name":"ü"}')
})

t.test("reports the server's date with the time of its arrival", async (t) => {
  const dates: number[][] = []
  const { cloud, at } = await serve(
    t,
    (response, _request, turn) => {
      response.setHeader('date', turn === 1 ? 'Fri, 20 Nov 2026 10:00:05 GMT' : 'yesterday')
      json(response, 200, [])
    },
    { onServerDate: (_url, serverAt, receivedAt) => dates.push([serverAt, receivedAt]) },
  )
  const before = Date.now()
  await cloud.workspaces(at)
  await cloud.workspaces(at)
  t.equal(dates.length, 1)
  t.equal(dates[0]?.[0], Date.parse('2026-11-20T10:00:05Z'))
  t.ok((dates[0]?.[1] ?? 0) >= before)
})

t.test('nothing is dialed for a key or a URL that must not be sent', async (t) => {
  const { server, cloud, at } = await serve(t, (response) => json(response, 200, []))
  for (const key of ['', 'pnu_a\r\nx-evil: 1', 'pnu_é', 'pnu_\x00', 'a b']) {
    const error = await failureOf(cloud.workspaces(target(server.port, key)))
    t.equal(error.code, 'key_malformed')
    if (key !== '') t.notMatch(error.message, key)
  }
  const plain = { ...at, cloudApiUrl: `http://localtest.me:${server.port}/api` }
  t.equal((await failureOf(cloud.workspaces(plain))).code, 'api_url_invalid')
  t.equal((await failureOf(cloud.deleteKey(at, TEST_USER_ID, '..'))).code, 'prefect_not_found')
  t.equal((await failureOf(cloud.deleteKey(at, '../accounts', 'x'))).code, 'prefect_not_found')
  t.equal(server.seen.length, 0)
  t.equal(server.sockets.size, 0)
})

t.test('the log says what was asked and never the key', async (t) => {
  const { log, lines } = keepingLog()
  const { cloud, at } = await serve(t, (response) => json(response, 401, { detail: `bad ${TEST_KEY}` }), {
    log,
  })
  await failureOf(cloud.me(at))
  t.match(lines.join(), 'Prefect Cloud request failed')
  t.notMatch(lines.join(), TEST_KEY)
})

t.test(
  'close ends a question at once, lets a key being made arrive, and refuses what comes later',
  async (t) => {
    const { server, cloud, at } = await serve(t, (response, request) => {
      if (request.method === 'POST')
        setTimeout(() => json(response, 201, { id: KEY_ID, name: 'n', key: 'pnu_1' }), 150)
    })
    const question = failureOf(cloud.me(at))
    const mint = cloud.createKey(at, TEST_USER_ID, { name: 'n' })
    while (server.seen.length < 2) await new Promise((resolve) => setTimeout(resolve, 5))
    const closing = cloud.close()
    t.equal((await question).code, 'shutting_down')
    t.equal((await mint).id, KEY_ID)
    await closing
    t.equal((await failureOf(cloud.me(at))).code, 'shutting_down')
    while (server.sockets.size > 0) await new Promise((resolve) => setTimeout(resolve, 5))
  },
)
