/** Request smuggling: one request for the proxy, two for the server, the second one forbidden. */

// Every attack is first shown to work between a careless proxy and a careless server, then tried with our proxy.
import t from 'tap'
import { testBoth } from '../fixtures/api-under-test.js'
import { ACCOUNT, OWN, openRaw, REAL_KEY, startProxy } from '../fixtures/proxy-under-test.js'
import { PLAIN, type Reading, startLaxProxy, startLaxServer } from './fixtures/lax-http.js'
import { settled } from './fixtures/stillness.js'

const FORBIDDEN = `/api/accounts/${ACCOUNT}/bots/`

interface Attack {
  readonly name: string
  readonly proxy?: Partial<Reading>
  readonly server?: Partial<Reading>
  /** Header lines of the outer request, and its body with `inner` in it. */
  write(inner: string): { readonly headers: string; readonly body: string }
}

const anyChunked = { isChunked: (value: string) => /chunked/i.test(value) }
const chunks = (text: string) => `${text.length.toString(16)}\r\n${text}\r\n0\r\n\r\n`
/** A body that ends at once if it is read as chunks. */
const early = (inner: string) => `0\r\n\r\n${inner}`
const length = (text: string) => `Content-Length: ${text.length}\r\n`
const whole = (headers: string) => (inner: string) => ({
  headers: `${length(early(inner))}${headers}`,
  body: early(inner),
})

const attacks: readonly Attack[] = [
  {
    name: 'a length and chunks',
    proxy: { isChunked: () => false },
    write: whole('Transfer-Encoding: chunked\r\n'),
  },
  {
    name: 'two lengths, the first counts for the proxy',
    server: { length: 'last' },
    write: (inner) => ({ headers: `${length(inner)}Content-Length: 0\r\n`, body: inner }),
  },
  {
    name: 'two lengths in one',
    proxy: { length: 'last' },
    write: (inner) => ({ headers: `Content-Length: 0, ${inner.length}\r\n${length(inner)}`, body: inner }),
  },
  {
    name: 'an encoding on a folded line',
    server: { isUnfolded: true },
    write: whole('Transfer-Encoding:\r\n chunked\r\n'),
  },
  {
    name: 'an encoding behind a bare line feed',
    server: { lines: 'lf' },
    write: whole('X: y\nTransfer-Encoding: chunked\r\n'),
  },
  {
    name: 'an encoding that nearly is one',
    server: anyChunked,
    write: whole('Transfer-Encoding: xchunked\r\n'),
  },
  {
    name: 'an encoding with more than a space before it',
    server: anyChunked,
    write: whole('Transfer-Encoding: \x0bchunked\r\n'),
  },
  {
    name: 'two encodings',
    proxy: { isChunked: () => false },
    server: anyChunked,
    write: whole('Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n'),
  },
  {
    name: 'a chunk extension with a bare line feed in it',
    proxy: { chunkLines: 'lf' },
    write: (inner) => ({
      headers: 'Transfer-Encoding: chunked\r\n',
      // For one a chunk of two bytes and one with all the rest; for the other the size of that is the two bytes.
      body: `2;\nxx\r\n${chunks(early(inner))}`,
    }),
  },
]

for (const attack of attacks) {
  testBoth(t, attack.name, async (t, recogniser) => {
    const server = await startLaxServer(t, { ...PLAIN, ...attack.server })
    const proxy = await startProxy(t, server.url, { recogniser })
    const token = await proxy.broker.token('proxy', ['cloud'])
    const naive = await startLaxProxy(t, {
      ...{ to: server.port, reading: { ...PLAIN, ...attack.proxy }, token, key: REAL_KEY },
      isAllowed: (path) => path.startsWith(`/proxy/cloud/api${OWN}/`),
    })
    const shoot = async (port: number) => {
      const head = `Host: 127.0.0.1:${port}\r\nAuthorization: Bearer ${token}\r\n`
      const { headers, body } = attack.write(`GET ${FORBIDDEN} HTTP/1.1\r\n${head}\r\n`)
      const raw = openRaw(t, { port, host: '127.0.0.1' })
      raw.say(`POST ${proxy.base}/x HTTP/1.1\r\n${head}${headers}\r\n${body}`)
      return raw
    }
    const first = await shoot(naive)
    await first.hear(/200 OK[\s\S]*200 OK/)
    t.same(
      server.heard.slice(0, 2).map(({ path, key }) => [path, key]),
      [
        [`/api${OWN}/x`, `Bearer ${REAL_KEY}`],
        [FORBIDDEN, `Bearer ${REAL_KEY}`],
      ],
      'the careless two let it in, with the key',
    )
    server.heard.length = 0
    const answer = await (await shoot(proxy.tcp.port)).hear(/^HTTP\/1\.1 \d+[\s\S]*\r\n\r\n/)
    t.match(answer, /^HTTP\/1\.1 400 /)
    await settled(proxy.socket, () => server.heard.length)
    t.same(server.heard, [], 'ours sends on nothing of it')
  })
}

testBoth(t, 'judges what follows a body as a request of its own', async (t, recogniser) => {
  const server = await startLaxServer(t, PLAIN)
  const proxy = await startProxy(t, server.url, { recogniser })
  const token = await proxy.broker.token('proxy', ['cloud'])
  const head = `Host: 127.0.0.1:${proxy.tcp.port}\r\n`
  const own = `${head}Authorization: Bearer ${token}\r\n`
  const shoot = async (second: string) => {
    const raw = openRaw(t, proxy.tcp)
    raw.say(`POST ${proxy.base}/x HTTP/1.1\r\n${own}Content-Length: 2\r\n\r\n{}${second}`)
    return raw.hear(/HTTP\/1\.1[\s\S]*HTTP\/1\.1 [\s\S]*\r\n\r\n/)
  }
  const path = `/proxy${FORBIDDEN.replace('/api', '/cloud/api')}`
  t.match(await shoot(`GET ${path} HTTP/1.1\r\n${own}\r\n`), /200 OK[\s\S]*HTTP\/1\.1 403/)
  t.match(
    await shoot(`GET ${proxy.base}/y HTTP/1.1\r\n${head}\r\n`),
    /200 OK[\s\S]*HTTP\/1\.1 401/,
    'the token of the first does not count for it',
  )
  t.match(await shoot('no request at all\r\n\r\n'), /^HTTP\/1\.1 (?:200|400)/)
  t.notOk(server.heard.some(({ path }) => path !== `/api${OWN}/x`))
})

testBoth(t, 'forwards chunks as a body, whatever they contain', async (t, recogniser) => {
  const server = await startLaxServer(t, PLAIN)
  const proxy = await startProxy(t, server.url, { recogniser })
  const inner = `GET ${FORBIDDEN} HTTP/1.1\r\nHost: x\r\n\r\n`
  const size = inner.length.toString(16)
  const bodies = [
    chunks(inner),
    `${size};name=value;other="quo;ted"\r\n${inner}\r\n0;last\r\n\r\n`,
    `000${size}\r\n${inner}\r\n000\r\nX-Trailer: Transfer-Encoding: chunked\r\n\r\n`,
  ]
  for (const body of bodies) {
    const raw = openRaw(t, proxy.socket)
    raw.say(`POST ${proxy.base}/x HTTP/1.1\r\nHost: authd\r\nTransfer-Encoding: chunked\r\n\r\n${body}`)
    t.match(await raw.hear(/\r\n\r\n/), /^HTTP\/1\.1 200/)
  }
  t.same(
    server.heard.map(({ path }) => path),
    bodies.map(() => `/api${OWN}/x`),
  )
})
