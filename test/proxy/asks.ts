/** Requests that wait for a yes: parked until it comes, sent once, and never with another body. */
import { gzipSync } from 'node:zlib'
import t, { type Test } from 'tap'
import { askList } from '../../src/wire/asks.js'
import { type Answer, ask, json } from '../fixtures/api-under-test.js'
import { createManualClock } from '../fixtures/manual-clock.js'
import {
  ACCOUNT,
  bodyOf,
  OWN,
  openRaw,
  serveCloud,
  startProxy,
  startUpstream,
  WORKSPACE,
} from '../fixtures/proxy-under-test.js'

const ID = '0e0b8a53-8d7a-4b9e-9a57-2f0d7a1f0001'
const FLOW = '0e0b8a53-8d7a-4b9e-9a57-2f0d7a1f0002'
const START = `/deployments/${ID}/create_flow_run`

type Options = NonNullable<Parameters<typeof startProxy>[2]>

/** A Prefect that knows one deployment, and keeps what it was sent beside reads. */
async function setStage(t: Test, { mode = 'write', ...options }: Options & { mode?: 'write' | 'all' } = {}) {
  const writes: string[] = []
  let status = 201
  const { url, server } = await startUpstream(t, (request, response) => {
    void bodyOf(request).then((body) => {
      const path = request.url?.replace(`/api${OWN}`, '') ?? ''
      const names: Readonly<Record<string, unknown>> = {
        [`/deployments/${ID}`]: { name: 'nightly', flow_id: FLOW },
        [`/flows/${FLOW}`]: { name: 'Testing' },
      }
      if (request.method === 'GET') {
        response.end(JSON.stringify(names[path] ?? {}))
        return
      }
      writes.push(`${request.method} ${path} ${body}`)
      response.writeHead(status, { 'content-type': 'application/json' }).end('{}')
    })
  })
  const proxy = await startProxy(t, url, options)
  const made = await proxy.broker.deps.tokens.create({
    ...{ name: 'agent', power: 'proxy', profiles: ['*'], lifeMs: 600_000 },
    ask: mode,
  })
  const { token } = made
  const send = (method: string, path: string, body?: unknown, headers: Record<string, string> = {}) =>
    ask(proxy.tcp, `${proxy.base}${path}`, {
      ...{ method, token, headers },
      ...(body === undefined ? {} : { body }),
    })
  const list = async () => askList.parse(json(await ask(proxy.socket, '/v1/asks', { headers: {} })))
  return {
    ...{ proxy, writes, token, send, server, upstream: url },
    start: (body: unknown = {}, headers: Record<string, string> = {}) => send('POST', START, body, headers),
    list,
    answer: (id: number, body: unknown) => ask(proxy.socket, `/v1/asks/${id}`, { method: 'POST', body }),
    respond(next: number) {
      status = next
    },
  }
}

function isParked(t: Test, { status, headers, text }: Answer, retryAfter = '2'): void {
  t.match(
    { status, headers },
    { status: 503, headers: { 'retry-after': retryAfter, 'prefect-maintenance': 'true' } },
    text,
  )
}

t.test('a write waits until the yes, and is sent once', async (t) => {
  const { start, list, answer, writes } = await setStage(t)
  const first = await start({ parameters: { x: 1 } })
  isParked(t, first)
  t.match(json(first), {
    code: 'ask_waiting',
    detail: /^waiting for a yes: start deployment .* \(prefect-auth asks yes 1\)$/,
  })
  isParked(t, await start({ parameters: { x: 1 } }))
  const { asks } = await list()
  t.match(asks, [
    {
      id: 1,
      profile: 'cloud',
      token: { name: 'agent' },
      sentence: 'start deployment Testing/nightly in workspace 22222222-2222-2222-2222-222222222222',
      operation: 'POST /deployments/{id}/create_flow_run',
      effect: 'runs',
      method: 'POST',
    },
  ])
  t.same(writes, [], 'nothing has reached Prefect')
  const yes = await answer(1, { accept: true })
  t.match([yes.status, json(yes)], [200, { id: 1, answer: 'yes' }])
  t.equal((await start({ parameters: { x: 1 } })).status, 201)
  t.same(writes, [`POST ${START} {"parameters":{"x":1}}`])
  isParked(t, await start({ parameters: { x: 1 } }))
  t.equal(writes.length, 1, 'the next one is asked about again')
})

t.test('of many equal requests, one yes lets one pass', async (t) => {
  const { start, answer, writes } = await setStage(t)
  await start()
  await answer(1, { accept: true })
  const answers = await Promise.all(Array.from({ length: 10 }, () => start()))
  t.equal(answers.filter(({ status }) => status === 201).length, 1)
  t.equal(writes.length, 1)
})

t.test('a yes does not count for another body, query or media type', async (t) => {
  const { start, send, answer, writes } = await setStage(t)
  await start({ a: 1 })
  await answer(1, { accept: true })
  isParked(t, await start({ a: 2 }))
  isParked(t, await send('POST', `${START}?force=true`, { a: 1 }))
  isParked(t, await start({ a: 1 }, { 'content-type': 'text/plain' }))
  t.same(writes, [])
  t.equal((await start({ a: 1 })).status, 201)
})

t.test('a no is an error that a person understands, also when it is tried again', async (t) => {
  const { start, answer, writes } = await setStage(t)
  await start()
  t.equal((await answer(1, { accept: false })).status, 200)
  for (const _ of [1, 2]) {
    const refused = await start()
    t.equal(refused.status, 403)
    t.match(json(refused), {
      code: 'ask_refused',
      detail: /^the answer was no: start deployment Testing\/nightly in workspace /,
    })
  }
  t.same(writes, [])
})

t.test('a yes for an hour lets the operation pass', async (t) => {
  const { start, send, answer, list, writes } = await setStage(t)
  await start({ a: 1 })
  const yes = json(await answer(1, { accept: true, for: 'hour' }))
  t.match(yes, { answer: 'yes', until: /^\d{4}-/ })
  for (const a of [1, 2, 3]) t.equal((await start({ a })).status, 201)
  isParked(t, await send('DELETE', `/flows/${FLOW}`))
  t.equal(writes.length, 3)
  t.match((await list()).allowed, [{ token: { name: 'agent' }, operation: /create_flow_run/ }])
})

const PASSES: readonly (readonly [mode: 'write' | 'all', method: string, path: string, passes: boolean])[] = [
  ['write', 'GET', `/deployments/${ID}`, true],
  ['write', 'POST', '/deployments/filter', true],
  ['all', 'POST', '/deployments/filter', false],
  ['all', 'GET', `/deployments/${ID}`, false],
  ['write', 'POST', `/flow_runs/${ID}/set_state`, true],
  ['all', 'POST', `/flow_runs/${ID}/set_state`, true],
  ['all', 'POST', '/logs/', true],
  ['write', 'POST', '/logs', true],
  ['write', 'POST', START, false],
  ['write', 'POST', `/deployments/${ID}/create%5Fflow_run`, false],
  ['write', 'POST', '/deployments/', false],
  ['write', 'DELETE', `/flows/${FLOW}`, false],
  ['write', 'POST', '/something/new', false],
  ['write', 'GET', '/something/new', false],
]
for (const [mode, method, path, passes] of PASSES) {
  t.test(`--ask ${mode}: ${method} ${path} ${passes ? 'passes' : 'waits'}`, async (t) => {
    const { send } = await setStage(t, { mode })
    const sent = await send(method, path, method === 'GET' ? undefined : {})
    t.equal(sent.status === 503 ? json(sent).code : 'passed', passes ? 'passed' : 'ask_waiting')
  })
}

const [A, W] = [ACCOUNT, WORKSPACE]
const SPELLINGS: readonly (readonly [method: string, path: string, passes: boolean])[] = [
  ['POST', `/%61ccounts/${A}/workspaces/${W}/something/new`, false],
  ['POST', `/accounts/${A}/%77orkspaces/${W}/something/new`, false],
  ['POST', `/accounts/${A}/workspaces/%32${W.slice(1)}/something/new`, false],
  ['POST', `/%61ccounts/${A}/workspaces/${W}${START}`, false],
  ['POST', `/accounts/${A}/workspaces/filter`, true],
  ['POST', `/accounts/${A}/workspaces/count`, true],
  ['POST', `/accounts/${A}/added/by_the_owner`, false],
]
for (const [method, path, passes] of SPELLINGS) {
  t.test(`in any spelling, ${method} ${path} ${passes ? 'passes' : 'waits'}`, async (t) => {
    const { proxy, token, list } = await setStage(t, {
      allowed: ['POST /accounts/{account}/added/by_the_owner'],
    })
    const sent = await ask(proxy.tcp, `/proxy/cloud/api${path}`, { method, token, body: {} })
    t.equal(sent.status === 503 ? json(sent).code : 'passed', passes ? 'passed' : 'ask_waiting')
    if (path.includes('%')) t.match((await list()).asks[0]?.sentence, / in workspace 22222222-/)
  })
}

const UPGRADES: readonly (readonly [mode: 'write' | 'all', path: string, status: number])[] = [
  ['all', `/deployments/${ID}`, 400],
  ['write', '/something/new', 400],
  ['write', `/deployments/${ID}`, 200],
  ['all', '/logs/out', 200],
  ['all', '/events/in', 200],
]
for (const [mode, path, status] of UPGRADES) {
  t.test(`--ask ${mode}: the handshake of a WebSocket at ${path} gets ${status}`, async (t) => {
    const { proxy, token } = await setStage(t, { mode })
    const headers = {
      ...{ connection: 'upgrade', upgrade: 'websocket', 'sec-websocket-version': '13' },
      'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==',
    }
    const answer = await ask(proxy.tcp, `${proxy.base}${path}`, { token, headers })
    t.equal(answer.status, status, answer.text)
    if (status === 400) t.match(answer.text, /cannot wait for a yes/)
  })
}

t.test('what is outside of a workspace only reads, and does not wait', async (t) => {
  const { proxy, token } = await setStage(t)
  const answer = await ask(proxy.tcp, '/proxy/cloud/api/me/workspaces', { token })
  t.equal(answer.status, 200)
})

t.test('a client that counts its attempts is told to wait longer, and the question says so', async (t) => {
  const { start, list } = await setStage(t)
  const old = { 'user-agent': 'prefect/2.20.1 (API 0.8.4)' }
  isParked(t, await start({}, old), '20')
  isParked(t, await start({ a: 1 }, { 'user-agent': 'prefect/3.3.1 (API 0.8.4)' }))
  t.same(
    (await list()).asks.map(({ gives_up }) => gives_up),
    [true, undefined],
  )
})

t.test('a replay after a 401 is the same request', async (t) => {
  const { start, answer, writes, respond, proxy, upstream } = await setStage(t)
  await start()
  await answer(1, { accept: true })
  respond(401)
  proxy.whenRejected(() => {
    respond(201)
    serveCloud(proxy.broker, upstream, 'pnu_anewkey0123456789abcdefghijklmnopqrstuv')
  })
  t.equal((await start()).status, 201)
  t.equal(writes.length, 2, 'it was refused, and sent again')
})

t.test('a yes is not lost to a key that Prefect refuses, nor to a Prefect that is away', async (t) => {
  const { start, answer, respond, proxy, upstream, writes } = await setStage(t)
  await start()
  await answer(1, { accept: true })
  respond(401)
  t.match(json(await start()), { code: 'key_rejected' })
  serveCloud(proxy.broker, 'http://127.0.0.1:1')
  t.match(json(await start()), { code: 'prefect_unreachable' })
  respond(201)
  serveCloud(proxy.broker, upstream)
  writes.length = 0
  t.equal((await start()).status, 201)
  isParked(t, await start())
  t.equal(writes.length, 1)
})

t.test('an answer of Prefect other than 401 uses the yes up', async (t) => {
  const { start, answer, respond } = await setStage(t)
  for (const [index, status] of [500, 503, 409].entries()) {
    await start()
    await answer(index + 1, { accept: true })
    respond(status)
    t.equal((await start()).status, status)
  }
})

t.test('large bodies are looked at whole, up to a limit', async (t) => {
  const { start, answer, list, proxy, writes, token } = await setStage(t)
  const large = { parameters: { x: 'y'.repeat(300_000) } }
  isParked(t, await start(large))
  const shown = json(await ask(proxy.socket, '/v1/asks/1'))
  t.match(shown, { body_cut: true, body: /^\{"parameters":\{"x":"y/, media_type: 'application/json' })
  t.equal(String(shown.body).length, 64 * 1024)
  await answer(1, { accept: true })
  const other = { parameters: { x: `${'y'.repeat(299_999)}z` } }
  isParked(t, await start(other))
  t.equal((await start(large)).status, 201)
  t.equal(writes.length, 1)

  t.match(await start({ x: 'y'.repeat(5 * 1024 * 1024) }), {
    status: 413,
    text: /this body has to be read before it is sent, and may have at most 5 MiB/,
  })
  const raw = openRaw(t, proxy.tcp)
  const endless = openRaw(t, proxy.tcp)
  const head = `POST ${proxy.base}${START} HTTP/1.1\r\nHost: 127.0.0.1:${proxy.tcp.port}\r\nAuthorization: Bearer ${token}\r\n`
  raw.say(`${head}Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n`)
  t.match(await raw.hear(/\r\n\r\n/), /^HTTP\/1\.1 503/, 'chunks')
  t.equal((await list()).asks.at(-1)?.body_bytes, 2)
  const chunk = `100000\r\n${'y'.repeat(1024 * 1024)}\r\n`
  endless.say(`${head}Transfer-Encoding: chunked\r\n\r\n${chunk.repeat(6)}`)
  t.match(await endless.hear(/\}$/), /may have at most 5 MiB/, 'chunks without an end')
})

t.test('a body that nobody could look at is refused', async (t) => {
  const { start, writes } = await setStage(t)
  const encoded = gzipSync('{}').toString('latin1')
  const answer = await start(encoded, { 'content-encoding': 'gzip' })
  t.equal(answer.status, 400)
  t.match(json(answer), { detail: /must not have a Content-Encoding/ })
  t.same(writes, [])
})

t.test('questions are capped', async (t) => {
  const { start, list } = await setStage(t)
  for (let a = 0; a < 20; a += 1) isParked(t, await start({ a }))
  const refused = await start({ a: 20 })
  t.equal(refused.status, 429)
  t.match(json(refused), { detail: /this token has too many requests that wait for a yes/ })
  t.equal((await list()).asks.length, 20)
})

t.test('a question is gone when its client is, and a yes then does nothing', async (t) => {
  const clock = createManualClock(Date.UTC(2026, 0, 1))
  const { start, answer, list, writes, proxy } = await setStage(t, { asks: { clock } })
  const types: string[] = []
  proxy.broker.deps.events.onEvent(({ type, facts }) => types.push(`${type} ${JSON.stringify(facts)}`))
  await start()
  await list()
  clock.pass(5_000)
  await start()
  clock.pass(5_000)
  t.equal((await list()).asks.length, 1)
  clock.pass(2_000)
  t.match(types.at(-1), /^ask\.closed \{"id":1,"closing":"unanswered"\}/, 'told as soon as it is')
  t.same((await list()).asks, [])
  const late = await answer(1, { accept: true })
  t.equal(late.status, 404)
  t.match(json(late), { code: 'ask_not_found', detail: 'nobody is waiting for an answer to question 1' })
  isParked(t, await start())
  t.same(writes, [])
})

t.test('only the owner may see and answer questions, over the main socket', async (t) => {
  const { start, proxy } = await setStage(t)
  await start()
  for (const power of ['proxy', 'inspect', 'use'] as const) {
    const token = await proxy.broker.token(power)
    for (const place of [proxy.tcp, proxy.restricted, proxy.socket]) {
      const headers = place === proxy.tcp ? {} : { host: 'authd' }
      const yes = await ask(place, '/v1/asks/1', { method: 'POST', token, body: { accept: true }, headers })
      t.match([yes.status, json(yes).code], [403, 'power_missing'])
      t.equal((await ask(place, '/v1/asks', { token, headers })).status, 403)
      t.equal((await ask(place, '/v1/asks/1', { token, headers })).status, 403)
    }
  }
  isParked(t, await start())
})

t.test('who may not answer is told why, and may say no', async (t) => {
  const peer = { seenAt: 0, chain: [], shown: 'bash[12] < sshd[3]' }
  const { start, answer, list, writes, proxy } = await setStage(t, {
    asks: {
      findPeer: async () => peer,
      judge: (asker, answerer) => (asker === peer && answerer === peer ? 'it asks itself' : undefined),
    },
  })
  await start()
  t.same((await list()).asks[0]?.who, ['bash[12] < sshd[3]'])
  for (const span of ['once', 'hour']) {
    const yes = await answer(1, { accept: true, for: span })
    t.match([yes.status, json(yes)], [403, { code: 'ask_answer_refused', detail: 'it asks itself' }])
  }
  t.ok(
    proxy.broker.audit.some(({ code }) => code === 'ask_answer_refused'),
    'it is in the audit log',
  )
  isParked(t, await start())
  t.equal((await answer(1, { accept: false })).status, 200)
  t.equal((await start()).status, 403)
  t.same(writes, [])
})

t.test('where no program can be told, the judge is asked about nobody', async (t) => {
  const judged: unknown[] = []
  const { start, answer } = await setStage(t, {
    asks: {
      judge: (...peers) => {
        judged.push(peers)
        return 'nobody can be told'
      },
    },
  })
  await start()
  t.equal((await answer(1, { accept: true })).status, 403)
  t.same(judged, [[undefined, undefined]])
})

t.test('an answer to another question than the one that was seen does nothing', async (t) => {
  const { start, answer, list } = await setStage(t)
  await start()
  const [one] = (await list()).asks
  t.equal((await answer(1, { accept: true, digest: 'f'.repeat(64) })).status, 404)
  t.equal((await answer(1, { accept: true, digest: one?.digest })).status, 200)
})

const BAD: readonly (readonly [what: string, path: string, body: unknown, status: number])[] = [
  ['no answer', '/v1/asks/1', {}, 400],
  ['a span that there is not', '/v1/asks/1', { accept: true, for: 'day' }, 400],
  ['a no for an hour', '/v1/asks/1', { accept: false, for: 'hour' }, 400],
  ['an unknown field', '/v1/asks/1', { accept: true, always: true }, 400],
  ['no number', '/v1/asks/x', { accept: true }, 400],
  ['an unknown question', '/v1/asks/99', { accept: true }, 404],
]
t.test('bad answers change nothing', async (t) => {
  const { start, proxy } = await setStage(t)
  await start()
  for (const [what, path, body, status] of BAD) {
    t.equal((await ask(proxy.socket, path, { method: 'POST', body })).status, status, what)
  }
  isParked(t, await start())
})

t.test('an operation that the table does not have is allowed only once', async (t) => {
  const { send, answer } = await setStage(t)
  await send('POST', '/something/new', {})
  t.equal((await answer(1, { accept: true, for: 'hour' })).status, 400)
  t.equal((await answer(1, { accept: true })).status, 200)
  t.equal((await send('POST', '/something/new', {})).status, 201)
})

t.test('tokens of marked profiles ask before writes; the owner without a token does not', async (t) => {
  const { proxy } = await setStage(t, { asks: { profiles: ['cloud'] } })
  const plain = await proxy.broker.token('proxy')
  const url = `${proxy.base}${START}`
  isParked(t, await ask(proxy.tcp, url, { method: 'POST', token: plain, body: {} }))
  t.equal((await ask(proxy.tcp, `${proxy.base}/flows/${FLOW}`, { token: plain })).status, 200)
  t.equal((await ask(proxy.socket, url, { method: 'POST', body: {} })).status, 201)
  const elsewhere = '/proxy/server/api/deployments/'
  t.equal((await ask(proxy.tcp, elsewhere, { method: 'POST', token: plain, body: {} })).status, 201)
})

const CANCEL = { state: { type: 'CANCELLING' } }
t.test('a cancel waits for its yes, and the end of a run that was cancelled does not', async (t) => {
  const { send, list, answer, writes } = await setStage(t)
  const path = `/flow_runs/${ID}/set_state`
  isParked(t, await send('POST', path, CANCEL))
  t.same(writes, [])
  t.match((await list()).asks, [{ sentence: /^cancel flow run /, effect: 'works' }])
  const ended = { state: { type: 'CANCELLED', name: 'Cancelled' }, force: true }
  t.equal((await send('POST', path, ended)).status, 201)
  await answer(1, { accept: true })
  t.equal((await send('POST', path, CANCEL)).status, 201)
  isParked(t, await send('POST', path, CANCEL))
  t.equal(writes.length, 2)
})

const RUNS: readonly (readonly [what: string, body: string, passes: boolean])[] = [
  ['a run of its own', '{"flow_id":"f","deployment_id":null}', true],
  ['a run of a deployment', '{"flow_id":"f","deployment_id":"d"}', false],
  ['a run in a work pool', '{"flow_id":"f","work_pool_name":"p"}', false],
  ['JSON as Python alone reads it', '{"x":NaN,"work_pool_name":"p"}', false],
  ['JSON with two of a name', '{"work_pool_name":null,"work_pool_name":"p"}', false],
  ['JSON with a byte order mark', '\ufeff{"work_pool_name":"p"}', false],
  ['UTF-16', Buffer.from('{"work_pool_name":"p"}', 'utf16le').toString('latin1'), false],
]
for (const [what, body, passes] of RUNS) {
  t.test(`a flow that registers ${what} ${passes ? 'passes' : 'waits'}`, async (t) => {
    const { send, writes } = await setStage(t, { mode: 'all' })
    const sent = await send('POST', '/flow_runs/', body)
    t.equal(sent.status, passes ? 201 : 503)
    t.equal(writes.length, passes ? 1 : 0)
  })
}

t.test('names that Prefect does not tell are ids', async (t) => {
  const { send, list } = await setStage(t)
  await send('DELETE', `/deployments/${FLOW}`)
  t.match((await list()).asks, [{ sentence: new RegExp(`^delete deployment ${FLOW} in `) }])
})

t.test('events and logs have the sentence, and never the body or a key', async (t) => {
  const { start, list, answer, proxy } = await setStage(t)
  const seen: string[] = []
  proxy.broker.deps.events.onEvent((event) => seen.push(JSON.stringify(event)))
  const key = 'pnu_0123456789abcdefghijklmnopqrstuvwxyz'
  await start({ parameters: { password: 'hunter2', key } })
  await list()
  const shown = json(await ask(proxy.socket, '/v1/asks/1'))
  t.match(shown.body, /hunter2/, 'the owner sees the body')
  t.notMatch(shown.body, /pnu_/, 'but no key')
  await answer(1, { accept: false })
  t.match(seen.join('\n'), /"ask\.opened".*start deployment Testing\/nightly[\s\S]*"ask\.closed".*refused/)
  for (const text of [seen.join(), JSON.stringify(proxy.broker.logged), JSON.stringify(proxy.broker.audit)]) {
    t.notMatch(text, /hunter2|pnu_0123/)
  }
})
