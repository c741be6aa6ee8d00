import { once } from 'node:events'
import { createServer } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { checkWhileConnected } from '../../src/http/server.js'
import { startApi } from '../fixtures/api-under-test.js'

t.test('Node looks at its connections while there are some, and not before nor after', async (t) => {
  const server = createServer({ headersTimeout: 100, connectionsCheckingInterval: 50 })
  checkWhileConnected(server, 50)
  const interval = () => Reflect.get(server, 'connectionsCheckingInterval')
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  t.ok(interval() > 1e9, 'nobody called')
  for (const time of ['first', 'second']) {
    const address: AddressInfo | string | null = server.address()
    if (address === null || typeof address === 'string') throw new Error('no port')
    const slow = connect(address.port, '127.0.0.1')
    slow.write('GET / HTTP/1.1\r\nHo')
    const [said] = await once(slow, 'data')
    t.match(String(said), /^HTTP\/1\.1 408 /, `the ${time} caller is told that it is too slow`)
    slow.destroy()
    while (interval() < 1e9) await sleep(5)
    t.pass('nobody is connected any more')
  }
})

t.test('a server that closes before its last connection does is not looked at again', async (t) => {
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

t.test('a connection that offers an upgrade with every request is still one', async (t) => {
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
