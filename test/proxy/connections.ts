/**
 * Each profile's certificates and headers count for its own server, for the daemon's calls and the proxy alike: real servers
 * with authorities of their own, and the broker's core on real files.
 */
import { once } from 'node:events'
import { copyFileSync, mkdirSync } from 'node:fs'
import { request } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { WebSocket, WebSocketServer } from 'ws'
import { startCloudSimulator } from '../../sim/simulator.js'
import { buildApp } from '../../src/api/app.js'
import { openJobAgent } from '../../src/prefect/agent.js'
import { Secret } from '../../src/std/secret.js'
import { makeRoot, openBroker } from '../fixtures/broker.js'
import { createAuthority, type TestAuthority } from '../fixtures/cloud-server.js'
import { portOf } from '../fixtures/proxy-under-test.js'

const SKIP = 'PREFECT_API_TLS_INSECURE_SKIP_VERIFY = "true"'
const trust = ({ caFile }: TestAuthority) => `PREFECT_API_SSL_CERT_FILE = "${caFile}"`
const ACCESS = `PREFECT_CLIENT_CUSTOM_HEADERS = '{"CF-Access-Client-Id": "me", "CF-Access-Client-Secret": "hunter2", "Authorization": "Bearer other"}'`

function authority(t: Test, name: string): TestAuthority {
  const directory = join(t.testdirName, name)
  mkdirSync(directory, { recursive: true })
  return createAuthority(directory)
}

/** A self-hosted server over TLS: HTTP, and WebSockets that answer what their handshake said. */
async function startSecure(t: Test, own: TestAuthority, host = '127.0.0.1') {
  const seen: Record<string, string | string[] | undefined>[] = []
  const server = createTlsServer(own.issue(host), ({ headers }, response) => {
    seen.push(headers)
    response.setHeader('content-type', 'application/json').end('true')
  })
  const sockets = new WebSocketServer({ server, path: '/api/events/in' })
  sockets.on('connection', (socket, { headers }) => {
    seen.push(headers)
    socket.send('open')
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    for (const socket of sockets.clients) socket.terminate()
    server.closeAllConnections()
    server.close()
  })
  return { seen, url: `https://127.0.0.1:${portOf(server)}/api` }
}

async function setStage(t: Test) {
  const sim = await startCloudSimulator()
  const agent = openJobAgent({})
  const broker = await openBroker({ root: await makeRoot(t), sim, agent })
  const app = await buildApp(broker.app)
  const socketDir = await makeRoot(t)
  const server = app.openServer('socket').listen(join(socketDir, 'a.sock'))
  await once(server, 'listening')
  t.teardown(async () => {
    await app.close(100)
    await agent.close()
    await broker.close()
    await sim.close()
  })
  const socketPath = join(socketDir, 'a.sock')
  return {
    broker,
    /** The status of a proxied request, or the code of our refusal. */
    async get(profile: string, headers: Record<string, string> = {}): Promise<string> {
      const asked = request({
        socketPath,
        path: `/proxy/${profile}/api/health`,
        headers: { host: 'authd', ...headers },
      })
      asked.end()
      const [response] = await once(asked, 'response')
      let text = ''
      for await (const piece of response) text += piece
      return response.statusCode === 200 ? '200' : `${response.statusCode} ${text}`
    },
    /** The first message of a proxied WebSocket, or why there is none. */
    socket(profile: string): Promise<string> {
      const socket = new WebSocket(`ws+unix:${socketPath}:/proxy/${profile}/api/events/in`, {
        headers: { host: 'authd' },
      })
      t.teardown(() => socket.terminate())
      return new Promise((resolve) => {
        socket.on('message', (data) => resolve(String(data)))
        socket.on('error', (error) => resolve(error.message))
      })
    },
  }
}

t.test(
  'two profiles with different authorities at once, HTTP and WebSocket, neither trusts the other',
  async (t) => {
    const { broker, get, socket } = await setStage(t)
    const [red, blue] = [authority(t, 'red'), authority(t, 'blue')]
    const one = await startSecure(t, red)
    const two = await startSecure(t, blue)
    await broker.write(
      [
        `[profiles.one]\nPREFECT_API_URL = "${one.url}"\n${trust(red)}\n`,
        `[profiles.two]\nPREFECT_API_URL = "${two.url}"\n${trust(blue)}\n`,
        `[profiles.crossed]\nPREFECT_API_URL = "${one.url}"\n${trust(blue)}\n`,
        `[profiles.plain]\nPREFECT_API_URL = "${one.url}"\n`,
      ].join('\n'),
    )
    t.strictSame(await Promise.all(['one', 'two', 'one', 'two'].map((name) => get(name))), [
      '200',
      '200',
      '200',
      '200',
    ])
    t.strictSame(await Promise.all([socket('one'), socket('two')]), ['open', 'open'])
    const before = one.seen.length
    for (const name of ['crossed', 'plain']) {
      t.match(await get(name), /^50[0-9] .*certificate/, name)
      t.match(await socket(name), /50[0-9]/, `${name}, WebSocket`)
    }
    t.equal(one.seen.length, before, 'nothing was sent')
  },
)

t.test('without verification one profile reaches any server, and no other profile does', async (t) => {
  const { broker, get, socket } = await setStage(t)
  const odd = await startSecure(t, authority(t, 'odd'), 'elsewhere.example')
  await broker.write(
    `[profiles.careless]\nPREFECT_API_URL = "${odd.url}"\n${SKIP}\n\n[profiles.careful]\nPREFECT_API_URL = "${odd.url}"\n`,
  )
  t.equal(await get('careless'), '200')
  t.equal(await socket('careless'), 'open')
  t.match(await get('careful'), /^50[0-9]/)
  await broker.minder.look()
  const said = broker.log.lines.filter(
    ({ level, message }) => level === 'warn' && /not verified/.test(message),
  )
  t.match(said, [{ facts: { profile: 'careless' } }], 'said loudly, once')
  t.match(broker.credentials.state('careless').notices.join('\n'), /SKIP_VERIFY.*daemon/)
  await broker.write(`[profiles.careless]\nPREFECT_API_URL = "${odd.url}"\n`)
  t.match(await get('careless'), /^50[0-9]/, 'at once after the setting is gone')
})

t.test("a file that changes while jobs run is read again: the authority's, and the profile's", async (t) => {
  const { broker, get } = await setStage(t)
  const [red, blue] = [authority(t, 'red'), authority(t, 'blue')]
  const server = await startSecure(t, red)
  const caFile = join(t.testdirName, 'ca.pem')
  copyFileSync(blue.caFile, caFile)
  const table = (more: string) => `[profiles.one]\nPREFECT_API_URL = "${server.url}"\n${more}\n`
  await broker.write(table(trust({ ...red, caFile })))
  t.match(await get('one'), /^50[0-9] .*certificate/)
  copyFileSync(red.caFile, caFile)
  let found = await get('one')
  while (found !== '200') found = await get('one')
  t.equal(found, '200', 'the certificates were replaced')
  await broker.write(table(trust(blue)))
  t.match(await get('one'), /^50[0-9] .*certificate/, 'the setting was changed')
  await broker.write(table('PREFECT_API_SSL_CERT_FILE = "relative.pem"'))
  t.match(await get('one'), /not absolute/)
  await broker.write(table('PREFECT_API_SSL_CERT_FILE = "/no/such.pem"'))
  t.match(await get('one'), /cannot read \/no\/such\.pem, the file that PREFECT_API_SSL_CERT_FILE names/)
})

t.test(
  "a profile's headers are added for its own server, never in place of the client's or of the key",
  async (t) => {
    const { broker, get, socket } = await setStage(t)
    const red = authority(t, 'red')
    const server = await startSecure(t, red)
    await broker.write(
      `[profiles.guarded]\nPREFECT_API_URL = "${server.url}"\nPREFECT_API_AUTH_STRING = "admin:pass"\n${trust(red)}\n${ACCESS}\n\n[profiles.open]\nPREFECT_API_URL = "${server.url}"\n${trust(red)}\n`,
    )
    await get('guarded')
    const basic = `Basic ${Buffer.from('admin:pass').toString('base64')}`
    t.match(server.seen.at(-1), {
      'cf-access-client-id': 'me',
      'cf-access-client-secret': 'hunter2',
      authorization: basic,
    })
    await get('guarded', { 'CF-Access-Client-Id': 'the job' })
    t.match(server.seen.at(-1), { 'cf-access-client-id': 'the job', 'cf-access-client-secret': 'hunter2' })
    t.equal(await socket('guarded'), 'open')
    t.match(server.seen.at(-1), { 'cf-access-client-secret': 'hunter2', authorization: basic })
    const doctor = await broker.app.inspection.doctor({ profile: 'guarded', check: 'prefect' })
    t.match(doctor, [{ verdict: 'ok' }], 'doctor reaches it')
    t.match(server.seen.at(-1), { 'cf-access-client-secret': 'hunter2', authorization: basic })
    await get('open')
    t.equal(server.seen.at(-1)?.['cf-access-client-id'], undefined)
  },
)

t.test(
  'every call of the daemon goes with them: the whole life of a key behind an access gate',
  async (t) => {
    const sim = await startCloudSimulator()
    const red = authority(t, 'red')
    const turnedAway: string[] = []
    const gate = createTlsServer(red.issue('127.0.0.1'), (incoming, outgoing) => {
      if (incoming.headers['cf-access-client-secret'] !== 'hunter2') {
        turnedAway.push(`${incoming.method} ${incoming.url}`)
        return void outgoing.writeHead(403, { 'content-type': 'text/html' }).end('<html>Forbidden</html>')
      }
      const { method, url: path, headers } = incoming
      const forward = request(`${sim.apiUrl.replace(/\/api$/, '')}${path}`, { method, headers }, (answer) => {
        outgoing.writeHead(answer.statusCode ?? 500, answer.headers)
        answer.pipe(outgoing)
      })
      incoming.pipe(forward)
    })
    gate.listen(0, '127.0.0.1')
    await once(gate, 'listening')
    const broker = await openBroker({ root: await makeRoot(t), sim, hasLoginPorts: true })
    t.teardown(async () => {
      await broker.close()
      gate.closeAllConnections()
      gate.close()
      await sim.close()
    })
    const api = `https://127.0.0.1:${portOf(gate)}/api`
    const { accountId, id } = sim.directory.workspace('prefect/terry')
    const table = (key = '') =>
      `active = "work"\n[profiles.work]\nPREFECT_API_URL = "${api}/accounts/${accountId}/workspaces/${id}"\nPREFECT_CLOUD_API_URL = "${api}"\n${trust(red)}\n${ACCESS}\n${key}`
    await broker.write(table(`PREFECT_API_KEY = "${sim.issueKey()}"`))
    await broker.profiles.adopt('work')
    await broker.renewer.renew('work', { isForced: true })
    t.equal((await broker.workspaces.list('work')).workspaces.length, 1)
    const { login } = await broker.app.logins.begin({ profile: 'work' })
    await broker.app.logins.submitKey(login.id, new Secret(sim.issueKey()), { exchange: true })
    const made = await broker.keys.create({ profile: 'work', name: 'by hand' })
    t.equal(await broker.keys.delete(made.id, { profile: 'work' }), 'deleted')
    await broker.keys.list('work')
    await broker.credentials.settle()
    await broker.renewer.tick()
    await broker.profiles.logout('work', { revoke: true })
    t.equal(broker.served('work'), 'login_required')
    t.strictSame(turnedAway, [])
    t.ok(sim.requests.length > 12)
  },
)
