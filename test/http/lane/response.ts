import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import t from 'tap'
import { createLaneResponse, createManners } from '../../../src/http/lane/response.js'
import { createManualClock } from '../../fixtures/manual-clock.js'

t.test('a head that cannot be sent has not been sent: another one takes its place', async (t) => {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  const client = connect(typeof address === 'object' && address !== null ? address.port : 0, '127.0.0.1')
  const [socket] = await once(server, 'connection')
  t.teardown(() => server.close())
  const response = createLaneResponse(socket, createManners(60_000, createManualClock()).last, () =>
    socket.end(),
  )
  for (const header of [
    ['X-A', 'a\r\nSet-Cookie: b'],
    ['X-A\r\nSet-Cookie', 'b'],
    ['X-A', 'a\0'],
  ]) {
    t.throws(() => response.writeHead(200, header), 'a header has a character that none may have')
    t.equal(response.headersSent, false)
  }
  response.writeHead(502, ['Content-Length', '2'])
  response.end('no')
  let heard = ''
  client.setEncoding('latin1').on('data', (text: string) => {
    heard += text
  })
  await once(client, 'end')
  client.end()
  t.match(
    heard,
    /^HTTP\/1\.1 502 Bad Gateway\r\nContent-Length: 2\r\nDate: .*\r\nConnection: close\r\n\r\nno$/,
  )
})
