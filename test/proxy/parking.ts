/** Parking: while there is no valid key or no Prefect, a job is asked to wait and never fails. */
import t from 'tap'
import { BrokerError, type ErrorCode } from '../../src/base/errors.js'
import { retryAfterS } from '../../src/proxy/parking.js'
import { ask, json } from '../fixtures/api-under-test.js'
import {
  bodyOf,
  OWN,
  openRaw,
  portOf,
  REAL_KEY,
  serveCloud,
  startProxy,
  startUpstream,
} from '../fixtures/proxy-under-test.js'

/** A Prefect that accepts one key. */
async function startPicky(t: Parameters<typeof startUpstream>[0], good: string) {
  const seen: string[] = []
  const { url } = await startUpstream(t, (request, response) => {
    void bodyOf(request).then((body) => {
      seen.push(`${request.method} ${request.headers.authorization?.slice(7)} ${body.length}`)
      const isGood = request.headers.authorization === `Bearer ${good}`
      response.writeHead(isGood ? 200 : 401, { 'content-type': 'application/json' })
      response.end(isGood ? '{"ok":true}' : '{"detail":"Invalid authentication credentials"}')
    })
  })
  return { url, seen }
}

const parked = { status: 503, headers: { 'retry-after': '5', 'prefect-maintenance': 'true' } }

t.test('parks a job without a key, whatever the reason, and sends Prefect nothing', async (t) => {
  const { url, seen } = await startPicky(t, REAL_KEY)
  const proxy = await startProxy(t, url)
  const token = await proxy.broker.token('proxy', ['cloud', 'gone'])
  const reasons: readonly ErrorCode[] = [
    'login_required',
    'key_host_mismatch',
    'vault_locked',
    'vault_unavailable',
    'vault_timeout',
    'vault_corrupt',
    'key_rejected',
    'profiles_file_invalid',
    'profiles_file_unreadable',
    'disk_failed',
    'setting_invalid',
  ]
  for (const code of reasons) {
    proxy.broker.refuse('cloud', new BrokerError(code, 'there is no key', { hint: 'prefect-auth login' }))
    const answer = await ask(proxy.tcp, `${proxy.base}/flows`, { token, method: 'POST', body: {} })
    t.match(answer, parked, code)
    t.same(json(answer), { detail: 'there is no key (prefect-auth login)', code })
  }
  const headers = { 'user-agent': 'prefect/2.20.25 (API 0.8.4)' }
  const old = await ask(proxy.tcp, `${proxy.base}/flows`, { token, headers })
  t.match(old, { status: 503, headers: { 'retry-after': '20' } }, 'who gives up after six answers')
  t.match(await ask(proxy.tcp, '/proxy/gone/api/x', { token }), parked, 'a profile that is away')
  t.same(seen, [])
  serveCloud(proxy.broker, url)
  t.equal((await ask(proxy.tcp, `${proxy.base}/flows`, { token })).status, 200, 'and goes on')
  t.match(proxy.app.proxyTraffic(), [
    { requests: 1, parked: reasons.length + 1 },
    { profile: 'gone', parked: 1 },
  ])
})

t.test('looks for a newer key after a 401 and sends the request again with it', async (t) => {
  const { url, seen } = await startPicky(t, 'pnu_new')
  const proxy = await startProxy(t, url)
  proxy.whenRejected(() => serveCloud(proxy.broker, url, 'pnu_new'))
  const answer = await ask(proxy.socket, `${proxy.base}/flows`, { method: 'POST', body: { a: 1 } })
  t.equal(answer.status, 200)
  t.same(seen, [`POST ${REAL_KEY} 7`, 'POST pnu_new 7'])
  t.match(proxy.rejections, [/^cloud sha256:/])
  t.match(proxy.app.proxyTraffic(), [{ replays: 1 }])
})

t.test('parks the job if there is no newer key, or it is rejected as well', async (t) => {
  const { url, seen } = await startPicky(t, 'pnu_nobody_has_it')
  const proxy = await startProxy(t, url)
  const same = await ask(proxy.socket, `${proxy.base}/flows`)
  t.match(same, parked)
  t.match(json(same), { code: 'key_rejected' })
  t.equal(seen.length, 2, 'the same key is tried once more')
  proxy.whenRejected(() => serveCloud(proxy.broker, url, 'pnu_also_bad'))
  t.match(await ask(proxy.socket, `${proxy.base}/flows`), parked)
  t.equal(seen.length, 4, 'and nothing is sent a third time')
  proxy.whenRejected(() =>
    proxy.broker.refuse('cloud', new BrokerError('login_required', 'there is no key any more')),
  )
  t.match(await ask(proxy.socket, `${proxy.base}/flows`), parked)
  t.equal(seen.length, 5, 'nor a second time without a key')
})

t.test(
  'sends a request again with the same key after a hiccup of Prefect, or of a proxy in between',
  async (t) => {
    for (const [type, text] of [
      ['application/json', '{"detail":"Invalid authentication credentials"}'],
      ['text/html', '<html>proxy authentication required</html>'],
      ['text/plain', ''],
    ] as const) {
      let turn = 0
      const bodies: string[] = []
      const { url } = await startUpstream(t, (request, response) => {
        void bodyOf(request).then((body) => {
          bodies.push(body.toString())
          turn += 1
          response.writeHead(turn === 1 ? 401 : 200, { 'content-type': type }).end(turn === 1 ? text : 'done')
        })
      })
      const proxy = await startProxy(t, url)
      const answer = await ask(proxy.socket, `${proxy.base}/flows`, { method: 'POST', body: { a: 1 } })
      t.match(answer, { status: 200, text: 'done' })
      t.same(bodies, ['{"a":1}', '{"a":1}'])
      t.equal(proxy.rejections.length, 1)
    }
  },
)

t.test('parks a request with a large body so that the client sends it again', async (t) => {
  const { url, seen } = await startPicky(t, 'pnu_new')
  const proxy = await startProxy(t, url)
  proxy.whenRejected(() => serveCloud(proxy.broker, url, 'pnu_new'))
  const body = 'x'.repeat(200_000)
  t.match(await ask(proxy.socket, `${proxy.base}/logs`, { method: 'POST', body }), parked)
  t.equal((await ask(proxy.socket, `${proxy.base}/logs`, { method: 'POST', body })).status, 200)
  t.equal(seen.length, 2)
})

t.test('passes on other refusals of Prefect', async (t) => {
  for (const status of [400, 403, 404, 409, 411, 422, 429, 500, 502, 503]) {
    const { url } = await startUpstream(t, (_request, response) =>
      response.writeHead(status, { 'retry-after': '7' }).end('{"detail":"no"}'),
    )
    const proxy = await startProxy(t, url)
    const answer = await ask(proxy.socket, `${proxy.base}/x`)
    t.match(answer, { status, text: '{"detail":"no"}', headers: { 'retry-after': '7' } })
    t.same(proxy.rejections, [])
  }
})

t.test('parks if Prefect cannot be reached, and fails if it broke off', async (t) => {
  const { url, server } = await startUpstream(t, (request) => request.socket.destroy())
  const proxy = await startProxy(t, url)
  const broken = await ask(proxy.socket, `${proxy.base}/x`, { method: 'POST', body: {} })
  t.equal(broken.status, 502, 'retried by Prefect’s clients, and counted')
  t.notOk(broken.headers['prefect-maintenance'])
  const port = portOf(server)
  server.close()
  server.closeAllConnections()
  const down = await ask(proxy.socket, `${proxy.base}/x`)
  t.match(down, parked)
  t.match(json(down), { code: 'prefect_unreachable', detail: new RegExp(`127.0.0.1:${port}.*ECONNREFUSED`) })
})

t.test('sends a read again if an idle connection broke', async (t) => {
  let count = 0
  const { url } = await startUpstream(t, (request, response) => {
    count += 1
    if (count === 2) request.socket.destroy()
    else response.end('{}')
  })
  const proxy = await startProxy(t, url)
  t.equal((await ask(proxy.socket, `${proxy.base}/x`)).status, 200)
  t.equal((await ask(proxy.socket, `${proxy.base}/x`)).status, 200)
  t.equal(count, 3)
})

t.test('refuses a profile that points at the proxy itself', async (t) => {
  const { url } = await startPicky(t, REAL_KEY)
  const proxy = await startProxy(t, url)
  serveCloud(proxy.broker, `http://127.0.0.1:${proxy.tcp.port}/proxy/cloud`)
  const answer = await ask(proxy.socket, `/proxy/cloud/api${OWN}/x`)
  t.match(answer, parked)
  t.match(json(answer).detail, /points at this proxy itself/)
})

t.test('cuts the streams of a token that expires or is revoked', async (t) => {
  const { url } = await startUpstream(t, (_request, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    response.write('data: 1\n\n')
  })
  const proxy = await startProxy(t, url)
  const open = async (token: string) => {
    const raw = openRaw(t, proxy.tcp)
    raw.say(
      `GET ${proxy.base}/events HTTP/1.1\r\nHost: 127.0.0.1:${proxy.tcp.port}\r\nAuthorization: Bearer ${token}\r\n\r\n`,
    )
    return { raw, heard: await raw.hear(/data: 1|HTTP\/1\.1 401/) }
  }
  const stream = await open(await proxy.broker.token('proxy', ['cloud']))
  t.match(stream.heard, /data: 1/)
  // On a busy machine a short life may be over before the stream has begun.
  for (let lifeMs = 300; ; lifeMs *= 4) {
    const expiring = await open(await proxy.broker.token('proxy', ['cloud'], lifeMs))
    if (!expiring.heard.includes('data: 1')) continue
    t.notMatch(await expiring.raw.closed(), '0\r\n\r\n', 'expired')
    break
  }
  t.notOk(stream.raw.isClosed(), 'another token’s stream goes on')
  await proxy.broker.deps.tokens.revoke('tok1')
  t.notMatch(await stream.raw.closed(), '0\r\n\r\n', 'revoked')
})

t.test('asks clients that count their attempts to wait longer', async (t) => {
  const table = [
    ['prefect/2.20.25 (API 0.8.4)', 20],
    ['prefect/2.17.0', 20],
    ['prefect/3.0.0 (API 0.8.4)', 20],
    ['prefect/3.3.0 (API 0.8.4)', 20],
    ['prefect/3.3.1 (API 0.8.4)', 5],
    ['prefect/3.10.2 (API 0.8.4)', 5],
    ['prefect/3.4.0rc1', 5],
    ['prefect/4.0.0', 5],
    ['prefect/10.2.3', 5],
    ['prefect/nonsense', 5],
    ['python-httpx/0.27', 5],
    ['', 5],
    [undefined, 5],
  ] as const
  for (const [userAgent, seconds] of table) t.equal(retryAfterS(userAgent), seconds, userAgent ?? 'none')
})
