/** The listener of one login over real sockets: who gets through, what is sent back, and that it closes. */
import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import t, { type Test } from 'tap'
import { openLoginCallback } from '../../src/login/callback.js'
import { openNaiveCallback } from '../fixtures/naive-callback.js'
import { rawRequest, sendRaw } from '../fixtures/raw-http.js'
import { ATTACKER_KEY, ATTACKS } from './fixtures/callback-attacks.js'

const UI = 'https://app.prefect.cloud'
const KEY = 'pnu_0123456789abcdefghijABCDEFGHIJ012345'
const STATE = 'Zx3f-_0123456789abcdefghijABCDEFGHIJ0123456'

interface Options {
  readonly state?: string
  readonly isTaken?: boolean
  readonly tuning?: Parameters<typeof openLoginCallback>[1]
}

/** A listener that records its calls. */
async function open(t: Test, { state, isTaken = true, tuning }: Options = {}) {
  const keys: string[] = []
  const failures: string[] = []
  const refused: string[] = []
  const callback = await openLoginCallback(
    {
      uiOrigin: UI,
      ...(state === undefined ? {} : { state }),
      onDelivery(key, via) {
        if (isTaken) keys.push(`${via} ${key.reveal()}`)
        return isTaken
      },
      onFailure(reason) {
        failures.push(reason)
        return isTaken
      },
      onRefused: (why) => void refused.push(why),
    },
    tuning,
  )
  t.teardown(() => callback.close())
  return { ...callback, keys, failures, refused }
}

const json = (port: number, origin = UI) =>
  [
    ['Host', `localhost:${port}`],
    ['Origin', origin],
    ['Content-Type', 'application/json'],
  ] as const

t.test('shows that every attack succeeds against a listener without defences', async (t) => {
  const naive = await openNaiveCallback(t)
  for (const { name, bytes } of ATTACKS) {
    naive.keys.length = 0
    await sendRaw(naive.port, bytes(naive.port))
    t.strictSame(naive.keys, [ATTACKER_KEY], name)
  }
})

t.test('refuses and counts every attack, with an empty body', async (t) => {
  const callback = await open(t)
  for (const { name, status, bytes } of ATTACKS) {
    callback.refused.length = 0
    const answer = await sendRaw(callback.port, bytes(callback.port))
    t.equal(answer.status, status, name)
    t.equal(answer.body, '', `${name}: no body`)
    t.equal(answer.headers['cache-control'], 'no-store', `${name}: not stored`)
    t.equal(callback.refused.length, 1, `${name}: counted once`)
  }
  t.strictSame(callback.keys, [])
})

t.test('takes a key from a navigation by each of its three names and both addresses', async (t) => {
  const navigation = [
    ['Sec-Fetch-Site', 'cross-site'],
    ['Sec-Fetch-Mode', 'navigate'],
    ['Sec-Fetch-Dest', 'document'],
  ] as const
  for (const [name, host, headers] of [
    ['localhost', '127.0.0.1', navigation],
    ['localhost', '::1', navigation],
    ['127.0.0.1', '127.0.0.1', navigation],
    ['[::1]', '::1', navigation],
    ['localhost', '127.0.0.1', []],
  ] as const) {
    const { port, keys, refused } = await open(t)
    const bytes = rawRequest(`GET /?key=${KEY} HTTP/1.1`, [['Host', `${name}:${port}`], ...headers])
    const answer = await sendRaw(port, bytes, { host })
    t.equal(answer.status, 204, `${name} at ${host}`)
    t.equal(answer.headers['cache-control'], 'no-store')
    t.equal(answer.headers['referrer-policy'], 'no-referrer')
    t.equal(answer.body, '')
    t.strictSame(keys, [`get ${KEY}`])
    t.strictSame(refused, [])
  }
})

t.test(
  'takes a key from the UI by POST: a preflight, then 200 with null that the page may read',
  async (t) => {
    const { port, keys, refused } = await open(t)
    const preflight = await sendRaw(
      port,
      rawRequest('OPTIONS /success HTTP/1.1', [
        ['Host', `localhost:${port}`],
        ['Origin', UI],
        ['Access-Control-Request-Method', 'POST'],
        ['Access-Control-Request-Headers', 'content-type'],
      ]),
    )
    t.equal(preflight.status, 204)
    t.equal(preflight.headers['access-control-allow-origin'], UI)
    t.equal(preflight.headers['access-control-allow-methods'], 'POST')
    t.equal(preflight.headers['access-control-allow-headers'], 'content-type')

    const body = JSON.stringify({ api_key: KEY, more: 'is ignored' })
    const answer = await sendRaw(port, rawRequest('POST /success HTTP/1.1', json(port), body))
    t.equal(answer.status, 200)
    t.equal(answer.body, 'null')
    t.match(answer.headers, { 'content-type': /^application\/json/, 'access-control-allow-origin': UI })
    t.strictSame(keys, [`post ${KEY}`])
    t.strictSame(refused, ['preflight'])
  },
)

t.test(
  'takes a key while a page or a program holds all connections, silent or with half a request',
  async (t) => {
    for (const say of ['', 'GET / HTTP/1.1\r\nHo']) {
      const { port, keys } = await open(t)
      const held = new Set<Socket>()
      t.teardown(() => {
        for (const socket of held) socket.destroy()
      })
      for (let count = 0; count < 400; count += 1) {
        const socket = connect(port, '127.0.0.1')
        socket.on('error', () => undefined)
        held.add(socket)
        await once(socket, 'connect')
        socket.write(say)
      }
      const bytes = rawRequest(`GET /?key=${KEY} HTTP/1.1`, [['Host', `localhost:${port}`]])
      t.equal((await sendRaw(port, bytes)).status, 204)
      t.strictSame(keys, [`get ${KEY}`])
    }
  },
)

t.test('takes a failure from the UI by POST', async (t) => {
  const { port, failures } = await open(t)
  const failure = rawRequest('POST /failure HTTP/1.1', json(port), '{"reason":"cancelled"}')
  const answer = await sendRaw(port, failure)
  t.match(answer, { status: 200, body: 'null' })
  t.strictSame(failures, ['cancelled'])

  for (const origin of ['null', 'https://evil.example']) {
    const foreign = rawRequest('POST /failure HTTP/1.1', json(port, origin), '{"reason":"x"}')
    t.equal((await sendRaw(port, foreign)).status, 403, `not from ${origin}`)
  }
  t.equal(failures.length, 1)
})

t.test('refuses and counts everything else, each with its status and an empty body', async (t) => {
  const callback = await open(t)
  const { port } = callback
  const host = ['Host', `localhost:${port}`] as const
  const origin = ['Origin', UI] as const
  const asks = ['Access-Control-Request-Method', 'POST'] as const
  const rows: readonly (readonly [
    status: number,
    line: string,
    headers: readonly (readonly [string, string])[],
    body?: string,
  ])[] = [
    [404, 'GET / HTTP/1.1', [host]],
    [404, 'GET /favicon.ico HTTP/1.1', [host]],
    [205, `GET /callback?key=${KEY} HTTP/1.1`, [host]],
    [205, `GET //?key=${KEY} HTTP/1.1`, [host]],
    [205, `GET /success?key=${KEY} HTTP/1.1`, [host]],
    [205, `GET /%zz?key=${KEY} HTTP/1.1`, [host]],
    [421, `GET /%zz?key=${KEY} HTTP/1.1`, [['Host', 'evil.example']]],
    [205, `GET /?key=${KEY}&key=${KEY} HTTP/1.1`, [host]],
    [205, 'GET /?key= HTTP/1.1', [host]],
    [205, 'GET /?key=%0d%0aSet-Cookie:x HTTP/1.1', [host]],
    [205, `GET /?key=${'x'.repeat(1_001)} HTTP/1.1`, [host]],
    [405, `HEAD /?key=${KEY} HTTP/1.1`, [host]],
    [405, `PUT /?key=${KEY} HTTP/1.1`, [host, origin], '{}'],
    [405, `DELETE /?key=${KEY} HTTP/1.1`, [host, origin]],
    [403, 'OPTIONS /success HTTP/1.1', [host, asks]],
    [403, 'OPTIONS /success HTTP/1.1', [host, ['Origin', 'https://evil.example'], asks]],
    [421, 'OPTIONS /success HTTP/1.1', [['Host', 'evil.example'], origin, asks]],
    [400, 'OPTIONS /success HTTP/1.1', [host, origin]],
    [400, 'OPTIONS /success HTTP/1.1', [host, origin, ['Access-Control-Request-Method', 'PUT']]],
    [404, 'POST / HTTP/1.1', json(port), '{}'],
    [422, 'POST /success HTTP/1.1', json(port), ''],
    [422, 'POST /success HTTP/1.1', json(port), '{'],
    [422, 'POST /success HTTP/1.1', json(port), '{}'],
    [422, 'POST /success HTTP/1.1', json(port), '[]'],
    [422, 'POST /success HTTP/1.1', json(port), 'null'],
    [422, 'POST /success HTTP/1.1', json(port), '{"api_key":42}'],
    [422, 'POST /success HTTP/1.1', json(port), '{"api_key":"two words"}'],
    [422, 'POST /failure HTTP/1.1', json(port), '{"reason":["x"]}'],
  ]
  for (const [status, line, headers, body] of rows) {
    callback.refused.length = 0
    const answer = await sendRaw(port, rawRequest(line, headers, body))
    t.equal(answer.status, status, `${line} ${body ?? ''}`)
    t.equal(answer.body, '')
    t.equal(callback.refused.length, 1)
  }
  t.strictSame([callback.keys, callback.failures], [[], []])
})

t.test('lets the UI read the status of a refusal', async (t) => {
  const { port } = await open(t, { isTaken: false })
  const answer = await sendRaw(port, rawRequest('POST /success HTTP/1.1', json(port), `{"api_key":"${KEY}"}`))
  t.equal(answer.status, 409)
  t.equal(answer.headers['access-control-allow-origin'], UI)
})

t.test('sends 205 to a navigation whose key is not taken', async (t) => {
  const { port, refused } = await open(t, { isTaken: false })
  const answer = await sendRaw(port, rawRequest(`GET /?key=${KEY} HTTP/1.1`, [['Host', `localhost:${port}`]]))
  t.equal(answer.status, 205, 'a browser would keep the URL of an error page')
  t.equal(answer.headers['cache-control'], 'no-store')
  t.strictSame(refused, ['busy'])
})

t.test('takes nothing without the state if there is one', async (t) => {
  const { port, callbackUrl, keys, refused } = await open(t, { state: STATE })
  t.equal(callbackUrl, `http://localhost:${port}/${STATE}`)
  const host = ['Host', `localhost:${port}`] as const
  for (const path of ['/', `/${STATE.slice(1)}`, `/${STATE}x`, `/x/${STATE}`, `/${STATE.toLowerCase()}`]) {
    const get = await sendRaw(port, rawRequest(`GET ${path}?key=${KEY} HTTP/1.1`, [host]))
    t.equal(get.status, 205, path)
  }
  const stateless = await sendRaw(
    port,
    rawRequest('POST /success HTTP/1.1', json(port), `{"api_key":"${KEY}"}`),
  )
  t.equal(stateless.status, 404)
  t.equal(refused.length, 6)
  t.strictSame(keys, [])

  for (const path of [`/${STATE}`, `/${STATE}/`]) {
    t.equal((await sendRaw(port, rawRequest(`GET ${path}?key=${KEY} HTTP/1.1`, [host]))).status, 204, path)
  }
  const post = rawRequest(`POST /${STATE}/success HTTP/1.1`, json(port), `{"api_key":"${KEY}"}`)
  t.equal((await sendRaw(port, post)).status, 200)
  t.equal(keys.length, 3)
})

t.test('cuts off bodies and headers that never end', async (t) => {
  const { port, keys } = await open(t, { tuning: { requestTimeoutMs: 200 } })
  const head = rawRequest('POST /success HTTP/1.1', json(port), `{"api_key":"${KEY}"}`)
  for (const bytes of [head.slice(0, -1), head.slice(0, 40)]) {
    const answer = await sendRaw(port, bytes, { quietMs: 60_000 })
    t.not(answer.status, 200)
  }
  t.strictSame(keys, [])
})

t.test('closes a silent connection without a response', async (t) => {
  const { port, refused } = await open(t, { tuning: { requestTimeoutMs: 200 } })
  const answer = await sendRaw(port, '', { quietMs: 60_000 })
  t.strictSame(answer, { headers: {}, body: '' }, 'a browser would take it for the next response')
  t.strictSame(refused, [])
})

t.test('does not use a port that is taken only on ::1', async (t) => {
  const squatter = createServer()
  await new Promise<void>((resolve) => squatter.listen(0, '::1', resolve))
  t.teardown(() => squatter.close())
  const address = squatter.address()
  const taken = typeof address === 'object' && address !== null ? address.port : 0
  const ports = [taken, 0]

  const { port } = await open(t, { tuning: { pickPort: () => ports.shift() ?? 0 } })

  t.not(port, taken)
  t.strictSame(ports, [])
  await t.rejects(sendRaw(taken, ''), { code: 'ECONNREFUSED' }, 'the free half is released')
})

t.test('rejects with a hint if every port is taken', async (t) => {
  const { port } = await open(t)
  await t.rejects(open(t, { tuning: { pickPort: () => port } }), {
    code: 'login_port_unavailable',
    hint: /--key-stdin/,
  })
})

t.test('keeps two listeners apart', async (t) => {
  const [one, two] = [await open(t), await open(t)]
  t.not(one.port, two.port)
  await sendRaw(two.port, rawRequest(`GET /?key=${KEY} HTTP/1.1`, [['Host', `localhost:${two.port}`]]))
  t.strictSame([one.keys.length, two.keys.length], [0, 1])
})

t.test('refuses connections on both addresses once closed, and cuts off open ones', async (t) => {
  const { port, close } = await open(t)
  const lingering = sendRaw(port, 'GET / HTTP/1.1\r\n', { quietMs: 60_000 })
  await sendRaw(port, rawRequest('GET / HTTP/1.1', [['Host', `localhost:${port}`]]))
  await Promise.all([close(), close()])
  for (const host of ['127.0.0.1', '::1']) {
    await t.rejects(sendRaw(port, '', { host }), { code: 'ECONNREFUSED' })
  }
  t.equal((await lingering).status, undefined)
})

t.test('still responds to the request that ends the login', async (t) => {
  let closed: Promise<void> | undefined
  const callback = await openLoginCallback({
    uiOrigin: UI,
    onDelivery: () => false,
    onFailure() {
      closed = callback.close()
      return true
    },
    onRefused: () => undefined,
  })
  t.teardown(() => callback.close())
  const { port } = callback
  const answer = await sendRaw(port, rawRequest('POST /failure HTTP/1.1', json(port), '{"reason":"no"}'))
  t.match(answer, { status: 200, body: 'null' })
  await closed
})
