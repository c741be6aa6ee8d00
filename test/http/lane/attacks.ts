/** Clients that want to break the lane: with it and without, they get the same, and cost no more. */
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep, setImmediate as turn } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { ask, READINGS } from '../../fixtures/api-under-test.js'
import { portOf } from '../../fixtures/proxy-under-test.js'
import { ANSWERS } from '../fixtures/answers.js'
import { converse, type Lane, type Step, startLane, startScriptedUpstream, until } from '../fixtures/lanes.js'
import { type People, peopleOf, request } from '../fixtures/talks.js'

t.setTimeout(120_000)

const HEADERS_MS = 300

/** A listener with short limits, on a port of its own. */
async function openHasty({ proxy }: Lane) {
  const limits = { headersMs: HEADERS_MS, keepAliveMs: 300, requestMs: 600 }
  const server = proxy.app.openServer('tcp', { limits, hosts: [`127.0.0.1:${proxy.tcp.port}`] })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return { port: portOf(server), host: '127.0.0.1' } as const
}

/** The same steps on both daemons, at a hasty listener. */
async function both(
  t: Test,
  stepsOf: (people: People, lane: Lane) => readonly Step[],
  limits?: NonNullable<Parameters<typeof startLane>[3]>['limits'],
): Promise<{ readonly heard: string; readonly sent: readonly string[] }[]> {
  const upstream = await startScriptedUpstream(t, ANSWERS)
  const told: { readonly heard: string; readonly sent: readonly string[] }[] = []
  for (const recogniser of READINGS) {
    const lane = await startLane(t, recogniser, upstream, limits === undefined ? {} : { limits })
    const place = await openHasty(lane)
    const heard = lane.plain(await converse(place, stepsOf(await peopleOf(lane), lane)))
    await until(() => lane.proxy.app.presence().connections === 0)
    told.push({ heard, sent: upstream.take().map(lane.plain) })
  }
  t.strictSame(told[0], told[1])
  return told
}

function pathOf({ proxy }: Lane): string {
  if ('port' in proxy.socket) throw new Error('no socket')
  return proxy.socket.socketPath
}

const END: Step = { do: 'hear the end' }

/** Steps that end with the connection, and how what is heard begins. */
const CASES: readonly (readonly [
  name: string,
  steps: (people: People, lane: Lane) => readonly Step[],
  heard: RegExp,
])[] = [
  ['silence', () => [END], /^HTTP\/1\.1 408 /],
  [
    'half a head and silence',
    () => [{ say: ['GET /livez HTTP/1.1\r\nHo'], answers: 0 }, END],
    /^HTTP\/1\.1 408 /,
  ],
  [
    'half a body and silence',
    ({ job }, { base, clock }) => [
      { say: [request(job, 'POST', `${base}/x?as=length`, [], '{"a":1}').slice(0, -2)], answers: 0 },
      { act: () => sleep(150) },
      { act: () => clock.pass(300) },
      END,
    ],
    /^HTTP\/1\.1 400 [\s\S]*did not arrive in time/,
  ],
  [
    'silence after an answer',
    ({ use }) => [{ say: [request(use, 'GET', '/v1/env')] }, END],
    /^HTTP\/1\.1 200 [\s\S]*\[closed\]$/,
  ],
  [
    'an end during a slow answer',
    ({ job }, { base, upstream }) => [
      { say: [request(job, 'GET', `${base}/x?as=late`)], answers: 0 },
      { act: () => until(() => upstream.count() === 1) },
      { do: 'half-close' },
      END,
    ],
    /^\[closed\]$/,
  ],
  [
    'more after a last request',
    ({ job }, { base, upstream }) => [
      { say: [request(job, 'GET', `${base}/x?as=late`, ['Connection: close'])], answers: 0 },
      { act: () => until(() => upstream.count() === 1) },
      { say: [request(job, 'POST', `${base}/x?as=length`, [], '{"again":1}')], answers: 0 },
      END,
    ],
    /^HTTP\/1\.1 400 /,
  ],
  [
    'line ends after a last request',
    ({ job }, { base }) => [
      {
        say: [request(job, 'GET', `${base}/x?as=slow`, ['Connection: close']), '\r\n\r\n'],
        ...{ pauseMs: 1, answers: 0 },
      },
      END,
    ],
    /^HTTP\/1\.1 200 [\s\S]*slow and long\[closed\]$/,
  ],
]

for (const [name, steps, heard] of CASES) {
  t.test(`the same for ${name}`, async (t) => {
    const [told] = await both(t, steps, { bodyIdleMs: 200 })
    t.match(told?.heard, heard)
    t.ok((told?.sent.length ?? 0) <= 1, 'Prefect has one request at most')
  })
}

for (const recogniser of READINGS) {
  t.test(`notices that a client leaves which has begun to ask again: ${recogniser}`, async (t) => {
    const upstream = await startScriptedUpstream(t, ANSWERS)
    const lane = await startLane(t, recogniser, upstream)
    const { job } = await peopleOf(lane)
    const client = connect(lane.proxy.tcp)
    t.teardown(() => client.destroy())
    client.write(request(job, 'GET', `${lane.base}/x?as=never`))
    await until(() => upstream.open() === 1)
    for (const some of ['GET /livez', ' HTTP/1.1\r\n']) {
      client.write(some)
      await sleep(20)
    }
    client.destroy()
    await until(() => upstream.open() === 0)
    await until(() => lane.proxy.app.presence().connections === 0)
    t.pass('the request to Prefect has ended, too')
  })

  t.test(
    `sends all of an answer to a client that sleeps for longer than a connection is kept: ${recogniser}`,
    async (t) => {
      const upstream = await startScriptedUpstream(t, ANSWERS)
      const lane = await startLane(t, recogniser, upstream)
      const { owner } = await peopleOf(lane)
      const server = lane.proxy.app.openServer('socket', { limits: { headersMs: 200, keepAliveMs: 300 } })
      const directory = await mkdtemp(join(tmpdir(), 'pab-'))
      t.teardown(() => rm(directory, { recursive: true }))
      server.listen(join(directory, 's'))
      await once(server, 'listening')
      const client = connect(join(directory, 's'))
      t.teardown(() => client.destroy())
      client.pause()
      // The system takes two thirds of it for the client, and the rest waits in the daemon.
      client.write(request(owner, 'GET', `${lane.base}/x?as=large`))
      await until(() => upstream.open() === 1)
      await sleep(900)
      let heard = 0
      client.on('data', ({ length }) => {
        heard += length
      })
      client.resume()
      await once(client, 'close')
      t.ok(heard > 300_000, `${heard} bytes`)
    },
  )

  t.test(`reads no more requests than answers are taken: ${recogniser}`, async (t) => {
    const upstream = await startScriptedUpstream(t, ANSWERS)
    const lane = await startLane(t, recogniser, upstream)
    const { owner } = await peopleOf(lane)
    const bytes = request(owner, 'GET', '/v1/env')
    const client = connect(pathOf(lane))
    t.teardown(() => client.destroy())
    client.pause()
    await once(client, 'connect')
    let sent = 0
    // One at a time: each is whole in its chunk.
    for (; sent < 60_000 && client.writableLength < 64 * 1024; sent += 1) {
      client.write(bytes)
      if (sent % 8 === 0) await turn()
    }
    t.ok(client.writableLength > 0, `after ${sent} requests nobody takes more`)
    t.equal((await ask(lane.proxy.tcp, '/livez')).status, 200)
    let answers = 0
    let tail = ''
    client.setEncoding('latin1').on('data', (text: string) => {
      const all = tail + text
      answers += all.split('HTTP/1.1 200 OK').length - 1
      tail = all.slice(-14)
    })
    client.resume()
    await until(() => answers === sent)
    t.equal(answers, sent, 'and all of them are answered once they are')
    client.destroy()
  })

  t.test(`survives clients that break off: ${recogniser}`, async (t) => {
    const upstream = await startScriptedUpstream(t, ANSWERS)
    const lane = await startLane(t, recogniser, upstream)
    const { job, use } = await peopleOf(lane)
    const wholes = [
      request(job, 'POST', `${lane.base}/x?as=large`, [], '{"a":1}'),
      request(job, 'GET', `${lane.base}/x?as=never`),
      request(use, 'GET', '/v1/env'),
    ]
    for (const bytes of [
      ...wholes,
      wholes[0]?.slice(0, -3) ?? '',
      wholes[2]?.slice(0, 30) ?? '',
      `${wholes[1]}${wholes[2]}`,
    ]) {
      for (const leave of ['end', 'destroy', 'resetAndDestroy'] as const) {
        const client = connect(lane.proxy.tcp)
        t.teardown(() => client.destroy())
        client.on('error', () => undefined)
        await once(client, 'connect')
        client.write(bytes)
        await turn()
        client[leave]()
        client.resume()
        await once(client, 'close')
      }
    }
    await until(() => lane.proxy.app.presence().connections === 0)
    t.equal((await ask(lane.proxy.tcp, '/livez')).status, 200)
  })
}
