/** Hostile upstreams and hostile jobs: each ends its own connection, and nothing else. */
import { once } from 'node:events'
import { createServer, type Socket } from 'node:net'
import t, { type Test } from 'tap'
import { ask, askRaw, json, testBoth } from '../fixtures/api-under-test.js'
import { openRaw, portOf, startProxy, startUpstream } from '../fixtures/proxy-under-test.js'
import { handshakeText, maskedFrame } from './fixtures/frame-disguises.js'
import { auth, openSocket, said, startPrefect } from './fixtures/prefect-sockets.js'

const latin1 = (text: string) => Buffer.from(text, 'latin1')

/** An upstream that answers whatever is asked with these bytes. */
async function startBytes(t: Pick<Test, 'teardown'>, answer: () => Buffer) {
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => undefined).once('data', () => socket.end(answer()))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return `http://127.0.0.1:${portOf(server)}`
}

const REASONS: readonly Buffer[] = [
  latin1('Não Encontrado'),
  latin1('O\x01K'),
  latin1('\x7f'),
  Buffer.from('Доступ запрещён'),
  Buffer.from('café'),
  Buffer.from('見つかりません'),
  Buffer.from([0xff, 0xfe, 0x80]),
  Buffer.alloc(0),
  Buffer.alloc(4_000, 'x'),
]

testBoth(t, 'passes no reason phrase on, on requests and on handshakes', async (t, recogniser) => {
  let reason = Buffer.alloc(0)
  let status = 404
  const head = () =>
    Buffer.concat([latin1(`HTTP/1.1 ${status} `), reason, latin1('\r\nContent-Length: 2\r\n\r\nhi')])
  const proxy = await startProxy(t, await startBytes(t, head), { recogniser })
  const token = await proxy.broker.token('proxy', ['cloud'])
  const known = `Authorization: Bearer ${token}\r\n`
  for (const one of REASONS) {
    reason = Buffer.from(one)
    for (status of [200, 404, 299, 599, 999]) {
      const answer = await ask(proxy.tcp, `${proxy.base}/flows`, { token })
      t.ok([status, 502].includes(answer.status), `${status} ${reason.toString('latin1').slice(0, 20)}`)
    }
    status = 404
    const raw = openRaw(t, proxy.tcp)
    raw.say(handshakeText(proxy.tcp.port, `${proxy.base}/events/in`, '', known))
    t.match(await raw.closed(), /^HTTP\/1\.1 (?:404 Not Found|502 Bad Gateway)\r\n/)
  }
  t.equal((await ask(proxy.tcp, '/livez')).status, 200)
})

testBoth(t, 'loses no answer to an odd informational response', async (t, recogniser) => {
  const odd = [
    'HTTP/1.1 103 Early Hints\r\nLink: notalink\r\n\r\n',
    'HTTP/1.1 103 Early Hints\r\nLink: <x>; rel\r\nLink: \x80\r\n\r\n',
    'HTTP/1.1 103 \xe3\r\n\r\n',
    'HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 x\r\nLink: ;\r\n\r\n',
    'HTTP/1.1 199 Odd\r\n\r\n',
  ]
  let before = ''
  const proxy = await startProxy(
    t,
    await startBytes(t, () => latin1(`${before}HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi`)),
    { recogniser },
  )
  for (before of odd) {
    const answer = await ask(proxy.socket, `${proxy.base}/flows`)
    t.same([answer.status, answer.text], [200, 'hi'], before.slice(0, 40))
  }
})

t.test('sends no part of a long refusal as if it were the whole', async (t) => {
  const body = 'x'.repeat(300 * 1024)
  const url = await startBytes(t, () =>
    latin1(`HTTP/1.1 403 Forbidden\r\nContent-Length: ${body.length}\r\nX-Why: because\r\n\r\n${body}`),
  )
  const proxy = await startProxy(t, url)
  const raw = openRaw(t, proxy.socket)
  raw.say(handshakeText(1, `${proxy.base}/x`).replace('127.0.0.1:1', 'authd'))
  t.match(
    await raw.closed(),
    /^HTTP\/1\.1 403 Forbidden\r\n[\s\S]*X-Why: because\r\ncontent-length: 0\r\n[\s\S]*\r\n\r\n$/,
  )
})

const deep = (depth: number, open = '[', close = ']') => `${open.repeat(depth)}${close.repeat(depth)}`

t.test('outlives first messages that no client sends', async (t) => {
  const { url, heard } = await startPrefect(t)
  const proxy = await startProxy(t, url)
  const token = await proxy.broker.token('proxy', ['cloud'])
  const messages = [
    `{"type":"auth","token":"${token}","x":${deep(30_000)}}`,
    `{"type":"auth","token":"${token}","x":${deep(10_000, '{"a":', '')}1${'}'.repeat(10_000)}}`,
    `{"type":"auth","token":${deep(30_000)}}`,
    `{"type":"auth","token":{"toJSON":1}}`,
    `{"type":"auth","token":"${token}","x":[]}`,
    deep(32_000),
    `{"type":${deep(30_000)}}`,
    `[{"type":"auth","token":"${token}"}]`,
    `"${token}"`,
    'null',
    '\ud800',
  ]
  for (const known of [true, false]) {
    for (const message of messages) {
      const socket = openSocket(t, proxy.tcp, `${proxy.base}/events/out`, {
        protocols: ['prefect'],
        ...(known ? { token } : {}),
      })
      await once(socket, 'open')
      socket.send(message)
      const [code] = await once(socket, 'close')
      t.equal(code, 1008, `${message.slice(0, 40)} ${known ? 'of a known client' : ''}`)
    }
  }
  for (const { messages } of heard) t.same(messages, [])
  // The frame with the key is longer than the one with the token.
  const socket = openSocket(t, proxy.tcp, `${proxy.base}/events/out`, { protocols: ['prefect'] })
  await once(socket, 'open')
  const wide = { type: 'auth', token: `${token}`, x: '"'.repeat(32_600) }
  socket.send(JSON.stringify(wide))
  t.equal(await said(socket), '{"type":"auth_success"}')
})

t.test('counts what was sent, not what was announced', async (t) => {
  // Answers as soon as it has the head.
  const { url } = await startUpstream(t, (_request, response) => response.writeHead(200).end('{}'))
  const proxy = await startProxy(t, url)
  const token = await proxy.broker.token('proxy', ['cloud'])
  for (const length of ['9007199254740993', '9007199254740991', '1000000000000', '18446744073709551615']) {
    const raw = openRaw(t, proxy.tcp)
    raw.say(
      `POST ${proxy.base}/flows HTTP/1.1\r\nHost: 127.0.0.1:${proxy.tcp.port}\r\n` +
        `Authorization: Bearer ${token}\r\nContent-Length: ${length}\r\n\r\nabc`,
    )
    await raw.hear(/\r\n\r\n/)
    raw.socket.destroy()
  }
  const { proxy: lines } = json(await ask(proxy.socket, '/v1/status'))
  t.type(lines, Array)
  const [line] = proxy.app.proxyTraffic()
  t.ok((line?.bytesUp ?? 0) <= 12, `${line?.bytesUp} bytes`)
})

t.test('reads no more from a chatty upstream than its client takes', async (t) => {
  const MB = 1024 * 1024
  const frame = Buffer.concat([Buffer.from([0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]), Buffer.alloc(65_536)])
  let taken = 0
  const chatty = createServer((socket) => {
    socket
      .on('error', () => undefined)
      .once('data', () => {
        socket.write(
          'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n' +
            'Sec-WebSocket-Protocol: prefect\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n',
        )
        const talk = () => {
          while (taken < 200 * MB && !socket.destroyed) {
            taken += frame.length
            if (!socket.write(frame)) return void socket.once('drain', talk)
          }
        }
        talk()
      })
  })
  chatty.listen(0, '127.0.0.1')
  await once(chatty, 'listening')
  t.teardown(() => chatty.close())
  const proxy = await startProxy(t, `http://127.0.0.1:${portOf(chatty)}`)
  const token = await proxy.broker.token('proxy', ['cloud'])
  for (const withFrame of [false, true]) {
    taken = 0
    const raw = openRaw(t, proxy.tcp)
    const known = withFrame ? '' : `Authorization: Bearer ${token}\r\n`
    raw.say(handshakeText(proxy.tcp.port, `${proxy.base}/events/out`, '', known))
    await raw.hear(/\r\n\r\n/)
    if (withFrame) raw.say(maskedFrame(0x81, Buffer.from(auth(token))))
    raw.socket.pause()
    let before = -1
    while (before !== taken || taken === 0) {
      before = taken
      // Round trips through the same process: what can move has moved.
      for (let turn = 0; turn < 20; turn += 1) await ask(proxy.socket, '/livez')
    }
    t.ok(taken < 40 * MB, `${Math.round(taken / MB)} MB of 200, most of it in the kernel’s buffers`)
    raw.socket.destroy()
  }
})

t.test('tells a stranger nothing but that it is one', async (t) => {
  const { url, heard } = await startPrefect(t)
  const proxy = await startProxy(t, url)
  const answers = new Set<string>()
  for (const profile of ['cloud', 'server', 'empty', 'nothing', 'x'.repeat(300), '%F0%9F%98%80']) {
    for (const path of ['/flows/filter', '/users/x/api_keys', '/../x', '']) {
      const raw = openRaw(t, proxy.tcp)
      raw.say(handshakeText(proxy.tcp.port, `/proxy/${profile}/api${path}`, '', 'Cookie: a=b\r\n'))
      await raw.hear(/\r\n\r\n/)
      raw.say(maskedFrame(0x81, Buffer.from(auth(`pab_${'x'.repeat(43)}`))))
      answers.add(await raw.closed())
      const plain = await askRaw(
        proxy.tcp,
        `TRACE /proxy/${profile}/api${path} HTTP/1.1\r\nHost: 127.0.0.1:${proxy.tcp.port}\r\nConnection: close\r\n\r\n`,
      )
      answers.add(plain.replace(/\r\ndate: .*/i, ''))
    }
  }
  t.equal(answers.size, 2, 'one answer to all handshakes, one to all requests')
  t.notMatch([...answers].join(), /cloud|server|empty/)
  t.same(heard, [])
  t.equal(proxy.app.proxyStrangers().refused, 48)
})
