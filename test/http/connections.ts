/** Connections: checked for time-outs only while there are any, and counted once each. */
import { once } from 'node:events'
import { createServer } from 'node:http'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { checkWhileConnected, createPresenceBook } from '../../src/http/server.js'
import { startApi } from '../fixtures/api-under-test.js'
import { createManualClock } from '../fixtures/manual-clock.js'

t.test('checks for time-outs while somebody is connected, and not before or after', async (t) => {
  const server = createServer({ headersTimeout: 100, connectionsCheckingInterval: 50 })
  checkWhileConnected(server, 50)
  const interval = () => Reflect.get(server, 'connectionsCheckingInterval')
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  t.ok(interval() > 1e9, 'nobody has connected')
  for (const time of ['first', 'second']) {
    const address: AddressInfo | string | null = server.address()
    if (address === null || typeof address === 'string') throw new Error('no port')
    const slow = connect(address.port, '127.0.0.1')
    slow.write('GET / HTTP/1.1\r\nHo')
    const [said] = await once(slow, 'data')
    t.match(String(said), /^HTTP\/1\.1 408 /, `the ${time} slow caller gets 408`)
    slow.destroy()
    while (interval() < 1e9) await sleep(5)
    t.pass('nobody is connected any longer')
  }
})

t.test('does not restart the checks of a server that closes before its last connection', async (t) => {
  const server = createServer()
  checkWhileConnected(server, 50)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address: AddressInfo | string | null = server.address()
  if (address === null || typeof address === 'string') throw new Error('no port')
  const caller = connect(address.port, '127.0.0.1')
  await once(server, 'connection')
  const closed = once(server, 'close')
  server.close()
  caller.destroy()
  await closed
  t.equal(server.listening, false)
})

t.test('counts a connection once that offers an upgrade with every request', async (t) => {
  const api = await startApi(t)
  const warnings: string[] = []
  const warn = ({ message }: Error) => warnings.push(message)
  process.on('warning', warn)
  t.teardown(() => process.off('warning', warn))
  const caller = connect(api.tcp.port, '127.0.0.1')
  t.teardown(() => caller.destroy())
  for (let round = 0; round < 30; round += 1) {
    caller.write(
      `GET /livez HTTP/1.1\r\nHost: localhost:${api.tcp.port}\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n`,
    )
    t.match(String((await once(caller, 'data'))[0]), /^HTTP\/1\.1 200 /)
  }
  t.same(warnings, [])
})

t.test('counts every connection once, until it is gone', async (t) => {
  const clock = createManualClock()
  const book = createPresenceBook(clock)
  const server = createServer((_request, response) => response.end('ok'))
  book.watch(server)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  t.after(() => server.close())
  clock.pass(5_000)
  t.strictSame(book.look(), { connections: 0, quietMs: 5_000 })

  const seen = new Promise<Socket>((resolve) => server.once('connection', resolve))
  const client = connect(port, '127.0.0.1')
  const inside = await seen
  t.strictSame(book.look(), { connections: 1, quietMs: 0 }, 'it has sent nothing yet')
  clock.pass(9_000)
  t.strictSame(book.look(), { connections: 1, quietMs: 9_000 })
  const closed = new Promise((resolve) => inside.once('close', resolve))
  client.destroy()
  await closed
  t.strictSame(book.look(), { connections: 0, quietMs: 0 }, 'quiet begins when it is gone')
})
