import { createServer } from 'node:http'
import { type AddressInfo, connect, type Socket } from 'node:net'
import t from 'tap'
import { createPresenceBook } from '../../src/http/presence.js'
import { createManualClock } from '../fixtures/manual-clock.js'

t.test('whatever is connected counts, once, until it is gone', async (t) => {
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
  t.strictSame(book.look(), { connections: 1, quietMs: 0 }, 'that says nothing yet')
  server.emit('connection', inside)
  t.equal(book.look().connections, 1, 'announced again by an upgrade that was not taken')
  clock.pass(9_000)
  t.strictSame(book.look(), { connections: 1, quietMs: 9_000 })
  const closed = new Promise((resolve) => inside.once('close', resolve))
  client.destroy()
  await closed
  t.strictSame(book.look(), { connections: 0, quietMs: 0 }, 'quiet begins when it is gone')
})
