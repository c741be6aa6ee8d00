/** Places: strangers and tokens that want all connections of a listener, over real sockets. */
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { setImmediate as turn } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { ask, startApi, testBoth } from '../fixtures/api-under-test.js'

// What never comes hangs the test; this ends it on the busiest machine, too.
t.setTimeout(120_000)

/** Takes a place again whenever it loses one, as an attacker does. */
function crowd(t: Pick<Test, 'teardown'>, port: number, many: number, say = '') {
  const open = new Set<Socket>()
  let isOver = false
  let lost = 0
  const one = () => {
    if (isOver) return
    const socket = connect(port, '127.0.0.1', () => {
      open.add(socket)
      if (say !== '') socket.write(say)
    })
    socket.on('error', () => undefined)
    socket.on('data', () => undefined)
    socket.on('close', () => {
      open.delete(socket)
      lost += 1
      setTimeout(one, 5)
    })
  }
  for (let count = 0; count < many; count += 1) one()
  t.teardown(() => {
    isOver = true
    for (const socket of open) socket.destroy()
  })
  return { size: () => open.size, lost: () => lost }
}

/** Resolves once `isTrue`. */
async function until(isTrue: () => boolean): Promise<void> {
  while (!isTrue()) await turn()
}

for (const [name, say] of [
  ['send nothing', ''],
  ['send half a request', 'GET /v1/credentials HTTP/1.1\r\nHo'],
] as const) {
  t.test(`answers a job and the owner while strangers that ${name} want every place`, async (t) => {
    const api = await startApi(t)
    const token = await api.broker.token('use')
    const strangers = crowd(t, api.tcp.port, 1_500, say)
    await until(() => strangers.lost() > 1_500)
    for (let count = 0; count < 20; count += 1) {
      t.equal((await ask(api.tcp, '/v1/credentials?profile=cloud', { token })).status, 200)
      t.equal((await ask(api.socket, '/v1/credentials?profile=cloud')).status, 200)
    }
    t.equal((await ask(api.tcp, '/livez')).status, 200)
    const metrics = await ask(api.socket, '/metrics')
    t.match(metrics.text, /prefect_auth_connections_closed_total\{listener="tcp",of="strangers"\} [1-9]/)
    const doctor = await ask(api.socket, '/v1/doctor')
    t.match(doctor.text, /full.*connections without a token/)
  })
}

const POLL = (port: number, token: string, tag: string) =>
  `GET /v1/credentials?profile=cloud HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nAuthorization: Bearer ${token}\r\n` +
  `Prefer: wait=300\r\nIf-None-Match: ${tag}\r\n\r\n`

async function open(port: number, bytes: string): Promise<Socket> {
  const socket = connect(port, '127.0.0.1')
  socket.on('error', () => undefined)
  await once(socket, 'connect')
  socket.write(bytes)
  return socket
}

testBoth(t, 'one token cannot hold the places of another', async (t, recogniser) => {
  const limits = { strangers: 4, known: 8, perToken: 6, strangerMs: 60_000 }
  const api = await startApi(t, { limits: { places: limits }, recogniser })
  const [greedy, other, third] = [
    await api.broker.token('use'),
    await api.broker.token('use'),
    await api.broker.token('use'),
  ]
  const tag = (await ask(api.tcp, '/v1/credentials?profile=cloud', { token: greedy })).headers.etag ?? ''
  const held: Socket[] = []
  t.teardown(() => {
    for (const socket of held) socket.destroy()
  })
  const hold = async (token: string, many: number) => {
    for (let count = 0; count < many; count += 1)
      held.push(await open(api.tcp.port, POLL(api.tcp.port, token, tag)))
    // The connections of finished requests go a moment later.
    await until(() => heldBy() === held.length)
  }
  const heldBy = () =>
    api.app
      .crowds()
      .flatMap(({ tokens }) => tokens)
      .reduce((sum, [, count]) => sum + count, 0)
  await hold(greedy, 6)
  const answer = await ask(api.tcp, '/v1/credentials?profile=cloud', { token: greedy })
  t.equal(answer.status, 429, 'more than its share is refused in words')
  t.equal((await ask(api.tcp, '/v1/credentials?profile=cloud', { token: other })).status, 200)

  await hold(other, 2)
  const [oldest] = held
  if (oldest === undefined) throw new Error('nothing is held')
  oldest.resume()
  const closed = once(oldest, 'close')
  held.push(await open(api.tcp.port, POLL(api.tcp.port, third, tag)))
  await closed
  t.pass('the token that held most has lost its oldest')
  t.match(
    api.app.crowds().find(({ door }) => door === 'tcp'),
    { closed: { tokens: 1 }, full: { by: /token/ } },
  )
})

testBoth(t, 'closes a connection that showed no token, and keeps the one that did', async (t, recogniser) => {
  const places = { strangers: 4, known: 8, perToken: 6, strangerMs: 10 }
  const api = await startApi(t, { limits: { places, headersMs: 100 }, recogniser })
  const token = await api.broker.token('use')
  const request = (path: string, header = '') =>
    `GET ${path} HTTP/1.1\r\nHost: 127.0.0.1:${api.tcp.port}\r\n${header}\r\n`
  const known = await open(api.tcp.port, request('/v1/status', `Authorization: Bearer ${token}\r\n`))
  await once(known, 'data')
  for (const bytes of ['', request('/livez'), request('/v1/status')]) {
    const stranger = await open(api.tcp.port, bytes)
    stranger.resume()
    await once(stranger, 'close')
  }
  known.write(request('/v1/status', `Authorization: Bearer ${token}\r\n`))
  t.match(String((await once(known, 'data'))[0]), /^HTTP\/1\.1 200/)
  known.destroy()
})
