/** A token's budget at the proxy, and what its policy lacks but a yes lets pass. */
import { once } from 'node:events'
import t, { type Test } from 'tap'
import type { TokenLimits } from '../../src/tokens/tokens.js'
import { auditList } from '../../src/wire/events.js'
import { ask, json } from '../fixtures/api-under-test.js'
import { bodyOf, OWN, startProxy, startUpstream } from '../fixtures/proxy-under-test.js'
import { auth, openSocket, said, startPrefect } from './fixtures/prefect-sockets.js'

const ID = '44444444-4444-4444-4444-444444444444'
const START = `/deployments/${ID}/create_flow_run`
const SET_STATE = `/flow_runs/${ID}/set_state`
const READ = '/flows/filter'
const CANCEL = { state: { type: 'CANCELLING', name: 'Cancelling' } }
const RUNNING = { state: { type: 'RUNNING', name: 'Running' } }

async function setStage(t: Test, limits: TokenLimits) {
  const heard: string[] = []
  let status = 200
  const { url } = await startUpstream(t, (request, response) => {
    void bodyOf(request).then(() => {
      if (request.method !== 'GET') heard.push(`${request.method} ${request.url?.replace(`/api${OWN}`, '')}`)
      response.writeHead(status, { 'content-type': 'application/json' }).end('{}')
    })
  })
  const proxy = await startProxy(t, url)
  const { tokens } = proxy.broker.deps
  const wanted = { name: 'agent', power: 'proxy', profiles: ['*'], lifeMs: 600_000 } as const
  const { token, facts } = await tokens.create({ ...wanted, ...limits })
  return {
    ...{ heard, proxy, token, id: facts.id },
    post: (path: string, body: unknown = {}) =>
      ask(proxy.tcp, `${proxy.base}${path}`, { method: 'POST', token, body }),
    show: async () => json(await ask(proxy.socket, `/v1/tokens/${facts.id}`)),
    yes: (id: number) => ask(proxy.socket, `/v1/asks/${id}`, { method: 'POST', body: { accept: true } }),
    respond(next: number) {
      status = next
    },
  }
}

t.test('so many requests in a minute, then 429 with seconds that Prefect reads', async (t) => {
  const { post, heard, show, id } = await setStage(t, { budget: { requestsPerMinute: 2 } })
  for (const path of [READ, START]) t.equal((await post(path)).status, 200)
  const refused = await post(READ)
  t.equal(refused.status, 429)
  const seconds = Number(refused.headers['retry-after'])
  t.ok(Number.isInteger(seconds) && seconds > 50 && seconds <= 61, String(seconds))
  t.equal(refused.headers['prefect-maintenance'], undefined)
  t.match(json(refused), {
    code: 'budget_spent',
    detail: `token 'agent' has used up its budget of 2 requests in a minute (prefect-auth token show ${id})`,
  })
  t.equal(heard.length, 2)
  t.match(await show(), {
    requests_per_minute: 2,
    requests_last_minute: 2,
    refused: [{ operation: 'POST /flows/filter', by: 'budget', count: 1 }],
  })
})

t.test('a write is what a question would be asked about: reads and bookkeeping are none', async (t) => {
  const { post, show, proxy, id } = await setStage(t, { budget: { writesPerHour: 2 } })
  for (const [path, body] of [
    [READ, {}],
    ['/logs/', []],
    [SET_STATE, RUNNING],
    ['/flow_runs/', { flow_id: ID }],
  ] as const)
    t.equal((await post(path, body)).status, 200, path)
  t.match(await show(), { writes_last_hour: 0 })
  t.equal((await post(SET_STATE, CANCEL)).status, 200)
  t.equal((await post(START)).status, 200)
  for (const [path, body] of [
    [SET_STATE, CANCEL],
    [START, {}],
    ['/flow_runs/', { flow_id: ID, work_pool_name: 'p' }],
    ['/something/new', {}],
  ] as const)
    t.match([(await post(path, body)).status, path], [429, path])
  t.equal((await post(READ)).status, 200)
  const { entries } = auditList.parse(json(await ask(proxy.socket, '/v1/audit?token=agent')))
  t.same(
    entries.filter(({ action }) => action === 'write').map(({ operation, token }) => [operation, token]),
    [
      ['POST /flow_runs/{id}/set_state', id],
      ['POST /deployments/{id}/create_flow_run', id],
    ],
    'each write that was sent is in its audit',
  )
  t.ok(entries.some(({ code }) => code === 'budget_spent'))
})

t.test('of many at once, no more pass than the budget has', async (t) => {
  const { post, heard } = await setStage(t, { budget: { writesPerHour: 3 } })
  const answers = await Promise.all(Array.from({ length: 12 }, () => post(START)))
  t.equal(answers.filter(({ status }) => status === 200).length, 3)
  t.equal(heard.length, 3)
})

t.test('a request that waits, is refused, or never reached Prefect uses nothing up', async (t) => {
  const { post, show, yes, proxy, heard } = await setStage(t, {
    ...{ policy: { may: 'run' }, ask: 'write' },
    budget: { writesPerHour: 1, requestsPerMinute: 1 },
  })
  for (let turn = 0; turn < 5; turn += 1) t.equal((await post(START)).status, 503)
  t.equal((await post('/deployments/')).status, 403)
  t.match(await show(), { writes_last_hour: 0, requests_last_minute: 0 })
  await yes(1)
  t.equal((await post(START)).status, 200)
  t.match(await show(), { writes_last_hour: 1, requests_last_minute: 1 })
  t.equal(heard.length, 1)
  const refused = await post(START)
  t.equal(refused.status, 429, 'nobody is asked about what could not be sent')
  t.match(json(await ask(proxy.socket, '/v1/asks')), { asks: [] })
})

t.test('what the key could not reach is given back, and what Prefect refused is not', async (t) => {
  const { post, show, respond } = await setStage(t, { budget: { writesPerHour: 5 } })
  respond(401)
  t.equal((await post(START)).status, 503)
  t.match(await show(), { writes_last_hour: 0 })
  respond(409)
  t.equal((await post(START)).status, 409)
  t.match(await show(), { writes_last_hour: 1 })
})

t.test('a handshake of a WebSocket is a request, wherever its token is', async (t) => {
  const { url } = await startPrefect(t)
  const proxy = await startProxy(t, url)
  const wanted = { name: 'agent', power: 'proxy', profiles: ['*'], lifeMs: 600_000 } as const
  const { token } = await proxy.broker.deps.tokens.create({ ...wanted, budget: { requestsPerMinute: 2 } })
  const path = `${proxy.base}/events/out`
  for (const options of [{ token }, { protocols: ['prefect'] }]) {
    const socket = openSocket(t, proxy.tcp, path, options)
    await once(socket, 'open')
    socket.send(auth(token))
    await said(socket)
  }
  const framed = openSocket(t, proxy.tcp, path, { protocols: ['prefect'] })
  await once(framed, 'open')
  framed.send(auth(token))
  const [code, reason] = await once(framed, 'close')
  t.same([code, String(reason)], [1011, 'budget_spent'], 'a close after which clients come back')
  const [, response] = await once(openSocket(t, proxy.tcp, path, { token }), 'unexpected-response')
  t.equal(response.statusCode, 429)
})

const ASKING = { policy: { may: 'read', beyond: 'asks' }, ask: 'write' } as const
const BEYOND: readonly (readonly [path: string, body: unknown, status: number, code: string])[] = [
  [READ, {}, 200, ''],
  [START, {}, 503, 'ask_waiting'],
  [`/deployments/${ID}/resume_deployment`, {}, 503, 'ask_waiting'],
  [SET_STATE, CANCEL, 503, 'ask_waiting'],
  ['/flow_runs/', { flow_id: ID, deployment_id: ID }, 503, 'ask_waiting'],
  [SET_STATE, RUNNING, 403, 'policy_refused'],
  [SET_STATE, '', 403, 'policy_refused'],
  ['/flow_runs/', { flow_id: ID }, 403, 'policy_refused'],
  ['/logs/', [], 403, 'policy_refused'],
  ['/something/new', {}, 403, 'policy_refused'],
  ['/variables/', {}, 403, 'policy_refused'],
]
for (const [path, body, status, code] of BEYOND) {
  t.test(
    `read that asks before the rest: ${path} ${JSON.stringify(body)} gets ${status} ${code}`,
    async (t) => {
      const denied = { ...ASKING, policy: { ...ASKING.policy, deny: ['POST /variables/'] } }
      const { post, heard, yes } = await setStage(t, denied)
      const answer = await post(path, body)
      t.equal(answer.status, status, answer.text)
      if (status !== 200) t.equal(json(answer).code, code)
      t.equal(heard.length, status === 200 ? 1 : 0)
      if (code !== 'ask_waiting') return
      await yes(1)
      t.equal((await post(path, body)).status, 200)
      t.equal((await post(path, body)).status, 503, 'once')
      t.equal(heard.length, 1)
    },
  )
}

t.test(
  'a yes for an hour lets the operation pass, and it stays the read of Secret blocks that is hidden',
  async (t) => {
    const { post, proxy, heard } = await setStage(t, ASKING)
    await post(START)
    await ask(proxy.socket, '/v1/asks/1', { method: 'POST', body: { accept: true, for: 'hour' } })
    for (const a of [1, 2]) t.equal((await post(START, { parameters: { a } })).status, 200)
    const templated = await post(START, { job_variables: { x: '{{ prefect.blocks.secret.s }}' } })
    t.match([templated.status, json(templated).code], [400, 'bad_request'])
    t.equal(heard.length, 2)
  },
)

t.test('a policy that does not ask refuses as before', async (t) => {
  for (const policy of [
    { may: 'read' },
    { may: 'run', deny: ['POST /deployments/{id}/create_flow_run'] },
  ] as const) {
    const { post, heard } = await setStage(t, { policy, ask: 'write' })
    t.equal((await post(START)).status, 403)
    t.same(heard, [])
  }
})
