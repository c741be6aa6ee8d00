/** Workspaces in front of a backend: HTTP and WebSockets pass, keys and non-members do not. */
import { createServer, type IncomingHttpHeaders } from 'node:http'
import t, { type Test } from 'tap'
import { WebSocket, WebSocketServer } from 'ws'
import { startCloudSimulator } from '../../sim/simulator.js'

/** Echoes requests as JSON and WebSocket frames as they are; answers `prefect` auth frames. */
async function openBackend(t: Test) {
  const upgrades: IncomingHttpHeaders[] = []
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(Buffer.from(chunk))
    const { method, url, headers } = request
    const body = Buffer.concat(chunks).toString()
    response.writeHead(201, { 'content-type': 'application/json', 'x-own': 'kept' })
    response.end(JSON.stringify({ method, url, headers, body }))
  })
  const sockets = new WebSocketServer({ server })
  sockets.on('connection', (socket, request) => {
    upgrades.push(request.headers)
    socket.on('message', (data, isBinary) => {
      const text = data.toString()
      if (text.includes('"auth"')) socket.send('{"type":"auth_success"}')
      else if (text === 'close') socket.close(1011, 'as told')
      else socket.send(data, { binary: isBinary })
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    for (const socket of sockets.clients) socket.terminate()
    server.closeAllConnections()
    server.close()
  })
  const address = server.address()
  const port = typeof address === 'object' && address !== null ? address.port : 0
  return { url: `http://127.0.0.1:${port}/api`, upgrades }
}

async function openCase(t: Test) {
  const backend = await openBackend(t)
  const sim = await startCloudSimulator({
    accounts: [{ handle: 'prefect', workspaces: ['terry', 'secret'] }],
    users: [{ handle: 'terry', workspaces: ['prefect/terry'] }],
    workspaceBackend: backend.url,
  })
  t.teardown(() => sim.close())
  return { sim, backend, key: sim.issueKey(), url: sim.workspaceUrl('prefect/terry') }
}

/** What a WebSocket client sees. */
function dial(url: string, protocols: string[], headers: Record<string, string>, frames: readonly string[]) {
  const socket = new WebSocket(url.replace('http', 'ws'), protocols, { headers })
  const got: string[] = []
  const ended = new Promise<string>((resolve) => {
    socket.on('open', () => {
      for (const frame of frames) socket.send(frame)
    })
    socket.on('message', (data) => got.push(data.toString()))
    socket.on('error', (error) => resolve(error.message))
    socket.on('close', (code, reason) => resolve(`${code} ${reason}`))
  })
  return { got, ended }
}

t.test('forwards HTTP without the prefix and the key', async (t) => {
  const { sim, key, url } = await openCase(t)
  const authorization = `Bearer ${key}`
  const answer = await fetch(`${url}/flow_runs/filter?a=1&a=%2F`, {
    method: 'POST',
    headers: { authorization, 'x-prefect-api-version': '0.8.4' },
    body: '{"limit":1}',
  })
  t.equal(answer.status, 201)
  t.equal(answer.headers.get('x-own'), 'kept')
  const seen = await answer.json()
  t.match(seen, { method: 'POST', url: '/api/flow_runs/filter?a=1&a=%2F', body: '{"limit":1}' })
  t.notMatch(JSON.stringify(seen), key)

  const types = await fetch(`${url}/collections/work_pool_types`, { headers: { authorization } })
  t.match(await types.json(), { url: '/api/collections/views/aggregate-worker-metadata' })
  const stranger = await fetch(`${sim.workspaceUrl('prefect/secret')}/health`, { headers: { authorization } })
  t.equal(stranger.status, 404)
  t.equal((await fetch(`${url}/health`)).status, 401)
  sim.useBackend('http://127.0.0.1:9/api')
  t.equal((await fetch(`${url}/health`, { headers: { authorization } })).status, 502)
})

t.test('joins WebSockets with the key in the upgrade, scheme in lower case', async (t) => {
  const { sim, backend, key, url } = await openCase(t)
  const bearer = { authorization: `bearer ${key}` }
  const good = dial(`${url}/events/in`, [], bearer, ['one', 'two', 'close'])
  t.equal(await good.ended, '1011 as told', 'close codes pass')
  t.strictSame(good.got, ['one', 'two'], 'frames sent at once are not lost')
  t.equal(backend.upgrades[0]?.authorization, undefined)

  const wrong = { authorization: 'bearer pnu_wrong' }
  t.match(await dial(`${url}/events/in`, [], wrong, []).ended, /401/)
  t.match(await dial(`${url}/events/in`, [], {}, []).ended, /401/)
  t.match(await dial(`${sim.workspaceUrl('prefect/secret')}/events/in`, [], bearer, []).ended, /404/)
  t.match(await dial(`${sim.apiUrl}/elsewhere`, [], bearer, []).ended, /404/)
})

t.test('checks the first frame if the client offers the prefect subprotocol', async (t) => {
  const { sim, key, url } = await openCase(t)
  const auth = (token: string) => JSON.stringify({ type: 'auth', token })
  const good = dial(`${url}/events/out`, ['prefect'], {}, [auth(key), 'hello', 'close'])
  t.equal(await good.ended, '1011 as told')
  t.strictSame(good.got, ['{"type":"auth_success"}', 'hello'])
  t.equal(sim.requests[0]?.key, sim.keys.find(key)?.fingerprint)

  t.match(await dial(`${url}/events/out`, ['prefect'], {}, [auth('pnu_wrong')]).ended, /^1008/)
  t.match(await dial(`${url}/events/out`, ['prefect'], {}, ['{"type":"filter"}']).ended, /^1008/)
  const both = { authorization: `Bearer ${key}` }
  const mixed = dial(`${url}/events/out`, ['prefect'], both, [auth('pnu_wrong')])
  t.match(await mixed.ended, /^1008/, 'a good header does not excuse a bad frame')
})

t.test('faults strike upgrades too, and a test can close open sockets', async (t) => {
  const { sim, key, url } = await openCase(t)
  const bearer = { authorization: `Bearer ${key}` }
  sim.faults.next({ path: /events/ }, { kind: 'status', status: 503 })
  t.match(await dial(`${url}/events/in`, [], bearer, []).ended, /503/)
  sim.faults.next({ path: /events/ }, { kind: 'reset', when: 'before' })
  t.match(await dial(`${url}/events/in`, [], bearer, []).ended, /ECONNRESET|hang up/)

  const open = new WebSocket(`${url.replace('http', 'ws')}/events/in`, { headers: bearer })
  await new Promise((resolve) => open.once('open', resolve))
  const closed = new Promise((resolve) => open.once('close', resolve))
  sim.closeSockets(1008, 'policy')
  t.equal(await closed, 1008)
})
