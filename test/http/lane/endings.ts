/** How connections in the lane end: as Node would end them. */
import { once } from 'node:events'
import type { IncomingMessage } from 'node:http'
import { connect, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import type { LaneHandler } from '../../../src/http/lane/lane.js'
import { createDoorServer } from '../../../src/http/server.js'
import { systemClock } from '../../../src/std/clock.js'

const HEAD = 'GET /livez HTTP/1.1\r\nHost: authd\r\n'
const LAST = `${HEAD}Connection: close\r\n\r\n`
const PLAIN = `${HEAD}\r\n`
/** More than a socket takes. */
const LARGE = 'x'.repeat(8 * 1024 * 1024)

interface Served {
  readonly asked: string[]
  dial(): Socket
}

/** Both answer with `body`: what is recognised, and what Node has. */
async function serve(
  t: Pick<Test, 'teardown'>,
  { hasLane = true, body = 'ok', keepAliveMs = 60_000, headersMs = 10_000 } = {},
): Promise<Served> {
  const asked: string[] = []
  const lane: LaneHandler = ({ url }, turn) => {
    asked.push(`lane ${url}`)
    turn.respond({ status: 200, headers: ['Content-Length', String(body.length)], body })
  }
  const onNode = ({ url }: IncomingMessage) => void asked.push(`node ${url}`)
  const server = createDoorServer(
    'socket',
    (request, response) => {
      onNode(request)
      response.writeHead(200, ['Content-Length', String(body.length)]).end(body)
    },
    {
      limits: { keepAliveMs, headersMs },
      lane: hasLane ? { handle: lane, clock: systemClock() } : undefined,
    },
  )
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  const port = typeof address === 'object' && address !== null ? address.port : 0
  t.teardown(() => {
    server.close()
    server.closeAllConnections()
  })
  return { asked, dial: () => connect({ port, host: '127.0.0.1' }) }
}

/** Everything that comes until the other side hangs up. */
async function hear(socket: Socket): Promise<string> {
  let heard = ''
  socket.setEncoding('latin1').on('data', (text: string) => {
    heard += text
  })
  socket.on('error', () => undefined)
  await once(socket, 'close')
  return heard
}

for (const hasLane of [true, false]) {
  const reader = hasLane ? 'lane' : 'node'

  t.test(`${reader}: nothing is done for what comes behind a last request`, async (t) => {
    const served = await serve(t, { hasLane, body: LARGE })
    const socket = served.dial()
    socket.on('error', () => undefined)
    socket.write(LAST)
    // The answer waits for its reader: the connection is still open when the next chunk comes.
    await once(socket, 'readable')
    socket.write(PLAIN)
    await sleep(50)
    t.same(served.asked, [`${reader} /livez`])
    socket.destroy()
  })

  t.test(`${reader}: a slow reader gets all of its answer, however long that takes`, async (t) => {
    const served = await serve(t, { hasLane, body: LARGE, keepAliveMs: 100, headersMs: 100 })
    const socket = served.dial()
    let bytes = 0
    socket.on('data', (chunk) => {
      bytes += chunk.length
    })
    socket.on('error', () => undefined)
    socket.write(PLAIN)
    socket.pause()
    await sleep(1_000)
    socket.resume()
    await once(socket, 'close')
    t.ok(bytes > LARGE.length, `${bytes} bytes`)
  })

  t.test(`${reader}: a connection that is kept is closed after a while without a request`, async (t) => {
    const served = await serve(t, { hasLane, keepAliveMs: 150 })
    const socket = served.dial()
    const heard = hear(socket)
    socket.write(PLAIN)
    t.match(await heard, /^HTTP\/1\.1 200 OK\r\n/)
  })

  t.test(`${reader}: a connection that says nothing is told so`, async (t) => {
    const served = await serve(t, { hasLane, headersMs: 150 })
    t.match(await hear(served.dial()), /^HTTP\/1\.1 408 /)
  })
}
