/** Listeners: limits, slow callers, and bytes that are not a request. */
import { connect, type Server, type Socket } from 'node:net'
import { setTimeout as pause, setImmediate as turn } from 'node:timers/promises'
import fastify from 'fastify'
import t, { type Test } from 'tap'
import { ask, askRaw, json, type Place, startApi, statusIn, testBoth } from '../fixtures/api-under-test.js'

function open(t: Pick<Test, 'teardown'>, place: Place): Promise<Socket> {
  const socket = connect('port' in place ? place : { path: place.socketPath })
  t.teardown(() => socket.destroy())
  socket.on('error', () => undefined)
  return new Promise((resolve) => socket.once('connect', () => resolve(socket)))
}

function connectionsOf(server: Server | undefined): Promise<number> {
  return new Promise((resolve) => server?.getConnections((_error, count) => resolve(count)))
}

testBoth(t, 'answers bytes that are not a request without echoing them', async (t, recogniser) => {
  const { socket, tcp } = await startApi(t, { recogniser })
  const junk = [
    ['no HTTP', 'pnu_JUNK\r\n\r\n', 400],
    ['TLS', '\x16\x03\x01\x02\x00\x01\x00', 400],
    ['two lengths', 'POST / HTTP/1.1\r\nHost: authd\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n', 400],
    [
      'a length and chunks',
      'POST / HTTP/1.1\r\nHost: authd\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n',
      400,
    ],
    ['a bare line feed in a header', 'GET / HTTP/1.1\r\nHost: authd\r\nX: a\nb: pnu_JUNK\r\n\r\n', 400],
    ['large headers', `GET / HTTP/1.1\r\nHost: authd\r\nX: ${'pnu_JUNK'.repeat(2_000)}\r\n\r\n`, 431],
    ['CONNECT', 'CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n', 400],
  ] as const
  for (const [name, text, status] of junk) {
    for (const place of [socket, tcp]) {
      const raw = await askRaw(place, text)
      t.equal(statusIn(raw), status, name)
      t.match(raw, 'application/problem+json')
      t.notMatch(raw, /JUNK|evil/)
      t.match(JSON.parse(raw.split('\r\n\r\n')[1] ?? ''), { code: 'bad_request', status })
    }
  }
})

testBoth(t, 'ends requests that never finish with 408', async (t, recogniser) => {
  const { socket } = await startApi(t, { limits: { headersMs: 200, requestMs: 400 }, recogniser })
  const slow = [
    ['nothing at all', ''],
    ['half a header', 'GET /livez HTTP/1.1\r\nHost: au'],
    [
      'half a body',
      'POST /v1/logins HTTP/1.1\r\nHost: authd\r\nContent-Type: application/json\r\nContent-Length: 90\r\n\r\n{',
    ],
  ] as const
  for (const [name, text] of slow) {
    const raw = await askRaw(socket, text)
    t.equal(statusIn(raw), 408, name)
  }
})

t.test('keeps other listeners open while one is flooded, and reuses freed places', async (t) => {
  const api = await startApi(t, { limits: { maxConnections: 50 } })
  const token = await api.broker.token('use')
  const flood = await Promise.all(Array.from({ length: 200 }, () => open(t, api.tcp)))
  t.equal((await ask(api.socket, '/v1/status')).status, 200, 'the owner is served')
  await t.rejects(ask(api.tcp, '/livez'), 'the flooded door is full')
  for (const socket of flood) socket.destroy()
  let status = 0
  while (status !== 200) {
    status = await ask(api.tcp, '/v1/status', { token }).then(
      (answer) => answer.status,
      () => 0,
    )
  }
  t.equal(status, 200)
})

t.test('shows that a server without limits keeps every connection', async (t) => {
  const naive = fastify()
  await naive.listen({ port: 0, host: '127.0.0.1' })
  t.teardown(() => naive.close())
  const address = naive.server.address()
  const place: Place = {
    port: typeof address === 'object' && address !== null ? address.port : 0,
    host: '127.0.0.1',
  }
  await Promise.all(Array.from({ length: 200 }, () => open(t, place)))
  while ((await connectionsOf(naive.server)) < 200) await pause(5)
  t.equal(await connectionsOf(naive.server), 200)
})

t.test('answers the owner while ten thousand callers connect', async (t) => {
  const api = await startApi(t)
  const [, , tcpServer] = api.servers
  let kept = 0
  let dropped = 0
  tcpServer?.on('connection', () => {
    kept += 1
  })
  tcpServer?.on('drop', () => {
    dropped += 1
  })
  const batch = 250
  for (let opened = batch; opened <= 10_000; opened += batch) {
    await Promise.all(Array.from({ length: batch }, () => open(t, api.tcp)))
    // The kernel keeps a queue of 511; Node takes one connection a turn out of it.
    while (kept + dropped < opened) await turn()
  }
  t.equal((await ask(api.socket, '/v1/credentials')).status, 200)
  t.equal((await ask(api.tcp, '/livez')).status, 200, 'and a newcomer')
  t.ok((await connectionsOf(tcpServer)) <= 300, 'most of them were closed again')
})

t.test('accepts only small JSON documents as bodies', async (t) => {
  const { socket, broker } = await startApi(t)
  const path = '/v1/vault/unlock'
  const as = (type: string) => ({ 'content-type': type })
  const cases = [
    ['text/plain', as('text/plain'), '{"passphrase":"x"}', 415],
    ['text/plain that claims more', as('text/plain; application/json'), '{"passphrase":"x"}', 415],
    ['a form', as('application/x-www-form-urlencoded'), 'passphrase=x', 415],
    ['no type', as(''), '{"passphrase":"x"}', 415],
    ['JSON with a charset', as('application/json; charset=utf-8'), '{"passphrase":"x"}', 200],
    ['no JSON', {}, '{"passphrase":', 400],
    ['an empty body', {}, '', 400],
    ['__proto__', {}, '{"passphrase":"x","__proto__":{"a":1}}', 400],
    ['constructor.prototype', {}, '{"passphrase":"x","constructor":{"prototype":{}}}', 400],
    ['16 KiB and a byte', {}, `{"passphrase":"${'x'.repeat(16 * 1024)}"}`, 413],
  ] as const
  for (const [name, headers, body, status] of cases) {
    const answer = await ask(socket, path, { method: 'POST', headers, body })
    t.equal(answer.status, status, `${name}: ${answer.text}`)
    if (status !== 200) t.match(answer.headers['content-type'], 'application/problem+json')
  }
  t.equal(broker.calls.length, 1)
  const chunked = `POST ${path} HTTP/1.1\r\nHost: authd\r\nConnection: close\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n`
  const chunk = `4000\r\n${'x'.repeat(0x4000)}\r\n`
  t.equal(
    statusIn(await askRaw(socket, `${chunked}${chunk}${chunk}0\r\n\r\n`)),
    413,
    'chunks beyond the limit',
  )
})

t.test('lists the methods of a path that does not accept the one used', async (t) => {
  const { socket } = await startApi(t)
  const cases = [
    ['DELETE', '/v1/status?x=1', 'GET'],
    ['GET', '/v1/shutdown', 'POST'],
    ['GET', '/v1/vault/unlock', 'POST'],
    ['PUT', '/v1/profiles/cloud', 'DELETE, GET, PATCH'],
    ['OPTIONS', '/v1/keys', 'GET, POST'],
  ] as const
  for (const [method, path, allow] of cases) {
    const answer = await ask(socket, path, { method })
    t.same([answer.status, answer.headers.allow], [405, allow], `${method} ${path}`)
    t.match(json(answer), { code: 'method_not_allowed', status: 405 })
  }
  t.equal((await ask(socket, '/v1/nothing', { method: 'DELETE' })).status, 404)
})

t.test('ignores an offer of HTTP/2', async (t) => {
  const { socket } = await startApi(t)
  const headers = {
    connection: 'Upgrade, HTTP2-Settings',
    upgrade: 'h2c',
    'http2-settings': 'AAMAAABkAAQCAAAAAAIAAAAA',
  }
  t.equal((await ask(socket, '/livez', { headers })).status, 200)
})
