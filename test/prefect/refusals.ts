/** Everything that a server can do to us, and the sentence that comes of it. */
import t from 'tap'
import { createTestCloud, failureOf, TEST_KEY, TEST_USER_ID, target } from '../fixtures/cloud-client.js'
import { type Behaviour, json, startRawServer, startServer } from '../fixtures/cloud-server.js'

interface Fault {
  readonly name: string
  readonly behave: Behaviour
  readonly code: string
  readonly says: RegExp
  readonly hint?: RegExp
  /** How often a GET is asked. */
  readonly tries?: number
}

const PAGE = '<!doctype html><title>Log in to Hotel Wi-Fi</title>'

const html =
  (status: number): Behaviour =>
  (response) =>
    response.writeHead(status, { 'content-type': 'text/html; charset=utf-8' }).end(PAGE)
const detail =
  (status: number, text: unknown): Behaviour =>
  (response) =>
    json(response, status, { detail: text })
const body =
  (text: string | Buffer, type = 'application/json'): Behaviour =>
  (response) =>
    response.writeHead(200, { 'content-type': type }).end(text)

const FAULTS: readonly Fault[] = [
  {
    name: '401',
    behave: detail(401, 'Invalid authentication credentials'),
    code: 'key_rejected',
    says: /401: Invalid authentication credentials$/,
    hint: /prefect-auth login/,
  },
  {
    name: '401 with an empty body',
    behave: (response) => response.writeHead(401).end(),
    code: 'prefect_unexpected',
    says: /401 and an empty body$/,
  },
  {
    name: "401 with a body that is not Prefect's",
    behave: (response) => json(response, 401, { error: 'proxy authentication required' }),
    code: 'prefect_unexpected',
    says: /401 and JSON that is not Prefect's/,
  },
  {
    name: '401 of a self-hosted server',
    behave: (response) => json(response, 401, { exception_message: 'Unauthorized' }),
    code: 'prefect_unexpected',
    says: /401 and JSON that is not Prefect's/,
  },
  {
    name: '401 as text',
    behave: (response) => response.writeHead(401, { 'content-type': 'text/plain' }).end('{"detail":"no"}'),
    code: 'prefect_unexpected',
    says: /401 and JSON that is not Prefect's \(text\/plain/,
  },
  {
    name: "401 with a web page, which is not Prefect's word",
    behave: html(401),
    code: 'prefect_unexpected',
    says: /401 and a web page/,
  },
  {
    name: '403',
    behave: detail(403, 'Only users (not service accounts) can access this endpoint.'),
    code: 'prefect_forbidden',
    says: /403: Only users/,
    hint: /allow list.*role.*network/,
  },
  { name: '403 with a web page', behave: html(403), code: 'prefect_unexpected', says: /403 and a web page/ },
  { name: '404', behave: detail(404, 'Not Found'), code: 'prefect_not_found', says: /404: Not Found/ },
  { name: '404 with a web page', behave: html(404), code: 'prefect_unexpected', says: /web page/ },
  { name: '400', behave: detail(400, 'no'), code: 'prefect_refused', says: /400: no/ },
  {
    name: "422 with FastAPI's list",
    behave: detail(422, [{ loc: ['body', 'name'], msg: 'field required', input: 'SECRETINPUT' }]),
    code: 'prefect_refused',
    says: /422: body\.name: field required$/,
  },
  {
    name: '409 with exception_message',
    behave: (response) => json(response, 409, { exception_message: 'taken' }),
    code: 'prefect_refused',
    says: /409: taken$/,
  },
  { name: '500', behave: detail(500, 'boom'), code: 'prefect_failed', says: /500: boom/ },
  { name: '502 with a web page', behave: html(502), code: 'prefect_failed', says: /502$/, tries: 3 },
  { name: '503', behave: detail(503, 'later'), code: 'prefect_failed', says: /503: later/, tries: 3 },
  { name: '504', behave: detail(504, 'late'), code: 'prefect_failed', says: /504/, tries: 3 },
  { name: '408', behave: detail(408, 'slow'), code: 'prefect_refused', says: /408/, tries: 3 },
  {
    name: '429 without a time',
    behave: detail(429, 'slow down'),
    code: 'prefect_rate_limited',
    says: /429: slow down/,
    tries: 3,
  },
  {
    name: 'a detail with an escape sequence',
    behave: detail(403, '\x1b]0;owned\x07no\r\nway'),
    code: 'prefect_forbidden',
    says: /403: \]0;owned no way$/,
  },
  {
    name: 'a detail without end',
    behave: detail(403, 'x'.repeat(100_000)),
    code: 'prefect_forbidden',
    says: /403: x{199}…$/,
  },
  {
    name: 'a redirect to another host',
    behave: (response) =>
      response.writeHead(302, { location: 'https://wifi.example:8443/login?token=SECRETTOKEN' }).end(),
    code: 'prefect_unexpected',
    says: /302, a redirect to wifi\.example:8443/,
  },
  {
    name: 'a redirect to nowhere',
    behave: (response) => response.writeHead(307).end(),
    code: 'prefect_unexpected',
    says: /307, a redirect to 127/,
  },
  {
    name: 'a web page with 200',
    behave: html(200),
    code: 'prefect_unexpected',
    says: /200 and a web page \(text\/html/,
    hint: /login page of your network/,
  },
  {
    name: 'a web page that claims to be JSON',
    behave: body(PAGE),
    code: 'prefect_unexpected',
    says: /a web page/,
  },
  {
    name: 'JSON as text',
    behave: body('[]', 'text/plain'),
    code: 'prefect_unexpected',
    says: /200 and JSON that is not Prefect's/,
  },
  { name: 'an empty body', behave: body(''), code: 'prefect_unexpected', says: /200 and an empty body/ },
  {
    name: 'half of a JSON text',
    behave: body('[{"account_id":"a'),
    code: 'prefect_unexpected',
    says: /not JSON \(application\/json, 17 characters\)/,
  },
  {
    name: 'JSON of another type',
    behave: body('{"workspaces":[]}'),
    code: 'prefect_unexpected',
    says: /unexpected JSON \(at the top level\)/,
  },
  {
    name: 'a field of another type',
    behave: body('[{"account_id":1}]'),
    code: 'prefect_unexpected',
    says: /unexpected JSON \('0\.account_id'\)/,
  },
  {
    name: 'an id that would change a URL',
    behave: body('[{"account_id":"../../x","account_handle":"a","workspace_id":"b","workspace_handle":"c"}]'),
    code: 'prefect_unexpected',
    says: /0\.account_id/,
  },
  {
    name: 'bytes that are no text',
    behave: body(Buffer.from([0xff, 0xfe, 0x00])),
    code: 'prefect_unexpected',
    says: /not JSON/,
  },
  {
    name: 'more than 4 MiB',
    behave: body(`[${' '.repeat(5 * 1024 * 1024)}]`),
    code: 'prefect_unexpected',
    says: /more than 4194304 bytes/,
  },
  {
    name: 'no answer at all',
    behave: () => undefined,
    code: 'prefect_unreachable',
    says: /did not answer in time/,
  },
  {
    name: 'an answer that stops',
    behave: (response) => void response.writeHead(200, { 'content-length': '100' }).write('['),
    code: 'prefect_unreachable',
    says: /stopped in the middle/,
  },
  {
    name: 'half an answer',
    behave: (response) =>
      void response.writeHead(200, { 'content-length': '100' }).write('[', () => response.destroy()),
    code: 'prefect_unexpected',
    says: /closed in the middle of its answer/,
    tries: 3,
  },
  {
    name: 'a cut connection',
    behave: (response) => void response.destroy(),
    code: 'prefect_unreachable',
    says: /was closed before an answer/,
    tries: 3,
  },
]

for (const { name, behave, code, says, hint, tries = 1 } of FAULTS) {
  t.test(`${name} is ${code}, after ${tries} ${tries === 1 ? 'try' : 'tries'}`, async (t) => {
    const server = await startServer(behave)
    const cloud = createTestCloud()
    t.teardown(async () => Promise.all([cloud.close(), server.close()]))
    const error = await failureOf(cloud.workspaces(target(server.port)))
    t.equal(error.code, code)
    t.match(error.message, says)
    t.match(error.message, `cannot list the workspaces`)
    t.match(error.message, `127.0.0.1:${server.port}`)
    if (hint) t.match(error.hint ?? '', hint)
    t.notMatch(`${error.message} ${error.hint}`, /SECRET/)
    t.equal(server.seen.length, tries)
  })
}

const RAW: readonly (readonly [name: string, bytes: string, code: string, says: RegExp])[] = [
  ['something that is not HTTP', 'SSH-2.0-OpenSSH_9.2\r\n', 'prefect_unexpected', /not HTTP/],
  [
    'a head without end',
    `HTTP/1.1 200 OK\r\nx: ${'y'.repeat(40_000)}\r\n\r\n`,
    'prefect_unexpected',
    /head of its answer is too large/,
  ],
  [
    'two lengths',
    'HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n[]',
    'prefect_unexpected',
    /different length/,
  ],
]

for (const [name, bytes, code, says] of RAW) {
  t.test(`${name} is ${code}`, async (t) => {
    const server = await startRawServer((socket) => socket.end(bytes))
    const cloud = createTestCloud()
    t.teardown(async () => Promise.all([cloud.close(), server.close()]))
    const error = await failureOf(cloud.workspaces(target(server.port)))
    t.equal(error.code, code)
    t.match(error.message, says)
  })
}

t.test('a closed port is prefect_unreachable', async (t) => {
  const server = await startServer(() => undefined)
  await server.close()
  const cloud = createTestCloud()
  t.teardown(() => cloud.close())
  const error = await failureOf(cloud.me(target(server.port)))
  t.equal(error.code, 'prefect_unreachable')
  t.match(error.message, /cannot find out who owns the key at .*: the connection was refused/)
})

t.test('a name that does not exist is prefect_unreachable', async (t) => {
  const cloud = createTestCloud({ timeouts: { totalMs: 8000 } })
  t.teardown(() => cloud.close())
  const error = await failureOf(cloud.me({ ...target(1), cloudApiUrl: 'https://no-such-host.invalid/api' }))
  t.equal(error.code, 'prefect_unreachable')
  t.match(error.message, /DNS/)
})

t.test('the whole call has one deadline, however long each try may take', async (t) => {
  const server = await startServer((response) => {
    const timer = setInterval(() => response.write(' '), 50)
    response.on('close', () => clearInterval(timer))
  })
  const cloud = createTestCloud({ timeouts: { headersMs: 60_000, bodyMs: 60_000, totalMs: 300 } })
  t.teardown(async () => Promise.all([cloud.close(), server.close()]))
  const error = await failureOf(cloud.me(target(server.port)))
  t.equal(error.code, 'prefect_unreachable')
  t.match(error.message, /no answer within 0\.3 s/)
})

const WAITS: readonly (readonly [name: string, retryAfter: () => string, tries: number])[] = [
  ['seconds', () => '0', 3],
  ['a date that has passed', () => new Date(Date.now() - 60_000).toUTCString(), 3],
  ['more seconds than we have', () => '60', 1],
  ['a date later than we have', () => new Date(Date.now() + 60_000).toUTCString(), 1],
]

for (const [name, retryAfter, tries] of WAITS) {
  t.test(`Retry-After with ${name} is obeyed and told`, async (t) => {
    const server = await startServer((response) =>
      json(response, 429, { detail: 'slow' }, { 'retry-after': retryAfter() }),
    )
    const cloud = createTestCloud()
    t.teardown(async () => Promise.all([cloud.close(), server.close()]))
    const before = Date.now()
    const error = await failureOf(cloud.me(target(server.port)))
    t.equal(error.code, 'prefect_rate_limited')
    t.equal(server.seen.length, tries)
    const waitMs = (error.retryAt ?? Number.NaN) - before
    // A date has whole seconds.
    if (tries === 1) t.ok(waitMs > 58_000 && waitMs < 70_000, `${waitMs}`)
    else t.ok(waitMs >= 0 && waitMs < 5_000, `${waitMs}`)
  })
}

t.test('a fault that passes is not seen', async (t) => {
  const faults: Behaviour[] = [detail(503, 'later'), (response) => void response.destroy()]
  const server = await startServer((response, request, turn) =>
    (faults[turn - 1] ?? body('[]'))(response, request, turn),
  )
  const cloud = createTestCloud()
  t.teardown(async () => Promise.all([cloud.close(), server.close()]))
  t.strictSame(await cloud.workspaces(target(server.port)), [])
  t.equal(server.seen.length, 3)
})

const MINT_FAULTS: readonly (readonly [name: string, behave: Behaviour, code: string])[] = [
  ['a cut connection', (response) => void response.destroy(), 'prefect_unreachable'],
  ['503', detail(503, 'later'), 'prefect_failed'],
  ['429', (response) => json(response, 429, {}, { 'retry-after': '0' }), 'prefect_rate_limited'],
  [
    'half an answer',
    (response) =>
      void response.writeHead(201, { 'content-length': '99' }).write('{', () => response.destroy()),
    'prefect_unexpected',
  ],
  [
    'an answer without a key',
    (response) => json(response, 201, { id: 'a', name: 'n' }),
    'prefect_unexpected',
  ],
  [
    'a key that no header can carry',
    (response) => json(response, 201, { id: 'a', name: 'n', key: 'pnu_SECRET\r\nx: y' }),
    'prefect_unexpected',
  ],
]

for (const [name, behave, code] of MINT_FAULTS) {
  t.test(`making a key is tried once: ${name}`, async (t) => {
    const server = await startServer(behave)
    const cloud = createTestCloud()
    t.teardown(async () => Promise.all([cloud.close(), server.close()]))
    const error = await failureOf(cloud.createKey(target(server.port), TEST_USER_ID, { name: 'n' }))
    t.equal(error.code, code)
    t.equal(server.seen.length, 1)
    t.notMatch(`${error.message} ${error.hint} ${error.cause}`, 'SECRET')
  })
}

t.test("a deletion is done only by Prefect's own word", async (t) => {
  const answers: Behaviour[] = [
    html(200),
    html(404),
    (response) => response.writeHead(404, { 'content-type': 'text/plain' }).end('404 page not found'),
  ]
  for (const behave of answers) {
    const server = await startServer(behave)
    const cloud = createTestCloud()
    const [removal, reading] = await Promise.all([
      failureOf(cloud.deleteKey(target(server.port), TEST_USER_ID, 'k')),
      failureOf(cloud.readKey(target(server.port), TEST_USER_ID, 'k')),
    ])
    t.equal(removal.code, 'prefect_unexpected')
    t.equal(reading.code, 'prefect_unexpected')
    await Promise.all([cloud.close(), server.close()])
  }
})

t.test('a server that repeats the key cannot get it into an error', async (t) => {
  const odd = `unknown-prefix-${'q7'.repeat(10)}`
  for (const key of [TEST_KEY, odd]) {
    const server = await startServer(detail(403, `the key ${key} may not`))
    const cloud = createTestCloud()
    const error = await failureOf(cloud.me(target(server.port, key)))
    t.match(error.message, 'the key [secret] may not')
    t.notMatch(error.stack ?? '', key)
    await Promise.all([cloud.close(), server.close()])
  }
})

t.test('a key of Cloud 1 that is refused is explained', async (t) => {
  const server = await startServer(detail(401, 'no'))
  const cloud = createTestCloud()
  t.teardown(async () => Promise.all([cloud.close(), server.close()]))
  t.match((await failureOf(cloud.me(target(server.port, 'pcu_0123')))).hint, /Cloud 1/)
})

t.test('a redirect is not followed with the key, not even on the same host', async (t) => {
  const elsewhere = await startServer(body('[]'))
  const server = await startServer((response) =>
    response.writeHead(307, { location: `http://127.0.0.1:${elsewhere.port}/` }).end(),
  )
  const cloud = createTestCloud()
  t.teardown(async () => Promise.all([cloud.close(), server.close(), elsewhere.close()]))
  t.match(
    (await failureOf(cloud.workspaces(target(server.port)))).message,
    `a redirect to 127.0.0.1:${elsewhere.port}`,
  )
  t.equal(elsewhere.sockets.size, 0)
  t.equal(elsewhere.seen.length, 0)
})
