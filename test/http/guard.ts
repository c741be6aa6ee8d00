/** Every registered route, attacked through every listener. */
import { once } from 'node:events'
import { createServer } from 'node:http'
import fastify from 'fastify'
import t, { type Test } from 'tap'
import type { RouteFacts } from '../../src/api/observe/openapi.js'
import { systemClock } from '../../src/std/clock.js'
import {
  type ApiUnderTest,
  ask,
  askRaw,
  json,
  type Place,
  startApi,
  statusIn,
  testBoth,
} from '../fixtures/api-under-test.js'
import { CLOUD_KEY } from '../fixtures/fake-broker.js'

/** The words of the attacks, as a browser or a stranger would send them, to any server. */
const foreignHeaders: readonly (readonly [name: string, headers: Record<string, string>, status: number])[] =
  [
    ['a rebound name', { host: 'evil.example' }, 421],
    ['a rebound name with the right port', { host: 'evil.example:PORT' }, 421],
    ['another port of this machine', { host: '127.0.0.1:1' }, 421],
    ['an IPv6 name', { host: '[::1]:PORT' }, 421],
    ['a name with a dot at the end', { host: 'localhost.:PORT' }, 421],
    ['the origin of a web page', { origin: 'https://evil.example' }, 403],
    ['the origin null', { origin: 'null' }, 403],
    ['our own origin', { origin: 'http://127.0.0.1:PORT' }, 403],
    ['a referer', { referer: 'https://evil.example/' }, 403],
    ['sec-fetch-site', { 'sec-fetch-site': 'none' }, 403],
    ['sec-fetch-mode', { 'Sec-Fetch-Mode': 'navigate' }, 403],
    ['a WebSocket handshake', { connection: 'upgrade', upgrade: 'websocket' }, 400],
  ]

const rawAttacks: readonly (readonly [name: string, request: (line: string, host: string) => string])[] = [
  ['two Hosts', (line, host) => `${line} HTTP/1.1\r\nHost: ${host}\r\nHost: evil.example\r\n\r\n`],
  [
    'two Hosts, the bad one first',
    (line, host) => `${line} HTTP/1.1\r\nHost: evil.example\r\nHost: ${host}\r\n\r\n`,
  ],
  ['the same Host twice', (line, host) => `${line} HTTP/1.1\r\nHost: ${host}\r\nHost: ${host}\r\n\r\n`],
  ['an empty Host', (line) => `${line} HTTP/1.1\r\nHost:\r\n\r\n`],
  ['HTTP/1.0 without a Host', (line) => `${line} HTTP/1.0\r\n\r\n`],
  ['HTTP/1.1 without a Host', (line) => `${line} HTTP/1.1\r\nConnection: close\r\n\r\n`],
]

function pathOf({ url }: RouteFacts): string {
  return url.replace(':name', 'cloud').replace(':profile', 'cloud').replace(':id', 'x')
}

/** Writes the place's port where the attack has to know it. */
function aimed(headers: Record<string, string>, place: Place): Record<string, string> {
  const port = 'port' in place ? String(place.port) : '80'
  return Object.fromEntries(
    Object.entries(headers).map(([name, value]) => [name, value.replace('PORT', port)]),
  )
}

function hostOf(place: Place): string {
  return 'port' in place ? `127.0.0.1:${place.port}` : 'authd'
}

function untouched(t: Pick<Test, 'same'>, api: ApiUnderTest): void {
  t.same(api.broker.calls, [], 'nothing was changed')
  t.same(api.broker.handedOut, [], 'nothing was handed out')
}

t.test('a server without the guard lets every one of these attacks in', async (t) => {
  const naive = fastify({ http: { requireHostHeader: false } })
  naive.get('/v1/credentials', async () => ({ key: CLOUD_KEY }))
  await naive.listen({ port: 0, host: '127.0.0.1' })
  t.teardown(() => naive.close())
  const address = naive.server.address()
  const port = typeof address === 'object' && address !== null ? address.port : 0
  const place: Place = { port, host: '127.0.0.1' }
  for (const [name, headers] of foreignHeaders) {
    const { text } = await ask(place, '/v1/credentials', { headers: aimed(headers, place) })
    t.match(text, CLOUD_KEY, name)
  }
  for (const [name, request] of rawAttacks) {
    const raw = request('GET /v1/credentials', hostOf(place)).replace(
      '\r\n\r\n',
      '\r\nConnection: close\r\n\r\n',
    )
    t.match(await askRaw(place, raw), CLOUD_KEY, name)
  }
})

testBoth(
  t,
  'rejects foreign requests at every route and listener, even with the best token',
  async (t, recogniser) => {
    const api = await startApi(t, { recogniser })
    const token = await api.broker.token('use')
    for (const place of [api.socket, api.restricted, api.tcp]) {
      for (const route of api.app.routes) {
        for (const [name, headers, status] of foreignHeaders) {
          const answer = await ask(place, pathOf(route), {
            method: route.method,
            headers: aimed(headers, place),
            token,
          })
          if (answer.status !== status || answer.text.includes(CLOUD_KEY)) {
            t.fail(`${name} reached ${route.method} ${route.url}: ${answer.status} ${answer.text}`)
          }
        }
      }
    }
    t.ok(api.app.routes.length > 30, 'there were routes to attack')
    untouched(t, api)
  },
)

testBoth(t, 'rejects a second, empty or missing Host header at every route', async (t, recogniser) => {
  const api = await startApi(t, { recogniser })
  for (const route of api.app.routes) {
    for (const [name, request] of rawAttacks) {
      const raw = request(`${route.method} ${pathOf(route)}`, 'authd').replace(
        '\r\n\r\n',
        '\r\nConnection: close\r\n\r\n',
      )
      const status = statusIn(await askRaw(api.socket, raw))
      if (status !== 421 && status !== 400) t.fail(`${name} reached ${route.method} ${route.url}: ${status}`)
    }
  }
  untouched(t, api)
})

testBoth(t, 'rejects a request target that is not a path', async (t, recogniser) => {
  const api = await startApi(t, { recogniser })
  const targets = ['http://authd/v1/credentials', 'http://evil.example/v1/credentials', '*']
  for (const target of targets) {
    const method = target === '*' ? 'OPTIONS' : 'GET'
    const raw = await askRaw(
      api.socket,
      `${method} ${target} HTTP/1.1\r\nHost: authd\r\nConnection: close\r\n\r\n`,
    )
    t.equal(statusIn(raw), 400, target)
  }
  untouched(t, api)
})

testBoth(
  t,
  'answers nothing but liveness without a token, except on the owner’s socket',
  async (t, recogniser) => {
    const api = await startApi(t, { recogniser })
    for (const place of [api.tcp, api.restricted]) {
      for (const route of api.app.routes) {
        const { status, headers } = await ask(place, pathOf(route), { method: route.method })
        const expected = route.url === '/livez' ? 200 : 401
        if (status !== expected) t.fail(`${route.method} ${route.url} answered ${status}`)
        if (expected === 401 && headers['www-authenticate'] !== 'Bearer')
          t.fail(`no challenge at ${route.url}`)
      }
    }
    untouched(t, api)
  },
)

testBoth(t, 'rejects a bad token on every listener, even the owner’s socket', async (t, recogniser) => {
  const api = await startApi(t, { recogniser })
  const dead = await api.broker.token('use', ['*'], -1)
  const bad = [
    `Bearer ${dead}`,
    `Bearer pab_${'x'.repeat(43)}`,
    'Bearer ',
    'Bearer pnu_0123',
    'Basic dXNlcjpwYXNz',
    '',
  ]
  for (const place of [api.socket, api.restricted, api.tcp]) {
    for (const route of api.app.routes) {
      for (const authorization of bad) {
        const answer = await ask(place, pathOf(route), { method: route.method, headers: { authorization } })
        if (answer.status !== 401)
          t.fail(`'${authorization}' reached ${route.method} ${route.url}: ${answer.status}`)
      }
    }
  }
  untouched(t, api)
})

testBoth(t, 'never gives a token the power admin, or any power but its own', async (t, recogniser) => {
  const api = await startApi(t, { recogniser })
  const allowed = { inspect: ['none', 'inspect'], proxy: ['none'], use: ['none', 'use', 'inspect'] } as const
  for (const power of ['inspect', 'proxy', 'use'] as const) {
    const token = await api.broker.token(power)
    const mayNot = api.app.routes.filter(({ needs }) => !allowed[power].some((one) => one === needs))
    t.ok(mayNot.length > 15, `there are routes that ${power} must not reach`)
    for (const place of [api.socket, api.restricted, api.tcp]) {
      for (const route of mayNot) {
        const answer = await ask(place, pathOf(route), { method: route.method, token })
        if (answer.status !== 403 || !answer.text.includes('power_missing')) {
          t.fail(`${power} reached ${route.method} ${route.url}: ${answer.status} ${answer.text}`)
        }
      }
    }
  }
  untouched(t, api)
})

testBoth(t, 'rejects a token for one profile at the routes of another', async (t, recogniser) => {
  const api = await startApi(t, { recogniser })
  const token = await api.broker.token('use', ['server'])
  const named = api.app.routes.filter(({ needs }) => needs === 'use' || needs === 'inspect')
  let tried = 0
  for (const route of named) {
    const isNamed = /:name|:profile/.test(route.url)
    if (!isNamed && route.schema.querystring === undefined) continue
    tried += 1
    const path = isNamed ? pathOf(route) : `${route.url}?profile=cloud`
    for (const place of [api.socket, api.tcp]) {
      const answer = await ask(place, path, { token })
      if (answer.status !== 403) t.fail(`${route.method} ${path} answered ${answer.status} ${answer.text}`)
    }
  }
  t.equal(tried, 7, 'credentials, env, profile, workspaces, keys, readyz, doctor')
  untouched(t, api)
})

testBoth(
  t,
  'guards unknown paths, other methods and paths that cannot be decoded, too',
  async (t, recogniser) => {
    const api = await startApi(t, { recogniser })
    for (const path of ['/nothing', '/%zz', '/v1/env/', `/v1/profiles/${'x'.repeat(2000)}`]) {
      for (const method of ['GET', 'OPTIONS', 'HEAD', 'POST', 'TRACE']) {
        const at = `${method} ${path.slice(0, 20)}`
        t.equal((await ask(api.tcp, path, { method })).status, 401, `${at} without a token`)
        const foreign = { host: 'evil.example' }
        t.equal(
          (await ask(api.socket, path, { method, headers: foreign })).status,
          421,
          `${at} of another host`,
        )
        const origin = { origin: 'https://evil.example' }
        t.equal((await ask(api.socket, path, { method, headers: origin })).status, 403, `${at} from a page`)
      }
    }
  },
)

t.test('accepts only the host names of the listener, and those of the settings', async (t) => {
  const api = await startApi(t, { hosts: ['broker.internal:4280'] })
  const token = await api.broker.token('inspect')
  const own = [`127.0.0.1:${api.tcp.port}`, `localhost:${api.tcp.port}`, 'broker.internal:4280']
  for (const host of own) t.equal((await ask(api.tcp, '/livez', { headers: { host } })).status, 200, host)
  for (const host of ['authd', 'localhost', '127.0.0.1']) {
    t.equal((await ask(api.tcp, '/livez', { headers: { host } })).status, 421, `${host} over TCP`)
  }
  for (const host of ['authd', 'localhost']) {
    t.equal((await ask(api.socket, '/v1/status', { headers: { host } })).status, 200, host)
    t.equal((await ask(api.restricted, '/v1/status', { headers: { host }, token })).status, 200, host)
  }
  t.equal((await ask(api.socket, '/livez', { headers: { host: 'broker.internal:4280' } })).status, 421)
})

testBoth(t, 'rejects a request from an unknown server', async (t, recogniser) => {
  const api = await startApi(t, { recogniser })
  const [owner] = api.servers
  const stray = createServer((request, response) => owner?.emit('request', request, response))
  stray.listen(0, '127.0.0.1')
  await once(stray, 'listening')
  t.teardown(() => stray.close())
  const address = stray.address()
  const port = typeof address === 'object' && address !== null ? address.port : 0
  const answer = await ask({ port, host: '127.0.0.1' }, '/v1/credentials', { headers: { host: 'authd' } })
  t.equal(answer.status, 421)
})

t.test('audits who was refused, and limits how many refusals a flood can write', async (t) => {
  // Time stands still, so a slow machine earns no further lines.
  const api = await startApi(t, { clock: { ...systemClock(), monotonic: () => 0 } })
  const token = await api.broker.token('inspect')
  await ask(api.tcp, '/v1/credentials', { token, headers: { 'user-agent': 'curl/8\u00ff' } })
  const [line] = api.broker.audit
  t.match(line, {
    action: 'refused',
    outcome: 'refused',
    door: 'tcp',
    code: 'power_missing',
    tokenId: 'tok1',
    agent: 'curl/8?',
  })
  for (let count = 0; count < 200; count += 1)
    await ask(api.socket, '/livez', { headers: { host: 'evil.example' } })
  t.ok(api.broker.audit.length < 60, 'a burst, then one a second')
  t.ok(api.broker.audit.length >= 30)
})

testBoth(t, 'accepts Bearer in any case, and limits even the owner by a token', async (t, recogniser) => {
  const api = await startApi(t, { recogniser })
  const token = await api.broker.token('inspect', ['server'])
  const answer = await ask(api.socket, '/v1/status', { headers: { authorization: `bearer ${token}` } })
  t.equal(answer.status, 200)
  t.match(json(answer).profiles, [{ name: 'server' }])
  t.equal((await ask(api.socket, '/v1/credentials', { token })).status, 403)
})
