/**
 * Tickets: Prefect 3.0 to 3.6.13 sends events to a server over a WebSocket without credentials, so its URL has to say whose it
 * is. URLs get into logs: whoever finds a ticket there can send events, as long as the job lives, and nothing else.
 */
import { once } from 'node:events'
import t, { type Test } from 'tap'
import type { WebSocket } from 'ws'
import { ask } from '../fixtures/api-under-test.js'
import { openRaw, type ProxyUnderTest, startProxy } from '../fixtures/proxy-under-test.js'
import { handshakeText } from './fixtures/frame-disguises.js'
import { auth, openSocket, said, startPrefect } from './fixtures/prefect-sockets.js'

const EVENTS = '/events/in'

async function startStage(t: Test) {
  const prefect = await startPrefect(t)
  const proxy = await startProxy(t, prefect.url)
  const { tokens } = proxy.broker.deps
  const job = async (profile: string) => {
    const made = await tokens.createForJob({ name: `job at ${profile}`, profile, needsTicket: true })
    const ticket = made.ticket ?? ''
    t.match(ticket, /^[\w-]{43}$/)
    return { ...made, ticket, url: (path: string) => `/proxy/${profile};events=${ticket}/api${path}` }
  }
  return { ...prefect, proxy, tokens, job }
}

/** The HTTP status that refused the handshake; 101 if it was accepted. */
async function outcome(socket: WebSocket): Promise<number> {
  return await new Promise((resolve) => {
    socket.once('open', () => resolve(101))
    socket.once('unexpected-response', (_request, response) => {
      response.resume()
      resolve(response.statusCode ?? 0)
    })
    socket.once('error', () => resolve(0))
  })
}

t.test('an old client sends its events with the ticket in its URL', async (t) => {
  const { proxy, heard, job } = await startStage(t)
  const { url, token } = await job('server')
  for (const place of [proxy.tcp, proxy.restricted]) {
    const socket = openSocket(t, place, url(EVENTS))
    await once(socket, 'open')
    socket.send('{"event":"prefect.flow-run.Completed"}')
    t.equal(await said(socket), 'heard 38')
    socket.close()
    await once(socket, 'close')
  }
  t.match(heard[0], {
    path: '/api/events/in',
    authorization: `Basic ${Buffer.from('admin:real').toString('base64')}`,
    messages: ['{"event":"prefect.flow-run.Completed"}'],
  })
  t.match(proxy.app.proxyTraffic(), [{ profile: 'server', token: 'job at server', socketsOpened: 2 }])

  await t.test('and a new one, with the same URL, as ever', async (t) => {
    const framed = openSocket(t, proxy.tcp, url(EVENTS), { protocols: ['prefect'] })
    await once(framed, 'open')
    framed.send(auth(`prefect-auth:${token}`))
    t.equal(await said(framed), '{"type":"auth_success"}')
    t.match(heard.at(-1), { messages: [auth('admin:real')] })
    const answer = await ask(proxy.tcp, url('/flows/filter'), { method: 'POST', body: {}, token })
    t.equal(answer.status, 200)
  })
})

t.test('a stranger without it gets nowhere, whoever he is', async (t) => {
  const { proxy, heard, job } = await startStage(t)
  const { ticket } = await job('server')
  const [before, last] = [ticket.slice(0, -1), ticket.at(-1)]
  const guesses = [
    ['/proxy/server/api/events/in', 'another process or user of this machine, with no ticket'],
    [`/proxy/server;events=${'A'.repeat(43)}/api/events/in`, 'a guess'],
    [`/proxy/server;events=${before}${last === 'A' ? 'B' : 'A'}/api/events/in`, 'one letter off'],
    [`/proxy/server;events=${before}/api/events/in`, 'one letter less'],
    [`/proxy/server;events=${ticket}A/api/events/in`, 'one letter more'],
    [`/proxy/server;events=/api/events/in`, 'an empty one'],
    [`/proxy/server/api/events/in;events=${ticket}`, 'in another place'],
    [`/proxy/server/api/events/in?events=${ticket}`, 'in the query'],
    [`/proxy/server%3Bevents=${ticket}/api/events/in`, 'as part of the name'],
    [`/proxy/server;events=${ticket};events=${ticket}/api/events/in`, 'twice'],
  ] as const
  for (const [path, what] of guesses) {
    for (const place of [proxy.tcp, proxy.restricted]) {
      t.ok([401, 403, 404].includes(await outcome(openSocket(t, place, path))), what)
    }
  }
  t.same(heard, [], 'and nothing is sent to the server')
})

t.test('a ticket that was found in a log sends events there, and nothing else', async (t) => {
  const { proxy, heard, job } = await startStage(t)
  const { url, ticket } = await job('server')
  const other = `/proxy/cloud;events=${ticket}/api`
  for (const path of [
    ...['/events/out', '/logs/out', '/task_runs/subscriptions/scheduled', '/work_pools/p/workers/connect'],
    ...['/events/in/', '/events//in', '/events/%69n', '/events/in/../out', '/flows/filter', '', '/'],
  ]) {
    t.equal(await outcome(openSocket(t, proxy.tcp, url(path))), 401, `a WebSocket to ${path}`)
  }
  for (const path of [`${other}${EVENTS}`, `${other}/accounts/a/workspaces/w/events/in`]) {
    t.ok([401, 403].includes(await outcome(openSocket(t, proxy.tcp, path))), `of another profile: ${path}`)
  }
  for (const [method, path] of [
    ['GET', EVENTS],
    ['POST', '/events'],
    ['GET', '/flows'],
    ['POST', '/flow_runs/'],
    ['GET', '/admin/version'],
  ] as const) {
    const answer = await ask(proxy.tcp, url(path), { method, ...(method === 'POST' ? { body: {} } : {}) })
    t.equal(answer.status, 401, `${method} ${path}`)
  }
  for (const presented of [ticket, `pab_${ticket}`, `prefect-auth:${ticket}`]) {
    const answer = await ask(proxy.tcp, '/proxy/server/api/flows', { token: presented })
    t.equal(answer.status, 401, 'it is no token')
    t.equal(await outcome(openSocket(t, proxy.tcp, url(EVENTS), { token: presented })), 401)
    const own = await ask(proxy.tcp, '/v1/status', { token: presented })
    t.equal(own.status, 401)
    const framed = openSocket(t, proxy.tcp, url('/events/out'), { protocols: ['prefect'] })
    await once(framed, 'open')
    framed.send(auth(presented))
    t.equal((await once(framed, 'close'))[0], 1008)
  }
  const posing = openRaw(t, proxy.tcp)
  const head = handshakeText(proxy.tcp.port, url(EVENTS)).replace('Sec-WebSocket-Protocol: prefect\r\n', '')
  posing.say(head.replace('GET ', 'POST '))
  t.match(await posing.closed(), /^HTTP\/1\.1 401 /, 'nor with another method')
  const page = openRaw(t, proxy.tcp)
  page.say(head.replace('\r\n\r\n', '\r\nOrigin: http://127.0.0.1:4200\r\n\r\n'))
  t.match(await page.closed(), /^HTTP\/1\.1 403 /, 'nor a web page')
  t.same(heard, [], 'nothing was sent to the server')
})

t.test('a ticket dies with its job’s token, and what is open is cut', async (t) => {
  const { proxy, tokens, job } = await startStage(t)
  const { url, facts } = await job('server')
  const socket = openSocket(t, proxy.tcp, url(EVENTS))
  await once(socket, 'open')
  await tokens.revoke(facts.id)
  await once(socket, 'close')
  t.equal(await outcome(openSocket(t, proxy.tcp, url(EVENTS))), 401)

  const parked = await job('server')
  await tokens.parkJobs()
  t.equal(await outcome(openSocket(t, proxy.tcp, parked.url(EVENTS))), 503, 'parked: somebody may have it')
})

t.test('it is in no log, audit line, list or file', async (t) => {
  const { proxy, tokens, job } = await startStage(t)
  const { url, ticket } = await job('server')
  const socket = openSocket(t, proxy.tcp, url(EVENTS))
  await once(socket, 'open')
  await outcome(openSocket(t, proxy.tcp, url('/events/out')))
  await ask(proxy.tcp, url('/flows/filter'), { method: 'POST', body: {} })
  const seen = [
    ...[proxy.broker.audit, proxy.broker.logged, tokens.list(), proxy.app.proxyTraffic()],
    ...(await told(proxy)),
  ]
  t.notMatch(JSON.stringify(seen), ticket)
})

async function told(proxy: ProxyUnderTest): Promise<readonly string[]> {
  const paths = ['/v1/status', '/v1/tokens', '/v1/audit', '/metrics', '/v1/doctor']
  return Promise.all(paths.map(async (path) => (await ask(proxy.socket, path)).text))
}
