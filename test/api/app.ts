/** The app as a whole: what a route must declare, what is under way, and how it closes. */
import { Agent, request } from 'node:http'
import { connect, type Socket } from 'node:net'
import fastify from 'fastify'
import t from 'tap'
import { createRouteBook } from '../../src/api/observe/openapi.js'
import { ask, startApi } from '../fixtures/api-under-test.js'

t.test('rejects a route that does not say which power it needs', async (t) => {
  const book = createRouteBook()
  const server = fastify({ exposeHeadRoutes: false })
  server.addHook('onRoute', (route) => book.enter(route))
  t.throws(() => server.get('/v1/forgotten', () => 'secret'), /GET \/v1\/forgotten must say which power/)
  t.throws(
    () => server.get('/v1/x', { config: { needs: 'inspect' } }, () => 'x'),
    /must say/,
    'nor without a summary',
  )
  server.get('/v1/fine', { config: { needs: 'inspect', summary: 'Fine' } }, () => 'x')
  t.same(
    book.routes().map(({ url }) => url),
    ['/v1/fine'],
  )
})

t.test('answers the shutdown request before it shuts down', async (t) => {
  const api = await startApi(t)
  const answer = await ask(api.socket, '/v1/shutdown', { method: 'POST' })
  t.equal(answer.status, 202)
  t.same(api.broker.calls, ['shutdown'])
})

t.test('does not wait for kept-alive connections at shutdown', async (t) => {
  const api = await startApi(t)
  const agent = new Agent({ keepAlive: true })
  t.teardown(() => agent.destroy())
  const get = (path: string) =>
    new Promise<number>((resolve, reject) => {
      const outgoing = request({ ...api.socket, path, agent, headers: { host: 'authd' } }, (incoming) => {
        incoming.resume()
        incoming.on('end', () => resolve(incoming.statusCode ?? 0))
      })
      outgoing.on('error', reject)
      outgoing.end()
    })
  t.equal(await get('/livez'), 200)
  await api.app.close(60_000)
  await t.rejects(get('/livez'))
})

t.test('cuts off an unfinished request after the grace period', async (t) => {
  const api = await startApi(t)
  const path = 'socketPath' in api.socket ? api.socket.socketPath : ''
  const stuck = connect(path)
  stuck.on('error', () => undefined)
  t.teardown(() => stuck.destroy())
  stuck.write(
    'POST /v1/logins HTTP/1.1\r\nHost: authd\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{',
  )
  await ask(api.socket, '/livez')
  await api.app.close(50)
  t.pass('it ended')
})

t.test('counts a change as under way until it is done, even if its caller has gone', async (t) => {
  const api = await startApi(t)
  let finish: () => void = () => undefined
  let begun: () => void = () => undefined
  const isBegun = new Promise<void>((resolve) => {
    begun = resolve
  })
  const { profiles } = api.broker.deps
  profiles.logout = () => {
    begun()
    return new Promise((resolve) => {
      finish = () => resolve({ forgotten: [], revoked: [], notRevoked: [] })
    })
  }
  const sent = request({
    ...api.socket,
    method: 'POST',
    path: '/v1/profiles/cloud/logout',
    headers: { host: 'authd' },
  })
  sent.on('error', () => undefined).end()
  await isBegun
  sent.destroy()
  while (api.app.presence().connections > 0) await new Promise((resolve) => setTimeout(resolve, 5))
  t.equal(api.app.presence().acts, 1)
  finish()
  while (api.app.presence().acts > 0) await new Promise((resolve) => setTimeout(resolve, 5))
  t.equal((await ask(api.socket, '/livez')).status, 200)
  t.equal(api.app.presence().acts, 0, 'requests that only read are not counted')
})

t.test('can be closed twice', async (t) => {
  const api = await startApi(t)
  await Promise.all([api.app.close(), api.app.close()])
  await api.app.close()
  t.notOk(api.servers.some(({ listening }) => listening))
})

t.test('still answers reads on connections accepted before the end, but no changes', async (t) => {
  const api = await startApi(t)
  const path = 'socketPath' in api.socket ? api.socket.socketPath : ''
  const say = async (socket: Socket, line: string) => {
    socket.end(`${line} HTTP/1.1\r\nHost: authd\r\nConnection: close\r\n\r\n`)
    let text = ''
    for await (const chunk of socket) text += String(chunk)
    return text.split('\r\n')[0]
  }
  const sockets = [connect(path), connect(path), connect(path)]
  await Promise.all(sockets.map((socket) => new Promise((resolve) => socket.once('connect', resolve))))
  // Accepted for sure: a later connection has been answered.
  await ask(api.socket, '/livez')
  const closed = api.app.close(60_000)
  const [look, change, watch] = sockets
  t.match(look && (await say(look, 'GET /v1/credentials')), /^HTTP\/1.1 200 /)
  t.match(change && (await say(change, 'POST /v1/shutdown')), /^HTTP\/1.1 503 /)
  t.match(watch && (await say(watch, 'GET /v1/events')), /^HTTP\/1.1 503 /)
  await closed
})
