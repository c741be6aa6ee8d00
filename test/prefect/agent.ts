/** Certificates and proxies, with a real authority, real TLS servers and a real CONNECT proxy. */
import { copyFileSync, writeFileSync } from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import { join } from 'node:path'
import tls from 'node:tls'
import t, { type Test } from 'tap'
import { createTestCloud, failureOf, keepingLog, TEST_KEY, target } from '../fixtures/cloud-client.js'
import { createAuthority, json, startProxy, startServer } from '../fixtures/cloud-server.js'

const directory = t.testdir({})
const authority = createAuthority(directory)
const forLoopback = authority.issue('127.0.0.1')
const forCloud = authority.issue('api.cloud.test')
const trusting = { tls: { caFile: authority.caFile } }

async function serveTls(
  t: Test,
  certificate: Parameters<typeof startServer>[1],
  options: Parameters<typeof createTestCloud>[0],
) {
  const server = await startServer((response) => json(response, 200, []), certificate)
  const cloud = createTestCloud(options)
  t.teardown(async () => Promise.all([cloud.close(), server.close()]))
  return {
    server,
    cloud,
    at: { ...target(server.port), cloudApiUrl: `https://127.0.0.1:${server.port}/api` },
  }
}

t.test(
  'an authority that nobody knows is refused before the key leaves, and SSL_CERT_FILE is named',
  async (t) => {
    const { server, cloud, at } = await serveTls(t, forLoopback, {})
    const error = await failureOf(cloud.workspaces(at))
    t.equal(error.code, 'prefect_unreachable')
    t.match(error.message, /certificate is signed by an authority this machine does not trust/)
    t.match(error.hint, /SSL_CERT_FILE/)
    t.equal(server.seen.length, 0)
  },
)

t.test('trusts the authority in SSL_CERT_FILE', async (t) => {
  const { server, cloud, at } = await serveTls(t, forLoopback, trusting)
  t.strictSame(await cloud.workspaces(at), [])
  t.equal(server.seen[0]?.headers.authorization, `Bearer ${TEST_KEY}`)
})

t.test('reads the trusted certificates once, however many connections are opened', async (t) => {
  const connections = new Set<unknown>()
  const server = await startServer((response) => {
    connections.add(response.socket)
    json(response, 200, [], { connection: 'close' })
  }, forLoopback)
  const cloud = createTestCloud(trusting)
  t.teardown(async () => Promise.all([cloud.close(), server.close()]))
  const { createSecureContext } = tls
  let count = 0
  const put = (make: typeof createSecureContext) => {
    Object.assign(tls, { createSecureContext: make })
    syncBuiltinESMExports()
  }
  t.teardown(() => put(createSecureContext))
  put((options) => {
    if (options?.ca !== undefined) count += 1
    return createSecureContext(options)
  })
  const at = { ...target(server.port), cloudApiUrl: `https://127.0.0.1:${server.port}/api` }
  for (let calls = 0; calls < 3; calls += 1) t.strictSame(await cloud.workspaces(at), [])
  t.equal(connections.size, 3)
  t.equal(count, 1)
})

t.test('rejects a certificate for another host', async (t) => {
  const { server, cloud, at } = await serveTls(t, forCloud, trusting)
  const error = await failureOf(cloud.workspaces(at))
  t.match(error.message, /certificate is for another host/)
  t.equal(server.seen.length, 0)
})

t.test('rejects an expired certificate, and hints at the clock', async (t) => {
  const { cloud, at } = await serveTls(t, authority.issue('127.0.0.1', 0), trusting)
  const error = await failureOf(cloud.workspaces(at))
  t.match(error.message, /certificate has expired/)
  t.match(error.hint, /clock/)
})

t.test('names a server that does not speak TLS', async (t) => {
  const { server, cloud, at } = await serveTls(t, undefined, trusting)
  const error = await failureOf(cloud.workspaces(at))
  t.equal(error.code, 'prefect_unreachable')
  t.match(error.message, /does not speak valid TLS/)
  t.equal(server.seen.length, 0)
})

t.test(
  'a certificate file that is missing, or holds none, is named, and works once it is repaired',
  async (t) => {
    const caFile = join(t.testdir({}), 'ca.pem')
    const { cloud, at } = await serveTls(t, forLoopback, { tls: { caFile } })
    t.match(await failureOf(cloud.workspaces(at)), { code: 'setting_invalid', message: /cannot read/ })
    writeFileSync(caFile, 'junk')
    t.match(await failureOf(cloud.workspaces(at)), {
      code: 'setting_invalid',
      message: /holds no certificate/,
    })
    writeFileSync(caFile, forCloud.cert)
    t.match(await failureOf(cloud.workspaces(at)), { code: 'prefect_unreachable', message: /does not trust/ })
    copyFileSync(authority.caFile, caFile)
    t.strictSame(await cloud.workspaces(at), [])
  },
)

/** A Cloud that only the proxy can find: `api.cloud.test` has no address. */
async function serveBehindProxy(
  t: Test,
  status?: number,
  options: Parameters<typeof createTestCloud>[0] = {},
) {
  const server = await startServer((response) => json(response, 200, []), forCloud)
  const proxy = await startProxy(server.port, status)
  const httpsProxy = `http://user:p%40ss@127.0.0.1:${proxy.port}`
  const cloud = createTestCloud({ ...trusting, proxy: { httpsProxy }, ...options })
  t.teardown(async () => Promise.all([cloud.close(), proxy.close(), server.close()]))
  return { server, proxy, cloud, at: { ...target(0), cloudApiUrl: 'https://api.cloud.test/api' } }
}

t.test('sends the key through a proxy only inside a tunnel to the host', async (t) => {
  const { server, proxy, cloud, at } = await serveBehindProxy(t)
  t.strictSame(await cloud.workspaces(at), [])
  t.strictSame(proxy.tunnels, [
    {
      authority: 'api.cloud.test:443',
      authorization: `Basic ${Buffer.from('user:p@ss').toString('base64')}`,
    },
  ])
  t.equal(server.seen[0]?.headers.host, 'api.cloud.test')
  t.equal(server.seen[0]?.headers.authorization, `Bearer ${TEST_KEY}`)
  t.equal(server.seen[0]?.headers['proxy-authorization'], undefined)
  t.equal(proxy.seen.length, 0)
})

t.test('does not trust a proxy that presents its own certificate', async (t) => {
  const { server, cloud, at } = await serveBehindProxy(t, 200, { tls: {} })
  const error = await failureOf(cloud.workspaces(at))
  t.match(error, { code: 'prefect_unreachable', hint: /SSL_CERT_FILE/ })
  t.equal(server.seen.length, 0)
})

const REFUSALS: readonly (readonly [status: number, says: RegExp])[] = [
  [407, /proxy requires a user and a password \(407\)/],
  [403, /proxy refused the connection \(403\)/],
  [502, /proxy refused the connection \(502\)/],
]
for (const [status, says] of REFUSALS) {
  t.test(
    `distinguishes a proxy that answers ${status} from Prefect, and does not repeat its password`,
    async (t) => {
      const { log, lines } = keepingLog()
      const { cloud, at } = await serveBehindProxy(t, status, { log })
      const error = await failureOf(cloud.workspaces(at))
      t.equal(error.code, 'prefect_unreachable')
      t.match(error.message, says)
      t.notMatch(`${error.message} ${error.hint} ${error.cause} ${lines.join()}`, /p@ss|p%40ss/)
    },
  )
}

t.test('a proxy that never answers CONNECT meets the deadline of the whole call', async (t) => {
  const { cloud, at } = await serveBehindProxy(t, 0, { timeouts: { connectMs: 60_000, totalMs: 300 } })
  t.match(await failureOf(cloud.workspaces(at)), {
    code: 'prefect_unreachable',
    message: /no answer within 0\.3 s/,
  })
})

t.test('loopback is never proxied: the key would leave the machine in plain text', async (t) => {
  const server = await startServer((response) => json(response, 200, []))
  const proxy = await startProxy(server.port)
  const cloud = createTestCloud({
    proxy: { httpProxy: `http://127.0.0.1:${proxy.port}`, allProxy: 'http://127.0.0.1:1' },
  })
  t.teardown(async () => Promise.all([cloud.close(), proxy.close(), server.close()]))
  t.strictSame(await cloud.workspaces(target(server.port)), [])
  t.equal(proxy.sockets.size, 0)
})

t.test('rejects another kind of proxy, and names its variable', async (t) => {
  const { cloud, at } = await serveBehindProxy(t, 200, {
    proxy: { allProxy: 'socks5://user:p%40ss@127.0.0.1:1080' },
  })
  const error = await failureOf(cloud.workspaces(at))
  t.match(error, { code: 'setting_invalid', message: /ALL_PROXY names a socks5 proxy/ })
  t.notMatch(`${error.message} ${error.hint}`, 'p%40ss')
})
