/** What a token that may not see Secret blocks sends through the proxy: what of it arrives at Prefect, by every way there is. */
import { gzipSync } from 'node:zlib'
import t, { type Test } from 'tap'
import type { PolicyName } from '../../src/wire/kinds.js'
import { bodyOf, openRaw, startProxy, startUpstream } from '../fixtures/proxy-under-test.js'

const ID = '11111111-1111-1111-1111-111111111111'
const FILTER = '/block_documents/filter'
const ASKING = '{"include_secrets":true}'

async function setStage(t: Test, may: PolicyName) {
  const arrived: { readonly url: string; readonly body: string }[] = []
  // As a gateway that knows no WebSockets: it answers every request for one as it would answer without.
  const { url, server } = await startUpstream(t, (request, response) => {
    void bodyOf(request).then((body) => {
      arrived.push({ url: request.url ?? '', body: body.toString('latin1') })
      response.end('"answered"')
    })
  })
  server.on('upgrade', ({ url = '' }, socket) => {
    arrived.push({ url, body: '' })
    socket.end('HTTP/1.1 200 OK\r\nContent-Length: 10\r\nConnection: close\r\n\r\n"answered"')
  })
  const proxy = await startProxy(t, url)
  const wanted = { name: may, power: 'proxy', profiles: ['*'], lifeMs: 60_000, policy: { may } } as const
  const { token } = await proxy.broker.deps.tokens.create(wanted)
  /** Resolves with what was answered, and what arrived at Prefect. */
  return async (method: string, path: string, headers: string, body: string | Buffer) => {
    arrived.length = 0
    const raw = openRaw(t, proxy.tcp)
    const auth = `Host: 127.0.0.1:${proxy.tcp.port}\r\nAuthorization: Bearer ${token}\r\n`
    const close = /upgrade/i.test(headers) ? '' : 'Connection: close\r\n'
    raw.say(`${method} ${proxy.base}${path} HTTP/1.1\r\n${auth}${close}${headers}\r\n`)
    raw.say(body)
    const answer = await raw.closed()
    return { answer, arrived: [...arrived] }
  }
}

const measured = (body: string | Buffer) => `Content-Length: ${Buffer.byteLength(body)}\r\n`
const chunked = (body: string) => `${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`
const HANDSHAKE =
  'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n'
const LARGE = `{"x":"${'x'.repeat(70_000)}","include_secrets":true}`
const ZIPPED = gzipSync(ASKING)

/** What is asked, and what of it arrives under `read`: nothing, if it is refused. */
const ROWS: readonly (readonly [
  what: string,
  method: string,
  path: string,
  headers: string,
  body: string | Buffer,
  arrives: string | undefined,
])[] = [
  ['a query', 'GET', `/block_documents/${ID}?include_secrets=true`, '', '', '?include_secrets=false'],
  ['a query by HEAD', 'HEAD', `/block_documents/${ID}?include_secrets=1`, '', '', '?include_secrets=false'],
  ['a query twice', 'GET', `/block_documents/${ID}?include_secrets=0&include_secrets=1`, '', '', undefined],
  [
    'a WebSocket',
    'GET',
    `/block_documents/${ID}?include_secrets=true`,
    HANDSHAKE,
    '',
    '?include_secrets=false',
  ],
  [
    'a WebSocket twice',
    'GET',
    `/block_documents/${ID}?include_secrets=0;include_secrets=1`,
    HANDSHAKE,
    '',
    undefined,
  ],
  ['a body', 'POST', FILTER, measured(ASKING), ASKING, '{"include_secrets":false}'],
  [
    'a body and a query',
    'POST',
    `${FILTER}?include_secrets=1`,
    measured(ASKING),
    ASKING,
    '{"include_secrets":false}',
  ],
  ['a slash more', 'POST', `${FILTER}/`, measured(ASKING), ASKING, '{"include_secrets":false}'],
  ['chunks', 'POST', FILTER, 'Transfer-Encoding: chunked\r\n', chunked(ASKING), '{"include_secrets":false}'],
  ['large chunks', 'POST', FILTER, 'Transfer-Encoding: chunked\r\n', chunked(LARGE), undefined],
  ['a large body', 'POST', FILTER, measured(LARGE), LARGE, undefined],
  ['gzip', 'POST', FILTER, `Content-Encoding: gzip\r\n${measured(ZIPPED)}`, ZIPPED, undefined],
  [
    'gzip, said twice',
    'POST',
    FILTER,
    `Content-Encoding: identity\r\nContent-Encoding: gzip\r\n${measured(ZIPPED)}`,
    ZIPPED,
    undefined,
  ],
  [
    'UTF-16',
    'POST',
    FILTER,
    measured(Buffer.from(ASKING, 'utf16le')),
    Buffer.from(ASKING, 'utf16le'),
    undefined,
  ],
  ['a form', 'POST', FILTER, measured('include_secrets=true'), 'include_secrets=true', undefined],
]

t.test('a token with the policy `read` never asks for secrets', async (t) => {
  const ask = await setStage(t, 'read')
  for (const [what, method, path, headers, body, arrives] of ROWS) {
    const { answer, arrived } = await ask(method, path, headers, body)
    if (arrives === undefined) {
      t.match(answer, /^HTTP\/1\.1 400 [\s\S]*cannot turn off include_secrets/, what)
      t.same(arrived, [], `${what}: nothing of it arrives`)
    } else {
      t.match(answer, /^HTTP\/1\.1 200 /, what)
      t.equal(arrived.length, 1, what)
      t.match(`${arrived[0]?.url}\n${arrived[0]?.body}`, arrives, what)
      t.notMatch(JSON.stringify(arrived), /true|=1/, what)
    }
  }
})

t.test('without such a policy, or to other paths, all of it arrives as it was sent', async (t) => {
  const ask = await setStage(t, 'all')
  for (const [what, method, path, headers, body] of ROWS) {
    const { arrived } = await ask(method, path, headers, body)
    t.match(arrived[0]?.url, path, what)
    if (!headers.includes('chunked')) t.equal(arrived[0]?.body, Buffer.from(body).toString('latin1'), what)
  }
  const run = await setStage(t, 'run')
  const parameters = `{"parameters":${LARGE}}`
  const { arrived } = await run(
    'POST',
    `/deployments/${ID}/create_flow_run`,
    measured(parameters),
    parameters,
  )
  t.equal(arrived[0]?.body, parameters, 'the parameters of a run may be large')
})

const START = `/deployments/${ID}/create_flow_run`
const FORM = 'Transfer-Encoding: chunked\r\n'
const TEMPLATE = '{"job_variables":{"working_dir":"{{ prefect.blocks.secret.mine }}"}}'
const LARGE_TEMPLATE = `{"parameters":"${'x'.repeat(400_000)}",${TEMPLATE.slice(1)}`
const ZIPPED_TEMPLATE = gzipSync(TEMPLATE)
const TEMPLATES: readonly (readonly [what: string, path: string, headers: string, body: string | Buffer])[] =
  [
    ['a template', START, measured(TEMPLATE), TEMPLATE],
    ['an encoded path', START.replace('create_', 'create%5F'), measured(TEMPLATE), TEMPLATE],
    ['a slash more', `${START}/`, measured(TEMPLATE), TEMPLATE],
    ['many runs', `${START}/bulk`, measured(`[${TEMPLATE}]`), `[${TEMPLATE}]`],
    ['chunks', START, FORM, chunked(TEMPLATE)],
    ['a large body', START, measured(LARGE_TEMPLATE), LARGE_TEMPLATE],
    ['large chunks', START, FORM, chunked(LARGE_TEMPLATE)],
    ['gzip', START, `Content-Encoding: gzip\r\n${measured(ZIPPED_TEMPLATE)}`, ZIPPED_TEMPLATE],
  ]

t.test('a token that may run and not see secrets cannot have a worker fill them in', async (t) => {
  const run = await setStage(t, 'run')
  const work = await setStage(t, 'work')
  for (const [what, path, headers, body] of TEMPLATES) {
    const { answer, arrived } = await run('POST', path, headers, body)
    t.match(answer, /^HTTP\/1\.1 400 [\s\S]*may not reach Secret blocks through job variables/, what)
    t.same(arrived, [], `${what}: nothing of it arrives`)
    t.equal((await work('POST', path, headers, body)).arrived.length, 1, `${what}: with 'work' it arrives`)
  }
  const { arrived } = await run('POST', START, measured(JOB), JOB)
  t.equal(arrived[0]?.body, JOB, 'other job variables pass as they are')
})
const JOB = '{ "job_variables": {"env": {"A": 1.0}}, "parameters": {"a": "{{ b }}"} }'
