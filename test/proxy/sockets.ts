/** WebSockets through the proxy: handshakes, first messages in every shape, closes, refusals. */
import { once } from 'node:events'
import { STATUS_CODES } from 'node:http'
import t from 'tap'
import { WebSocket } from 'ws'
import { BrokerError } from '../../src/base/errors.js'
import { Secret } from '../../src/std/secret.js'
import { OTHER, OWN, openRaw, REAL_KEY, serveCloud, startProxy } from '../fixtures/proxy-under-test.js'
import { disguises, handshakeText } from './fixtures/frame-disguises.js'
import { auth, openSocket, said, startPrefect } from './fixtures/prefect-sockets.js'

t.test('replaces the token in the handshake by the key and forwards messages', async (t) => {
  const { url, heard } = await startPrefect(t)
  const proxy = await startProxy(t, url)
  const token = await proxy.broker.token('proxy', ['cloud'])
  for (const place of [proxy.tcp, proxy.socket, proxy.restricted]) {
    const socket = openSocket(t, place, `${proxy.base}/events/in`, { token })
    await once(socket, 'open')
    socket.send('{"event":"x"}')
    t.equal(await said(socket), 'heard 13')
    socket.close(4001, 'enough')
    const [code] = await once(socket, 'close')
    t.equal(code, 4001)
  }
  t.match(heard[0], {
    authorization: `Bearer ${REAL_KEY}`,
    path: `/api${OWN}/events/in`,
    messages: ['{"event":"x"}'],
    closed: { code: 4001, reason: 'enough' },
  })
})

t.test('accepts a token in the first frame, after a ping', async (t) => {
  const { url, heard } = await startPrefect(t)
  const proxy = await startProxy(t, url)
  const token = await proxy.broker.token('proxy', ['cloud'])
  for (const place of [proxy.tcp, proxy.restricted]) {
    const socket = openSocket(t, place, `${proxy.base}/events/out`, { protocols: ['prefect'] })
    await once(socket, 'open')
    t.equal(socket.protocol, 'prefect')
    socket.ping('are you there')
    await once(socket, 'pong')
    socket.send(auth(token))
    t.equal(await said(socket), '{"type":"auth_success"}')
    socket.send('{"type":"filter"}')
    t.equal(await said(socket), 'heard 17')
    socket.close(1000)
    await once(socket, 'close')
  }
  t.match(heard[0], { authorization: undefined, messages: [auth(REAL_KEY), '{"type":"filter"}'] })
  const [traffic] = proxy.app.proxyTraffic()
  t.match(traffic, { profile: 'cloud', token: 'proxy token', socketsOpened: 2, sockets: 0 })
  t.ok((traffic?.bytesUp ?? 0) > 50 && (traffic?.bytesDown ?? 0) > 50)
})

t.test('finds the first message however it is fragmented', async (t) => {
  const { url, heard } = await startPrefect(t, { deflate: true })
  const proxy = await startProxy(t, url)
  const token = await proxy.broker.token('proxy', ['cloud'])
  for (const [name, packets] of disguises(auth(token))) {
    const raw = openRaw(t, proxy.tcp)
    raw.say(handshakeText(proxy.tcp.port, `${proxy.base}/events/out`, 'permessage-deflate'))
    await raw.hear(/\r\n\r\n/)
    raw.socket.setNoDelay(true)
    for (const packet of packets) {
      raw.say(packet)
      await new Promise((resolve) => setImmediate(resolve))
    }
    t.match(await raw.hear(/auth_success/), /auth_success/, name)
    t.match(heard.at(-1)?.messages[0], auth(REAL_KEY), name)
    raw.socket.destroy()
  }
})

t.test('keeps compression working after replacing the first message', async (t) => {
  const { url, heard } = await startPrefect(t, { deflate: true })
  const proxy = await startProxy(t, url)
  const token = await proxy.broker.token('proxy', ['cloud'])
  const socket = openSocket(t, proxy.tcp, `${proxy.base}/events/out`, {
    token,
    protocols: ['prefect'],
    deflate: true,
  })
  const [[answer]] = await Promise.all([once(socket, 'upgrade'), once(socket, 'open')])
  t.match(answer.headers['sec-websocket-extensions'], /permessage-deflate.*; client_no_context_takeover/)
  socket.send(auth(token))
  t.equal(await said(socket), '{"type":"auth_success"}')
  for (let count = 1; count <= 3; count += 1) {
    socket.send(auth(token).repeat(count).replaceAll('auth', 'more'))
    t.match(await said(socket), /^heard /)
  }
  t.equal(heard[0]?.messages.length, 4)
  t.equal(heard[0]?.messages[0], auth(REAL_KEY))
})

t.test('does not offer unknown extensions to Prefect', async (t) => {
  const { url, heard } = await startPrefect(t)
  const proxy = await startProxy(t, url)
  const token = await proxy.broker.token('proxy', ['cloud'])
  const raw = openRaw(t, proxy.tcp)
  const known = `Authorization: Bearer ${token}\r\n`
  raw.say(
    handshakeText(proxy.tcp.port, `${proxy.base}/events/out`, 'x-strange, permessage-deflate; a=1', known),
  )
  await raw.hear(/\r\n\r\n/)
  t.equal(heard[0]?.extensions, 'permessage-deflate; a=1')
})

t.test('closes with 1008 after a first message without an active token, and forwards nothing', async (t) => {
  const { url, heard } = await startPrefect(t)
  const proxy = await startProxy(t, url)
  const dead = await proxy.broker.token('proxy', ['cloud'], -1)
  const other = await proxy.broker.token('proxy', ['server'])
  const looker = await proxy.broker.token('inspect')
  const messages = [
    auth('pnu_0123456789abcdef'),
    auth(REAL_KEY),
    auth(dead),
    auth(other),
    auth(looker),
    auth(null),
    auth(undefined),
    '{"type":"filter"}',
    'not JSON',
    'x'.repeat(100_000),
    Buffer.from(auth(dead)),
  ]
  for (const message of messages) {
    const socket = openSocket(t, proxy.tcp, `${proxy.base}/events/out`, { protocols: ['prefect'] })
    await once(socket, 'open')
    socket.send(message)
    const [code] = await once(socket, 'close')
    t.equal(code, 1008, String(message).slice(0, 30))
  }
  t.same(heard, [], 'Prefect is not even dialled')
  const refused = proxy.broker.audit.filter(({ action }) => action === 'refused')
  t.equal(refused.length, messages.length, 'each is in the audit log')
  t.equal(proxy.app.proxyStrangers().refused, messages.length - 2, 'and counted, if nobody knows who it was')
})

t.test('refuses a client that sends no token in time, or offers no first frame', async (t) => {
  const { url, heard } = await startPrefect(t)
  const proxy = await startProxy(t, url, { limits: { firstFrameMs: 50, strangers: 2 } })
  const slow = openSocket(t, proxy.tcp, `${proxy.base}/events/out`, { protocols: ['prefect'] })
  const [code] = await once(slow, 'close')
  t.equal(code, 1008)
  t.equal(await statusOf(openSocket(t, proxy.tcp, `${proxy.base}/events/in`)), 401)
  t.equal(
    await statusOf(openSocket(t, proxy.tcp, `${proxy.base}/events/in`, { token: `pab_${'x'.repeat(43)}` })),
    401,
  )
  t.same(heard, [])
})

t.test('limits how many sockets may wait without a token', async (t) => {
  const { url } = await startPrefect(t)
  const proxy = await startProxy(t, url, { limits: { strangers: 2 } })
  const token = await proxy.broker.token('proxy', ['cloud'])
  const connect = () => openSocket(t, proxy.tcp, `${proxy.base}/events/out`, { protocols: ['prefect'] })
  const [one, two] = [connect(), connect()]
  await Promise.all([once(one, 'open'), once(two, 'open')])
  t.equal(await statusOf(connect()), 429)
  one.send(auth(token))
  await said(one)
  const three = connect()
  await once(three, 'open')
  t.pass('a place is free once its holder is known')
})

async function statusOf(socket: WebSocket): Promise<number> {
  const [, response] = await once(socket, 'unexpected-response')
  response.resume()
  return response.statusCode
}

t.test('passes on a refused upgrade unchanged', async (t) => {
  for (const status of [403, 404, 405, 500]) {
    const { url } = await startPrefect(t, { refuse: () => status })
    const proxy = await startProxy(t, url)
    const raw = openRaw(t, proxy.socket)
    raw.say(handshakeText(1, `${proxy.base}/x`).replace('127.0.0.1:1', 'authd'))
    t.match(
      await raw.closed(),
      new RegExp(
        `^HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\nX-Why: because[\\s\\S]*\\{"detail":"no"\\}$`,
      ),
    )
  }
})

t.test('closes with 1008 what Prefect refuses for good, and with 1011 what it may take later', async (t) => {
  const endOf = async (url: string) => {
    const proxy = await startProxy(t, url)
    const token = await proxy.broker.token('proxy', ['cloud'])
    const socket = openSocket(t, proxy.tcp, `${proxy.base}/work_pools/p/workers/connect`, {
      protocols: ['prefect'],
    })
    await once(socket, 'open')
    socket.send(auth(token))
    const [code] = await once(socket, 'close')
    return code
  }
  for (const [status, code] of [
    ...[401, 403, 404, 405, 426].map((one) => [one, 1008] as const),
    [429, 1011],
    [500, 1011],
    [503, 1011],
  ] as const) {
    const { url } = await startPrefect(t, { refuse: () => status })
    t.equal(await endOf(url), code, String(status))
  }
  t.equal(await endOf('http://127.0.0.1:9'), 1011, 'nobody there')
})

t.test('tells a known client by the close code whether to come back', async (t) => {
  const { url, heard } = await startPrefect(t)
  const proxy = await startProxy(t, url)
  const token = await proxy.broker.token('proxy', ['cloud'])
  const elsewhere = `/proxy/cloud/api/accounts/${OTHER}/workspaces/${OTHER}/events/out`
  const cases: readonly (readonly [path: string, code: number, before?: () => void])[] = [
    [elsewhere, 1008],
    ['/proxy/cloud/api/anything', 1008],
    [`${proxy.base}/user_access`, 1008],
    [
      `${proxy.base}/x`,
      1011,
      () => proxy.broker.refuse('cloud', new BrokerError('login_required', 'no key')),
    ],
  ]
  for (const [path, code, before] of cases) {
    before?.()
    const socket = openSocket(t, proxy.tcp, path, { protocols: ['prefect'] })
    await once(socket, 'open')
    socket.send(auth(token))
    const [heardCode] = await once(socket, 'close')
    t.equal(heardCode, code, path)
  }
  t.same(heard, [])
})

t.test('holds a socket without the subprotocol to the same rules', async (t) => {
  const { url, heard } = await startPrefect(t)
  const proxy = await startProxy(t, url)
  const token = await proxy.broker.token('proxy', ['cloud'])
  for (const protocols of [[], ['prefect']]) {
    for (const key of ['pnu_somebodyelses0123456789', REAL_KEY, `pab_${'x'.repeat(43)}`]) {
      for (const message of [
        auth(key),
        Buffer.from(auth(key)),
        auth(key).replace('"type"', '"a":1, "type"'),
      ]) {
        const socket = openSocket(t, proxy.tcp, `${proxy.base}/events/in`, { token, protocols })
        await once(socket, 'open')
        socket.send(message)
        const [code] = await once(socket, 'close')
        t.equal(code, 1008)
      }
    }
  }
  for (const { messages } of heard) t.same(messages, [])
  const unread = openSocket(t, proxy.tcp, `${proxy.base}/events/in`, { token, protocols: ['prefect'] })
  await once(unread, 'open')
  unread.send('{"type":"auth","token":"pnu_x","a":NaN}')
  t.equal((await once(unread, 'close'))[0], 1008, 'what Python reads and we cannot is not passed on')
})

t.test('retries a 401 to our key with a newer one, or parks', async (t) => {
  const { url, heard } = await startPrefect(t, { refuse: (key) => (key === 'Bearer new' ? undefined : 401) })
  const proxy = await startProxy(t, url)
  const token = await proxy.broker.token('proxy', ['cloud'])
  t.equal(await statusOf(openSocket(t, proxy.tcp, `${proxy.base}/events/in`, { token })), 503)
  proxy.whenRejected(() => serveCloud(proxy.broker, url, 'new'))
  const socket = openSocket(t, proxy.tcp, `${proxy.base}/events/in`, { token })
  await once(socket, 'open')
  t.equal(heard[0]?.authorization, 'Bearer new')
  proxy.broker.refuse('cloud', new BrokerError('login_required', 'no key'))
  const raw = openRaw(t, proxy.socket)
  raw.say(handshakeText(1, `${proxy.base}/x`).replace('127.0.0.1:1', 'authd'))
  t.match(await raw.closed(), /^HTTP\/1\.1 503[\s\S]*retry-after: 5\r\nprefect-maintenance: true/)
})

t.test('refuses sockets to paths of others, to web pages and under foreign names', async (t) => {
  const { url, heard } = await startPrefect(t)
  const proxy = await startProxy(t, url)
  const token = await proxy.broker.token('proxy', ['cloud'])
  const path = `/proxy/cloud/api/accounts/${OTHER}/workspaces/${OTHER}/events/in`
  t.equal(await statusOf(openSocket(t, proxy.tcp, path, { token })), 403)
  for (const [headers, status] of [
    ['Origin: https://evil.example\r\n', 403],
    ['Host: evil.example\r\n', 421],
  ] as const) {
    const raw = openRaw(t, proxy.tcp)
    raw.say(
      handshakeText(proxy.tcp.port, `${proxy.base}/x`, '', `Authorization: Bearer ${token}\r\n${headers}`),
    )
    t.match(await raw.closed(), new RegExp(`^HTTP/1.1 (400|${status})`))
  }
  t.same(heard, [])
})

t.test('sends the auth string of a server profile in header and first frame', async (t) => {
  const { url, heard } = await startPrefect(t)
  const proxy = await startProxy(t, url)
  const token = await proxy.broker.token('proxy', ['server'])
  const basic = `Basic ${Buffer.from(`prefect-auth:${token}`).toString('base64')}`
  const socket = new WebSocket(`ws://127.0.0.1:${proxy.tcp.port}/proxy/server/api/events/in`, ['prefect'], {
    headers: { authorization: basic },
  })
  t.teardown(() => socket.terminate())
  await once(socket, 'open')
  socket.send(auth(`prefect-auth:${token}`))
  t.equal(await said(socket), '{"type":"auth_success"}')
  t.match(heard[0], {
    authorization: `Basic ${Buffer.from('admin:real').toString('base64')}`,
    messages: [auth('admin:real')],
  })
  proxy.broker.serve('server', { authString: new Secret('admin:changed') })
  const next = openSocket(t, proxy.tcp, '/proxy/server/api/events/out', { protocols: ['prefect'] })
  await once(next, 'open')
  next.send(auth(`prefect-auth:${token}`))
  await said(next)
  t.match(heard[1], { authorization: undefined, messages: [auth('admin:changed')] })
})

t.test('closes either side if the other one dies', async (t) => {
  const { url, server, heard } = await startPrefect(t, {
    onSocket: (socket) => {
      if (heard.length === 2) socket.terminate()
      if (heard.length === 3) socket.close(1011, 'restart')
    },
  })
  const proxy = await startProxy(t, url)
  const connect = async () => {
    const socket = openSocket(t, proxy.socket, `${proxy.base}/events/in`)
    await once(socket, 'open')
    return socket
  }
  const first = await connect()
  const over = once(server, 'over')
  first.terminate()
  await over
  t.equal(heard[0]?.closed?.code, 1006)
  const [lost] = await once(await connect(), 'close')
  t.equal(lost, 1006)
  const [restarted, reason] = await once(await connect(), 'close')
  t.same([restarted, String(reason)], [1011, 'restart'])
})

t.test('cuts the sockets of a dead token and no others', async (t) => {
  const { url } = await startPrefect(t)
  const proxy = await startProxy(t, url)
  const [dies, lives] = [
    await proxy.broker.token('proxy', ['cloud']),
    await proxy.broker.token('proxy', ['cloud']),
  ]
  const [one, two] = [dies, lives].map((token) =>
    openSocket(t, proxy.tcp, `${proxy.base}/events/in`, { token }),
  )
  const framed = openSocket(t, proxy.tcp, `${proxy.base}/events/out`, { protocols: ['prefect'] })
  if (one === undefined || two === undefined) throw new Error('two sockets')
  await Promise.all([one, two, framed].map((socket) => once(socket, 'open')))
  framed.send(auth(dies))
  await said(framed)
  const cut = Promise.all([once(one, 'close'), once(framed, 'close')])
  await proxy.broker.deps.tokens.revoke('tok1')
  await cut
  two.send('still here')
  t.equal(await said(two), 'heard 10')
  await proxy.app.close(50)
  t.pass('and a shutdown does not wait for them')
})
