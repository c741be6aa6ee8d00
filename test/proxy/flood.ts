/** Floods: callers that send or want too much; each fills a naive proxy first, then meets ours. */
import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import t, { type Test } from 'tap'
import { ask, type Place } from '../fixtures/api-under-test.js'
import { OWN, openRaw, portOf, REAL_KEY, startProxy, startUpstream } from '../fixtures/proxy-under-test.js'
import { handshakeText } from './fixtures/frame-disguises.js'
import { startNaiveProxy } from './fixtures/naive-proxy.js'
import { settled } from './fixtures/stillness.js'

const MB = 1024 * 1024
// What never comes hangs the test; this ends it on the busiest machine, too.
t.setTimeout(120_000)
const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

/** Resolves once the connection is there, or was closed at once. */
function opened({ socket }: ReturnType<typeof openRaw>): Promise<void> {
  return new Promise((resolve) => {
    if (!socket.connecting) return resolve()
    socket.once('connect', () => resolve()).once('close', () => resolve())
  })
}

/** A Prefect that sends up to `most` bytes and counts how many it got rid of. */
async function startTalker(t: Pick<Test, 'teardown'>, most: number) {
  let taken = 0
  const piece = Buffer.alloc(64 * 1024, 'x')
  const { url } = await startUpstream(t, (_request, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    let said = 0
    const talk = () => {
      while (said < most && !response.destroyed) {
        said += piece.length
        taken += piece.length
        if (!response.write(piece)) {
          response.once('drain', talk)
          return
        }
      }
      response.end()
    }
    talk()
  })
  return { url, taken: () => taken }
}

t.test('stops reading from Prefect for a client that does not read', async (t) => {
  const talker = await startTalker(t, 40 * MB)
  const proxy = await startProxy(t, talker.url)
  const token = await proxy.broker.token('proxy', ['cloud'])
  const naive = await startNaiveProxy(t, talker.url, REAL_KEY)
  const stall = (port: number) => {
    const raw = openRaw(t, { port, host: '127.0.0.1' })
    raw.socket.pause()
    raw.say(
      `GET ${proxy.base}/events HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nAuthorization: Bearer ${token}\r\n\r\n`,
    )
  }
  stall(naive)
  while (talker.taken() < 40 * MB) await pause(20)
  t.pass('a naive proxy keeps all of it')
  const before = talker.taken()
  for (let count = 0; count < 4; count += 1) stall(proxy.tcp.port)
  const kept = (await settled(proxy.socket, talker.taken)) - before
  t.ok(kept < 4 * 12 * MB, `${Math.round(kept / MB)} MB of 160, most of it in the kernel’s buffers`)
  const other = await ask(proxy.tcp, '/livez')
  t.equal(other.status, 200)
})

t.test('cuts off a stranger that sends what is no token, and dials for it nobody', async (t) => {
  // Takes every connection and says nothing.
  const sockets = new Set<Socket>()
  const silent = createServer((socket) => sockets.add(socket.on('error', () => undefined)))
  silent.listen(0, '127.0.0.1')
  await once(silent, 'listening')
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    silent.close()
  })
  const proxy = await startProxy(t, `http://127.0.0.1:${portOf(silent)}`)
  const raw = openRaw(t, proxy.tcp)
  raw.say(
    `GET ${proxy.base}/events/out HTTP/1.1\r\nHost: 127.0.0.1:${proxy.tcp.port}\r\nConnection: Upgrade\r\n` +
      'Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n' +
      'Sec-WebSocket-Protocol: prefect\r\n\r\n',
  )
  await raw.hear(/\r\n\r\n/)
  const piece = Buffer.alloc(MB)
  let sent = 0
  for (; sent < 40 && !raw.isClosed(); sent += 1) {
    raw.say(piece)
    while (raw.socket.writableLength > 0 && !raw.isClosed()) await pause(5)
  }
  await raw.closed()
  t.ok(raw.isClosed(), `it was cut, not listened to for ${sent} MB`)
  const pings = openRaw(t, proxy.tcp)
  pings.say(handshakeText(proxy.tcp.port, `${proxy.base}/events/out`))
  const ping = Buffer.concat([Buffer.from([0x89, 0x80 | 100, 1, 2, 3, 4]), Buffer.alloc(100)])
  for (let count = 0; count < 10_000 && !pings.isClosed(); count += 1) pings.say(ping)
  await pings.closed()
  t.pass('nor to pings without end')
  t.equal(sockets.size, 0, 'nobody was dialled')
})

t.test('stops reading pings before the first message if Prefect does not read', async (t) => {
  let heard: Socket | undefined
  const deaf = createServer((socket) => {
    socket
      .on('error', () => undefined)
      .once('data', () => {
        socket.pause()
        heard = socket
        socket.write(
          'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n' +
            'Sec-WebSocket-Protocol: prefect\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n',
        )
      })
  })
  deaf.listen(0, '127.0.0.1')
  await once(deaf, 'listening')
  t.teardown(() => {
    heard?.destroy()
    deaf.close()
  })
  const proxy = await startProxy(t, `http://127.0.0.1:${portOf(deaf)}`)
  const token = await proxy.broker.token('proxy', ['cloud'])
  const raw = openRaw(t, proxy.tcp)
  raw.say(
    `GET ${proxy.base}/events/out HTTP/1.1\r\nHost: 127.0.0.1:${proxy.tcp.port}\r\nConnection: Upgrade\r\n` +
      'Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n' +
      `Sec-WebSocket-Protocol: prefect\r\nAuthorization: Bearer ${token}\r\n\r\n`,
  )
  await raw.hear(/\r\n\r\n/)
  const ping = Buffer.concat([Buffer.from([0x89, 0x80 | 100, 1, 2, 3, 4]), Buffer.alloc(100)])
  const many = Buffer.concat(Array.from({ length: 10_000 }, () => ping))
  let sent = 0
  while (sent < 60 && raw.socket.writableLength === 0 && !raw.isClosed()) {
    sent += 1
    raw.say(many)
    await settled(proxy.socket, () => raw.socket.writableLength)
  }
  t.ok(raw.socket.writableLength > 0, `after ${sent} MB nobody takes more`)
  t.ok(sent < 40, `${sent} MB`)
})

t.test('keeps serving while more connections come than it allows, and makes room again', async (t) => {
  const { url } = await startUpstream(t, (_request, response) => response.end('{}'))
  const proxy = await startProxy(t, url)
  const token = await proxy.broker.token('proxy', ['cloud'])
  const door = proxy.app.openServer('tcp', { limits: { maxConnections: 100, headersMs: 1_000 } })
  door.listen(0, '127.0.0.1')
  await once(door, 'listening')
  const place = { port: portOf(door), host: '127.0.0.1' as const }
  t.teardown(() => door.closeAllConnections())
  const worker = openRaw(t, place)
  const head = `Host: 127.0.0.1:${place.port}\r\nAuthorization: Bearer ${token}\r\n\r\n`
  const work = async (count: number) => {
    worker.say(`GET /proxy/cloud/api${OWN}/x HTTP/1.1\r\n${head}`)
    while (worker.received().split('HTTP/1.1 200').length - 1 < count) await pause(5)
  }
  await work(1)
  const naive = { port: await startNaiveProxy(t, url, REAL_KEY), host: '127.0.0.1' as const }
  const flood = async (to: typeof place) => {
    const all: ReturnType<typeof openRaw>[] = []
    // No more at once than the kernel keeps for us.
    for (let count = 0; count < 10; count += 1) {
      const some = Array.from({ length: 200 }, () => openRaw(t, to))
      all.push(...some)
      await Promise.all(some.map(opened))
    }
    return all
  }
  const idle = await flood(place)
  const most = await new Promise<number>((resolve) => {
    door.getConnections((_error, count) => resolve(count))
  })
  t.ok(most <= 100, `${most} of 2001 were let in`)
  t.equal((await ask(proxy.socket, '/livez')).status, 200, 'the owner’s socket is another door')
  await work(2)
  const held = await flood(naive)
  const open = (all: typeof idle) => all.filter((one) => !one.isClosed()).length
  while (open(idle) > 0) await pause(50)
  t.equal(open(idle), 0, 'idle connections are closed')
  t.equal(open(held), 2_000, 'a naive proxy holds them all')
  const late = openRaw(t, place)
  late.say(`GET /proxy/cloud/api${OWN}/x HTTP/1.1\r\n${head}`)
  t.match(await late.hear(/\{\}/), /200 OK/)
})

/** What is sent to a socket fills less than what a loopback connection swallows. */
function pathOf(place: Place): string {
  return 'socketPath' in place ? place.socketPath : ''
}

t.test('lets go of a client that never reads why its handshake was refused', async (t) => {
  const { url, server } = await startUpstream(t, (_request, response) => response.end())
  const body = 'x'.repeat(250_000)
  let asked = 0
  server.on('upgrade', (_request, socket) => {
    asked += 1
    socket.end(`HTTP/1.1 404 Not Found\r\nContent-Length: ${body.length}\r\n\r\n${body}`)
  })
  const proxy = await startProxy(t, url)
  const token = await proxy.broker.token('proxy', ['cloud'])
  const known = `Authorization: Bearer ${token}\r\n`
  const clients = Array.from({ length: 5 }, () => connect(pathOf(proxy.restricted)).pause())
  t.teardown(() => clients.map((client) => client.destroy()))
  for (const client of clients) {
    client.on('error', () => undefined)
    client.write(handshakeText(1, `${proxy.base}/events/in`, '', known).replace('127.0.0.1:1', 'authd'))
  }
  while (asked < clients.length || proxy.app.presence().connections > 0) await pause(20)
  t.equal(proxy.app.proxyTraffic()[0]?.requests, clients.length, 'and each is counted')
  t.pass('all are gone, and with them what was kept for them')
})
