/** The same requests, sent to Prefect directly and through the proxy: the responses are the same. */
import { createHash } from 'node:crypto'
import { Agent as HttpAgent, request as httpRequest, type IncomingMessage } from 'node:http'
import fc from 'fast-check'
import t from 'tap'
import { bodyOf, OWN, portOf, REAL_KEY, startProxy, startUpstream } from '../fixtures/proxy-under-test.js'

const RUNS = 1_500
// So many requests take as long as the machine needs: this ends only a run that hangs.
t.setTimeout(900_000)

interface Asked {
  readonly method: string
  readonly path: string
  readonly query: string
  readonly headers: readonly (readonly [string, string])[]
  readonly body: Uint8Array
  readonly isChunked: boolean
  /** What the upstream is to do. */
  readonly answer: {
    readonly status: number
    readonly size: number
    readonly way: number
    readonly name: string
  }
}

const token = fc.stringMatching(/^[a-z][a-z0-9-]{0,11}$/)
const value = fc.stringMatching(/^[!-~][ -~]{0,30}[!-~]$/)
const segment = fc.stringMatching(/^[A-Za-z0-9_~:@!$&'()*+,=-]{1,10}(?:%20|%C3%BC|%25)?$/)

const asked: fc.Arbitrary<Asked> = fc.record({
  method: fc.constantFrom('GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'HEAD', 'OPTIONS'),
  // Of the workspace itself, and of nouns that nobody knows, not every method passes.
  path: fc.array(segment, { maxLength: 3 }).map((parts) => ['/flows', ...parts].join('/')),
  query: fc.stringMatching(/^[A-Za-z0-9%&=+./?:;,_~-]{0,30}$/),
  headers: fc.array(
    fc.tuple(
      token.map((name) => `x-${name}`),
      value,
    ),
    { maxLength: 6 },
  ),
  body: fc.oneof(
    fc.constant(new Uint8Array()),
    fc.uint8Array({ maxLength: 300 }),
    fc.uint8Array({ minLength: 65_000, maxLength: 67_000 }),
  ),
  isChunked: fc.boolean(),
  answer: fc.record({
    status: fc.constantFrom(200, 200, 201, 204, 304, 307, 400, 403, 404, 409, 418, 422, 429, 500, 503),
    size: fc.constantFrom(0, 1, 500, 70_000),
    way: fc.integer({ min: 0, max: 3 }),
    name: value,
  }),
})

t.test('forwards requests and responses byte for byte, but for reason phrases', async (t) => {
  const { url, server } = await startUpstream(t, (request, response) => {
    void bodyOf(request).then((body) => {
      const { status, size, way, name } = JSON.parse(String(request.headers['x-answer']))
      const seen = JSON.stringify(arrived(request, body))
      const content = Buffer.from(seen.padEnd(size, '.'))
      response.statusMessage = name
      response.setHeader('x-seen', createHash('sha256').update(seen).digest('hex'))
      response.setHeader('x-twice', ['a=1', 'b=2'])
      response.setHeader('Date', 'Fri, 20 Nov 2026 19:00:00 GMT')
      if (way % 2 === 0 && status !== 204 && status !== 304)
        response.setHeader('content-length', content.length)
      response.writeHead(status)
      if (way > 1) response.write(content.subarray(0, 10))
      response.end(way > 1 ? content.subarray(10) : content)
    })
  })
  const proxy = await startProxy(t, url)
  const own = await proxy.broker.token('proxy', ['cloud'])
  const agent = new HttpAgent({ keepAlive: true })
  t.teardown(() => agent.destroy())
  const direct = { port: portOf(server), prefix: `/api${OWN}`, key: REAL_KEY, agent }
  const proxied = { port: proxy.tcp.port, prefix: proxy.base, key: own, agent }
  await fc.assert(
    fc.asyncProperty(asked, async (one) => {
      const [expected, found] = await Promise.all([send(direct, one), send(proxied, one)])
      if (JSON.stringify(expected) !== JSON.stringify(found)) {
        throw new Error(
          `${JSON.stringify(expected).slice(0, 900)}\n!=\n${JSON.stringify(found).slice(0, 900)}`,
        )
      }
    }),
    { numRuns: RUNS },
  )
  t.ok((proxy.app.proxyTraffic()[0]?.requests ?? 0) >= RUNS)
})

/** What must be the same at Prefect, however it came: all but the connection's own headers. */
function arrived(request: IncomingMessage, body: Buffer): unknown {
  const headers: [string, string][] = []
  for (let index = 0; index < request.rawHeaders.length; index += 2) {
    const name = request.rawHeaders[index] ?? ''
    if (OF_CONNECTION.has(name.toLowerCase()) || name.toLowerCase() === 'content-length') continue
    headers.push([name.toLowerCase(), request.rawHeaders[index + 1] ?? ''])
  }
  return {
    method: request.method,
    url: request.url,
    headers: headers.sort(),
    length: body.length,
    sha: createHash('sha256').update(body).digest('hex'),
  }
}

const OF_CONNECTION = new Set(['connection', 'keep-alive', 'transfer-encoding', 'host'])

interface Way {
  readonly port: number
  readonly prefix: string
  readonly key: string
  readonly agent: HttpAgent
}

function send({ port, prefix, key, agent }: Way, one: Asked): Promise<unknown> {
  const hasBody = one.body.length > 0
  return new Promise((resolve, reject) => {
    const headers = [
      ...one.headers.flat(),
      ...['host', `127.0.0.1:${port}`, 'authorization', `Bearer ${key}`],
      ...['x-answer', JSON.stringify(one.answer)],
      ...(hasBody
        ? one.isChunked
          ? ['transfer-encoding', 'chunked']
          : ['content-length', String(one.body.length)]
        : []),
    ]
    const outgoing = httpRequest({
      ...{ port, host: '127.0.0.1', method: one.method, headers, agent },
      path: `${prefix}${one.path}${one.query === '' ? '' : `?${one.query}`}`,
    })
    outgoing.on('error', reject)
    outgoing.on('response', (incoming) => {
      bodyOf(incoming).then((body) => resolve(heard(incoming, body)), reject)
    })
    outgoing.end(hasBody ? one.body : undefined)
  })
}

function heard({ statusCode, rawHeaders, trailers }: IncomingMessage, body: Buffer): unknown {
  const headers: [string, string][] = []
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const name = rawHeaders[index] ?? ''
    if (!OF_CONNECTION.has(name.toLowerCase())) headers.push([name, rawHeaders[index + 1] ?? ''])
  }
  return { statusCode, headers, trailers, body: body.toString('latin1') }
}
