/** The lane's own limits, and what it does with a handler that fails. */
import { once } from 'node:events'
import { createServer } from 'node:http'
import { connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { type LaneHandler, openLane } from '../../../src/http/lane/lane.js'
import { createManualClock } from '../../fixtures/manual-clock.js'
import { portOf } from '../../fixtures/proxy-under-test.js'
import { until } from '../fixtures/lanes.js'

t.setTimeout(120_000)

/** The lane alone, in front of a server that has only Node's parser, at a time that the test makes. */
async function openAlone(t: Test, handle: LaneHandler) {
  const clock = createManualClock()
  const server = createServer((_request, response) => response.end('by Node'))
  const refused: string[] = []
  openLane(
    server,
    handle,
    { headersMs: 1_000, keepAliveMs: 5_000 },
    (socket, code) => {
      refused.push(code)
      socket.destroy()
    },
    clock,
  )
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  const client = connect(portOf(server), '127.0.0.1')
  t.teardown(() => client.destroy())
  let heard = ''
  let isClosed = false
  client.setEncoding('latin1').on('data', (text: string) => {
    heard += text
  })
  client
    .on('error', () => undefined)
    .on('close', () => {
      isClosed = true
    })
  await once(client, 'connect')
  return {
    ...{ clock, client, refused },
    heard: async (pattern: RegExp) => {
      await until(() => isClosed || pattern.test(heard))
      return heard
    },
    closed: () => until(() => isClosed),
  }
}

const LIVE = { status: 200, headers: ['content-length', '2'], body: 'ok' }
const GET = 'GET /x HTTP/1.1\r\nHost: a\r\n\r\n'
const POST = 'POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody'

t.test('what a handler throws ends the connection, and nothing else', async (t) => {
  let isOver = 0
  const alone = await openAlone(t, (_request, turn) => {
    turn.whenOver(() => {
      isOver += 1
    })
    throw new Error('a bug')
  })
  alone.client.write(GET)
  await alone.closed()
  t.equal(isOver, 1)
})

t.test('gives what has begun to come to Node, also when the connection was about to be closed', async (t) => {
  const alone = await openAlone(t, (_request, turn) => turn.respond(LIVE))
  alone.client.write(GET)
  await alone.heard(/ok$/)
  alone.clock.pass(4_990)
  alone.client.write(POST.slice(0, -2))
  await sleep(50)
  alone.clock.pass(60)
  alone.client.write(POST.slice(-2))
  t.match(await alone.heard(/by Node/), /ok[\s\S]*by Node/)
})

t.test('closes what is silent after an answer, and says nothing', async (t) => {
  const alone = await openAlone(t, (_request, turn) => turn.respond(LIVE))
  alone.client.write(GET)
  await alone.heard(/ok$/)
  alone.clock.pass(5_001)
  await alone.closed()
  t.strictSame(alone.refused, [])
})
