/** Server-Sent Events over real sockets: what watchers see, how they resume, and how they are dropped. */
import { once } from 'node:events'
import { type ClientRequest, type IncomingMessage, request } from 'node:http'
import { connect } from 'node:net'
import t, { type Test } from 'tap'
import type { EventType } from '../../../src/base/events.js'
import { type Clock, systemClock } from '../../../src/std/clock.js'
import { event as eventSchema } from '../../../src/wire/events.js'
import { ask, type Place, startApi } from '../../fixtures/api-under-test.js'

interface Watch {
  readonly outgoing: ClientRequest
  readonly incoming: IncomingMessage
  /** Resolves with all of the text once it has `part` behind `from`; rejects if the stream ends without it. */
  until(part: string, from?: number): Promise<string>
  text(): string
  readonly ended: Promise<unknown>
}

async function watch(
  t: Pick<Test, 'teardown'>,
  place: Place,
  { token, lastEventId }: { readonly token?: string; readonly lastEventId?: string } = {},
): Promise<Watch> {
  const outgoing = request({
    ...place,
    path: '/v1/events',
    agent: false,
    headers: {
      host: 'port' in place ? `127.0.0.1:${place.port}` : 'authd',
      ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
      ...(lastEventId === undefined ? {} : { 'last-event-id': lastEventId }),
    },
  })
  outgoing.end()
  t.teardown(() => outgoing.destroy())
  const incoming = await new Promise<IncomingMessage>((resolve, reject) => {
    outgoing.on('response', resolve)
    outgoing.on('error', reject)
  })
  let text = ''
  incoming.setEncoding('utf8')
  incoming.on('data', (chunk: string) => (text += chunk))
  incoming.on('error', () => undefined)
  const ended = new Promise((resolve) => incoming.once('close', resolve))
  return {
    outgoing,
    incoming,
    ended,
    text: () => text,
    async until(part, from = 0) {
      while (!text.includes(part, from)) {
        if (incoming.closed) throw new Error(`the stream ended without ${JSON.stringify(part)}`)
        await new Promise<void>((resolve) => {
          incoming.once('data', () => resolve())
          void ended.then(() => resolve())
        })
      }
      return text
    },
  }
}

function eventsIn(text: string) {
  const frames = text.split('\n\n').filter((frame) => frame.includes('\ndata: '))
  return frames.map((frame) => {
    const [, id = '', type = '', data = ''] = /^id: (.*)\nevent: (.*)\ndata: (.*)$/.exec(frame) ?? []
    return { id, type, data: eventSchema.parse(JSON.parse(data)) }
  })
}

t.test('sends events as they happen, each with an id', async (t) => {
  const { broker, socket } = await startApi(t)
  const watcher = await watch(t, socket)
  t.equal(watcher.incoming.statusCode, 200)
  t.equal(watcher.incoming.headers['content-type'], 'text/event-stream')
  t.equal(watcher.incoming.headers['cache-control'], 'no-store')
  await watcher.until('id: run1-0\n\n')
  broker.deps.events.emit('credentials.changed', {
    profile: 'cloud',
    facts: { generation: 8, names: ['a', 'b'] },
  })
  broker.deps.events.emit('profiles.changed')
  const [first, second] = eventsIn(await watcher.until('run1-2'))
  t.match(first, {
    id: 'run1-1',
    type: 'credentials.changed',
    data: {
      id: 'run1-1',
      type: 'credentials.changed',
      profile: 'cloud',
      facts: { generation: 8, names: ['a', 'b'] },
    },
  })
  t.match(second, { id: 'run1-2', type: 'profiles.changed' })
})

t.test('resumes after Last-Event-ID, and reports a gap', async (t) => {
  const { broker, socket } = await startApi(t)
  const { events } = broker.deps
  for (let count = 0; count < 5; count += 1) events.emit('key.stored', { facts: { count } })
  const cases = [
    ['run1-3', ['key.stored 4', 'key.stored 5']],
    ['run1-5', []],
    ['run1-0', ['key.stored 1', 'key.stored 2', 'key.stored 3', 'key.stored 4', 'key.stored 5']],
    [
      'run0-3',
      ['events.gap 0', 'key.stored 1', 'key.stored 2', 'key.stored 3', 'key.stored 4', 'key.stored 5'],
    ],
    [
      'nonsense',
      ['events.gap 0', 'key.stored 1', 'key.stored 2', 'key.stored 3', 'key.stored 4', 'key.stored 5'],
    ],
    ['run1-99', ['events.gap 0']],
  ] as const
  for (const [lastEventId, expected] of cases) {
    const watcher = await watch(t, socket, { lastEventId })
    events.emit('vault.changed')
    const seen = eventsIn(await watcher.until('vault.changed')).map(
      ({ type, id }) => `${type} ${id.slice(5)}`,
    )
    t.same(
      seen.filter((line) => !line.startsWith('vault')),
      expected,
      lastEventId,
    )
    watcher.outgoing.destroy()
  }
})

t.test('reports events that have fallen out of the ring as a gap', async (t) => {
  const { broker, socket } = await startApi(t)
  for (let count = 0; count < 1_200; count += 1) broker.deps.events.emit('key.stored')
  const watcher = await watch(t, socket, { lastEventId: 'run1-100' })
  const [gap, next] = eventsIn(await watcher.until('run1-1200'))
  t.match(gap, { type: 'events.gap', id: 'run1-200' })
  t.match(next, { type: 'key.stored', id: 'run1-201' })
})

t.test('shows a token the events of its own profiles only', async (t) => {
  const { broker, tcp } = await startApi(t)
  const { events } = broker.deps
  const watcher = await watch(t, tcp, { token: await broker.token('inspect', ['server']) })
  events.emit('credentials.changed', { profile: 'cloud', facts: { generation: 8 } })
  events.emit('credentials.changed', { profile: 'server', facts: { generation: 2 } })
  events.emit('profiles.changed', { facts: { names: ['cloud'] } })
  const seen = await watcher.until('profiles.changed')
  t.notMatch(seen, '"cloud"')
  t.same(
    eventsIn(seen).map(({ id, data }) => [id, data.profile, data.facts]),
    [
      ['run1-2', 'server', { generation: 2 }],
      ['run1-3', undefined, {}],
    ],
  )
})

t.test('ends the stream of a token that is revoked', async (t) => {
  const { broker, socket, tcp } = await startApi(t)
  const dead = await watch(t, tcp, { token: await broker.token('inspect') })
  const alive = await watch(t, tcp, { token: await broker.token('inspect') })
  await ask(socket, '/v1/tokens/tok1', { method: 'DELETE' })
  await dead.ended
  t.notMatch(dead.text(), 'token.revoked')
  t.match(await alive.until('token.revoked'), 'tok1')
})

t.test('drops a watcher that does not read, and does not delay the others', async (t) => {
  const { app, broker, socket } = await startApi(t)
  const path = 'socketPath' in socket ? socket.socketPath : ''
  const watcher = await watch(t, socket)
  const lazy = connect(path)
  t.teardown(() => lazy.destroy())
  lazy.on('error', () => undefined)
  lazy.write('GET /v1/events HTTP/1.1\r\nHost: authd\r\n\r\n')
  await once(lazy, 'readable')
  const facts = { text: 'x'.repeat(10_000) }
  // Each event is read before the next one is sent: however slow the machine, the good watcher is never behind.
  let count = 0
  while (app.presence().connections > 1 && count < 1_000) {
    count += 1
    const from = watcher.text().length
    broker.deps.events.emit('key.stored', { facts })
    await watcher.until(`id: run1-${count}\n`, from)
  }
  t.equal(app.presence().connections, 1, 'only the good watcher is left')
  broker.deps.events.emit('vault.changed')
  await watcher.until('vault.changed')
  const hungUp = once(lazy, 'close')
  lazy.resume()
  await hungUp
  t.equal(eventsIn(watcher.text()).length, count + 1)
})

t.test('fills silence with comments, and ends the streams of expired tokens there', async (t) => {
  const system = systemClock()
  let ahead = 0
  const hasty: Clock = {
    ...system,
    now: () => system.now() + ahead,
    after: (ms, run) => system.after(ms / 500, run),
  }
  const { broker, tcp } = await startApi(t, { clock: hasty })
  const dying = await watch(t, tcp, { token: await broker.token('inspect', ['*'], 3_600_000) })
  const alive = await watch(t, tcp, { token: await broker.token('inspect', ['*'], 2 * 86_400_000) })
  ahead = 86_400_000
  await dying.ended
  const seen = alive.text().length
  await alive.until(': still here\n\n', seen)
  t.match(alive.text(), /(: still here\n\n)+$/)
})

t.test('ends event streams when the daemon stops', async (t) => {
  const { app, socket } = await startApi(t)
  const watcher = await watch(t, socket)
  await Promise.all([watcher.ended, app.close(5_000)])
  t.match(watcher.text(), 'retry: 2000')
})

t.test('keeps room for the owner when tokens open many streams', async (t) => {
  const { broker, socket, tcp } = await startApi(t)
  const token = await broker.token('inspect')
  const watchers = await Promise.all(Array.from({ length: 256 }, () => watch(t, tcp, { token })))
  t.equal(watchers.length, 256)
  const refused = await ask(tcp, '/v1/events', { token })
  t.equal(refused.status, 429)
  t.match(refused.text, 'too_many_requests')
  const owner = await watch(t, socket)
  t.equal(owner.incoming.statusCode, 200, 'the owner still has room')
  watchers[0]?.outgoing.destroy()
  const type: EventType = 'vault.changed'
  let status = 429
  while (status === 429) {
    broker.deps.events.emit(type)
    const again = await watch(t, tcp, { token })
    status = again.incoming.statusCode ?? 0
  }
  t.equal(status, 200, 'a place that was left is free again')
})
