/** Server-Sent Events: parsing the stream, and reconnecting. */
import type { ServerResponse } from 'node:http'
import t from 'tap'
import { type Follow, followEvents, parseEventStream } from '../../src/client/event-stream.js'
import { failureOf } from '../../src/client/failure.js'
import { createTransport } from '../../src/client/transport.js'
import { problem, startScriptedDaemon } from '../fixtures/scripted-daemon.js'

async function* stream(...chunks: string[]) {
  yield* chunks
}

async function collect<T>(items: AsyncIterable<T>, count = Number.POSITIVE_INFINITY): Promise<T[]> {
  const all: T[] = []
  for await (const item of items) {
    all.push(item)
    if (all.length === count) break
  }
  return all
}

t.test('parses events by the standard, wherever the chunks break', async (t) => {
  const text =
    ': hello\n\nid: a-1\nevent: x\ndata: {"a":1}\n\nid:a-2\r\ndata: one\r\ndata:two\r\n\r\ndata\n\ndata: cut'
  const expected = [
    { id: 'a-1', data: '{"a":1}' },
    { id: 'a-2', data: 'one\ntwo' },
    { id: 'a-2', data: '' },
  ]

  t.same(await collect(parseEventStream(stream(text))), expected)
  t.same(await collect(parseEventStream(stream(...text))), expected)
})

function follow(socket: string, signal: AbortSignal, onConnection: Follow['onConnection'] = () => undefined) {
  const transport = createTransport({ candidates: [socket], userAgent: 'test' })
  return followEvents({ transport, signal, onConnection, pause: async () => undefined }, 'e-0')
}

t.test('reconnects and continues after the last event seen', async (t) => {
  let round = 0
  const daemon = await startScriptedDaemon(t, {
    'GET /v1/events': {
      handle: (response: ServerResponse) => {
        round += 1
        response.writeHead(200, { 'content-type': 'text/event-stream' })
        response.write(`id: e-${round}\ndata: ${round}\n\n`, () => response.destroy())
      },
    },
  })
  const states: string[] = []
  const abort = new AbortController()
  const events = await collect(
    follow(daemon.socket, abort.signal, (state) => states.push(state)),
    3,
  )
  abort.abort()

  t.same(
    events.map(({ data }) => data),
    ['1', '2', '3'],
  )
  t.same(
    daemon.asked.map(({ headers }) => headers['last-event-id']),
    ['e-0', 'e-1', 'e-2'],
  )
  t.same(states.slice(0, 4), ['lost', 'back', 'lost', 'back'])
})

t.test('does not retry a refusal, or a daemon that was never there', async (t) => {
  const daemon = await startScriptedDaemon(t, {
    'GET /v1/events': problem('host_refused', 'misdirected', 421, 'no'),
  })
  const { signal } = new AbortController()

  const refused: unknown = await collect(follow(daemon.socket, signal)).catch((e: unknown) => e)
  const missing: unknown = await collect(follow('/nowhere/x.sock', signal)).catch((e: unknown) => e)

  t.match(failureOf(refused), { code: 'host_refused' })
  t.match(failureOf(missing), { kind: 'not_running' })
  t.equal(daemon.asked.length, 1)
})

t.test('ends the stream without an error when aborted', async (t) => {
  const abort = new AbortController()
  const daemon = await startScriptedDaemon(t, {
    'GET /v1/events': {
      handle: (response: ServerResponse) => {
        response.writeHead(200, { 'content-type': 'text/event-stream' })
        response.write('data: 1\n\n', () => abort.abort())
      },
    },
  })

  t.ok((await collect(follow(daemon.socket, abort.signal))).length <= 1)
})
