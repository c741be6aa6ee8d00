/** What stands in front of the framework: it is loaded once, by the first request that needs it, and whoever asks meanwhile waits. */
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { buildBackroom } from '../../src/api/app.js'
import { createFront } from '../../src/api/front.js'
import { ask, askRaw, json, type Place, statusIn } from '../fixtures/api-under-test.js'
import { createFakeBroker } from '../fixtures/fake-broker.js'

const JSON_BODY = { 'content-type': 'application/json' }

interface Gate {
  /** How often loading was begun. */
  begun(): number
  /** Loading goes on, or fails. */
  open(error?: Error): void
}

async function startFront(t: Pick<Test, 'teardown'>) {
  const broker = createFakeBroker()
  const waiting: ((error?: Error) => void)[] = []
  const whole: string[] = []
  let count = 0
  const front = createFront(broker.deps, async (parts) => {
    count += 1
    const error = await new Promise<Error | undefined>((resolve) => waiting.push(resolve))
    if (error !== undefined) throw error
    const back = await buildBackroom(broker.deps, parts)
    const handleWhole: typeof back.handleWhole = (request, turn) => {
      whole.push(request.url ?? '')
      back.handleWhole(request, turn)
    }
    return { ...back, handleWhole }
  })
  const gate: Gate = { begun: () => count, open: (error) => waiting.shift()?.(error) }
  const directory = await mkdtemp(join(tmpdir(), 'pab-'))
  t.teardown(async () => {
    gate.open()
    await front.close(100)
    await rm(directory, { recursive: true })
  })
  const place = { socketPath: join(directory, 's') }
  const server = front.openServer('socket')
  server.listen(place.socketPath)
  await once(server, 'listening')
  return { broker, front, gate, place, whole }
}

const until = async (isTrue: () => boolean) => {
  while (!isTrue()) await new Promise((resolve) => setImmediate(resolve))
}

t.test('is loaded once, by the first request that needs it, and the others wait', async (t) => {
  const { broker, gate, place, front } = await startFront(t)
  for (const path of ['/livez', '/v1/credentials', '/v1/env']) t.equal((await ask(place, path)).status, 200)
  t.equal(gate.begun(), 0)
  const body = { name: 'x', power: 'use', profiles: ['cloud'], expires_in: '1h' }
  const asked = [
    ...Array.from({ length: 20 }, () => ask(place, '/v1/status')),
    ask(place, '/v1/tokens', { method: 'POST', body }),
    ask(place, '/v1/nothing'),
  ]
  await until(() => front.presence().connections === asked.length)
  t.equal((await ask(place, '/v1/credentials')).status, 200, 'and the plain ones do not')
  t.equal(gate.begun(), 1)
  gate.open()
  const statuses = (await Promise.all(asked)).map(({ status }) => status)
  t.same(statuses, [...Array.from({ length: 20 }, () => 200), 201, 404])
  t.equal(gate.begun(), 1)
  t.equal(broker.deps.tokens.list().length, 1, 'what changes something was done once')
})

t.test('says that it cannot be loaded, and is tried again by the next request', async (t) => {
  const { broker, gate, place } = await startFront(t)
  const failing = async <T>(asked: Promise<T>, tries: number): Promise<T> => {
    await until(() => gate.begun() === tries)
    gate.open(new Error('a file is gone'))
    return asked
  }
  const answer = await failing(ask(place, '/v1/status'), 1)
  t.equal(answer.status, 500)
  t.match(json(answer), { code: 'internal', detail: /could not be loaded/, hint: /restart/ })
  t.equal(answer.headers['cache-control'], 'no-store')
  const foreign = await failing(askRaw(place, 'GET /v1/status HTTP/1.1\r\nHost: evil.example\r\n\r\n'), 2)
  t.equal(statusIn(foreign), 0, 'a stranger learns nothing')
  const shell = await failing(ask(place, '/v1/env?profile=nobody'), 3)
  t.equal(shell.status, 500)
  t.equal(shell.text, "echo 'prefect-auth: internal' >&2; false\n")
  t.equal(broker.logged.filter(({ level }) => level === 'error').length >= 3, true, 'and each is in the log')
  const again = ask(place, '/v1/status')
  await until(() => gate.begun() === 4)
  gate.open()
  t.equal((await again).status, 200)
})

t.test('a body that comes while it is loaded is read whole', async (t) => {
  const { broker, gate, place } = await startFront(t)
  const body = `{"level":${' '.repeat(16_000)}"debug"}`
  const asked = ask(place, '/v1/log-level', { method: 'PUT', body, headers: JSON_BODY })
  await until(() => gate.begun() === 1)
  gate.open()
  t.match(await asked, { status: 200 })
  t.same(broker.calls, ['log-level debug'])
})

t.test(
  'a plain proxied request that comes while it is loaded waits for it, and Node does not get it',
  async (t) => {
    const { gate, place, whole } = await startFront(t)
    const gone = open(place)
    gone.write('GET /proxy/cloud/api/flows HTTP/1.1\r\nHost: authd\r\n\r\n')
    await until(() => gate.begun() === 1)
    gone.destroy()
    const asked = ask(place, '/proxy/cloud/api/me/api_keys')
    gate.open()
    t.equal((await asked).status, 403)
    t.same(whole, ['/proxy/cloud/api/flows', '/proxy/cloud/api/me/api_keys'])
  },
)

t.test(
  'a WebSocket that is opened while it is loaded is answered, and one that has gone does no harm',
  async (t) => {
    const { gate, place } = await startFront(t)
    const head =
      'GET /proxy/cloud/api/events/in HTTP/1.1\r\nHost: authd\r\nConnection: upgrade\r\nUpgrade: websocket\r\n' +
      'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n'
    const gone = open(place)
    gone.write(head)
    await until(() => gate.begun() === 1)
    gone.destroy()
    const answer = askRaw(place, head)
    gate.open()
    t.ok(statusIn(await answer) >= 400, 'refused by the proxy: there is no token')
  },
)

function open(place: Place) {
  const socket = connect('port' in place ? place : { path: place.socketPath })
  socket.on('error', () => undefined)
  return socket
}

t.test('closes while it is loaded: the request that waits is answered', async (t) => {
  const { front, gate, place } = await startFront(t)
  const answer = ask(place, '/v1/status')
  const change = ask(place, '/v1/tokens', { method: 'POST', body: {} })
  await until(() => front.presence().connections === 2)
  const closed = front.close()
  gate.open()
  t.equal((await answer).status, 200, 'a look')
  t.match(json(await change), { code: 'shutting_down' })
  await closed
  t.equal(front.presence().connections, 0)
})
