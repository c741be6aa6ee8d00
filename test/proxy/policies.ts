/** A token's policy at the proxy: every kind of operation, under every policy, by every door, over HTTP and WebSockets. */
import { once } from 'node:events'
import t, { type Test } from 'tap'
import type { WebSocket } from 'ws'
import { BrokerError } from '../../src/base/errors.js'
import type { Policy } from '../../src/policy/policy.js'
import { requirePolicy } from '../../src/proxy/ruling.js'
import { POLICY_NAMES, type PolicyName } from '../../src/wire/kinds.js'
import { ask, askRaw, json } from '../fixtures/api-under-test.js'
import { OWN, startProxy, startUpstream } from '../fixtures/proxy-under-test.js'
import { auth, openSocket, said, startPrefect } from './fixtures/prefect-sockets.js'

const ID = '44444444-4444-4444-4444-444444444444'

/** Method, path, operation, and the policies that include it. */
const REQUESTS: readonly (readonly [string, string, string, readonly PolicyName[]])[] = [
  ['GET', `/flows/${ID}`, 'GET /flows/{id}', POLICY_NAMES],
  ['GET', `/flows/${ID}/`, 'GET /flows/{id}', POLICY_NAMES],
  ['GET', '/flows/name/delete', 'GET /flows/name/{name}', POLICY_NAMES],
  ['HEAD', `/flows/${ID}`, 'GET /flows/{id}', POLICY_NAMES],
  ['OPTIONS', `/flows/${ID}`, 'GET /flows/{id}', POLICY_NAMES],
  ['POST', '/flows/filter', 'POST /flows/filter', POLICY_NAMES],
  ['POST', '/flows/filter?include=%2Fdeployments', 'POST /flows/filter', POLICY_NAMES],
  [
    'POST',
    `/deployments/${ID}/create_flow_run`,
    'POST /deployments/{id}/create_flow_run',
    ['run', 'work', 'deploy', 'all'],
  ],
  ['POST', `/flow_runs/${ID}/set_state`, 'POST /flow_runs/{id}/set_state', ['run', 'work', 'deploy', 'all']],
  ['POST', '/logs/', 'POST /logs/', ['work', 'deploy', 'all']],
  ['POST', '/deployments/', 'POST /deployments/', ['deploy', 'all']],
  ['PATCH', `/deployments/${ID}`, 'PATCH /deployments/{id}', ['deploy', 'all']],
  ['DELETE', `/deployments/${ID}`, 'DELETE /deployments/{id}', ['all']],
  ['DELETE', `/flows/${ID}`, 'DELETE /flows/{id}', ['all']],
  ['POST', '/new_things/filter', 'POST /new_things/filter', ['all']],
  ['GET', '/new_things', 'GET /new_things', ['all']],
  ['PUT', `/flows/${ID}`, 'PUT /flows/{id}', ['all']],
]

async function setStage(t: Test) {
  const heard: string[] = []
  const { url } = await startUpstream(t, (request, response) => {
    heard.push(`${request.method} ${request.url}`)
    request.resume()
    response.end('{}')
  })
  const proxy = await startProxy(t, url)
  const { tokens } = proxy.broker.deps
  const tokenFor = async (policy: Policy | undefined, profiles = ['cloud', 'server']) => {
    const limits = policy === undefined ? {} : { policy }
    const wanted = { name: 'dashboard', power: 'proxy', profiles, lifeMs: 60_000, ...limits } as const
    return tokens.create(wanted)
  }
  return { heard, proxy, tokens, tokenFor }
}

const PLACES = ['tcp', 'restricted', 'socket'] as const
const PROFILES = [
  ['cloud', OWN],
  ['server', ''],
] as const

for (const may of POLICY_NAMES) {
  t.test(`forwards what '${may}' includes and nothing else, by every door`, async (t) => {
    const { heard, proxy, tokenFor } = await setStage(t)
    const { token, facts } = await tokenFor(may === 'all' ? { may, deny: ['GET /x'] } : { may })
    let refusals = 0
    for (const door of PLACES) {
      for (const [profile, below] of PROFILES) {
        for (const [method, path, operation, included] of REQUESTS) {
          // At a self-hosted server the ground floor lets nobody write there.
          if (profile === 'server' && path === '/new_things/filter') continue
          heard.length = 0
          const url = `/proxy/${profile}/api${below}${path}`
          const body = method === 'POST' || method === 'PUT' ? { body: {} } : {}
          const answer = await ask(proxy[door], url, { method, token, ...body })
          const what = `${method} ${path} at ${profile} by ${door}`
          if (included.includes(may)) {
            if (answer.status !== 200 || heard.length !== 1) t.fail(`${what}: ${answer.status}`)
            continue
          }
          refusals += 1
          if (answer.status !== 403 || heard.length > 0) t.fail(`${what}: ${answer.status}`)
          if (method !== 'HEAD') {
            const { code, detail } = json(answer)
            if (code !== 'policy_refused') t.fail(`${what}: ${code}`)
            const rest = `\\(prefect-auth token show ${facts.id}\\)$`
            t.match(detail, new RegExp(`^token 'dashboard' may not ${quoted(operation)}: .+ ${rest}`), what)
          }
        }
      }
    }
    const lines = proxy.broker.audit.filter(({ code }) => code === 'policy_refused')
    t.equal(lines.length > 0, refusals > 0, 'and it is in the audit log')
    if (refusals > 0) t.match(lines[0], { outcome: 'refused', tokenName: 'dashboard' })
  })
}

const quoted = (text: string) => text.replace(/[{}/.]/g, '\\$&')

t.test('a refusal keeps the connection of a client whose body has come', async (t) => {
  const { proxy, tokenFor } = await setStage(t)
  const { token } = await tokenFor({ may: 'read' })
  const requestOf = (connection: string) =>
    `POST /proxy/cloud/api${OWN}/deployments/ HTTP/1.1\r\nHost: authd\r\nAuthorization: Bearer ${token}\r\nContent-Length: 2\r\nConnection: ${connection}\r\n\r\n{}`
  const answers = await askRaw(proxy.restricted, requestOf('keep-alive') + requestOf('close'))
  t.equal(answers.match(/HTTP\/1\.1 403 /g)?.length, 2, answers)
})

t.test('single operations: allowed, denied, and denied although allowed', async (t) => {
  const { heard, proxy, tokenFor } = await setStage(t)
  const RUN = 'POST /deployments/{id}/create_flow_run'
  const rows = [
    [{ may: 'read', allow: [RUN] }, 200, undefined],
    [{ may: 'run', deny: [RUN] }, 403, /it was created with --deny for it/],
    [{ may: 'read', allow: [RUN], deny: [RUN] }, 403, /it was created with --deny for it/],
    [{ may: 'all', deny: [RUN] }, 403, /it was created with --deny for it/],
    [{ may: 'read' }, 403, /that starts or changes runs, which its policy 'read' does not include/],
  ] as const
  for (const [policy, status, detail] of rows) {
    heard.length = 0
    const { token } = await tokenFor(policy)
    for (const spelling of [
      'create_flow_run',
      'create_flow_run/',
      'create%5fflow_run',
      '%63reate_flow_run',
    ]) {
      const path = `${proxy.base}/deployments/${ID}/${spelling}`
      const answer = await ask(proxy.tcp, path, { method: 'POST', token, body: {} })
      t.equal(answer.status, status, `${JSON.stringify(policy)} ${spelling}: ${answer.text}`)
      if (detail !== undefined) t.match(json(answer).detail, detail)
    }
    t.equal(heard.length, status === 200 ? 4 : 0)
  }
})

t.test('without a policy and questions nothing is looked up', async (t) => {
  const { proxy, tokenFor } = await setStage(t)
  const { token } = await tokenFor(undefined)
  for (const path of ['/new_things/filter', '/deployments/', `/flows/${ID}`])
    t.equal((await ask(proxy.tcp, `${proxy.base}${path}`, { method: 'POST', token, body: {} })).status, 200)
  const free = { id: 'a', name: 'a', power: 'proxy', profiles: ['*'] } as const
  t.equal(requirePolicy('POST', '/deployments/', free), undefined)
  t.equal(requirePolicy('POST', '/deployments/', undefined), undefined)
  t.match(requirePolicy('POST', '/deployments/', { ...free, ask: 'write' }), { effect: 'deploys' })
  t.match(requirePolicy('POST', '/new_things', { ...free, ask: 'write' }), { mayPass: true })
})

t.test('the ground floor stays: a policy opens nothing that is closed to all', async (t) => {
  const { heard, proxy, tokenFor } = await setStage(t)
  const closed = ['POST /bots/', 'POST /users/{id}/api_keys', 'DELETE /']
  const { token, facts } = await tokenFor({ may: 'read', allow: closed })
  for (const [method, path] of [
    ['POST', '/bots/'],
    ['POST', `/users/${ID}/api_keys`],
    ['DELETE', OWN],
    ['POST', `${OWN}/api_keys`],
    ['GET', `/accounts/${ID}/workspaces/${ID}/flows/x`],
  ] as const) {
    const answer = await ask(proxy.tcp, `/proxy/cloud/api${path}`, { method, token })
    t.match([answer.status, json(answer)], [403, { code: 'proxy_path_refused' }], path)
  }
  t.same(heard, [])
  const shown = json(await ask(proxy.socket, `/v1/tokens/${facts.id}`)).refused
  t.match(shown, { length: 5, 0: { by: 'proxy', count: 1 } })
})

t.test('counts refusals by operation for this token alone', async (t) => {
  const { proxy, tokenFor } = await setStage(t)
  const [one, other] = [await tokenFor({ may: 'read' }), await tokenFor({ may: 'read' })]
  const send = (method: string, path: string, { token }: typeof one) =>
    ask(proxy.tcp, `${proxy.base}${path}`, { method, token })
  await send('DELETE', `/flows/${ID}`, one)
  await send('POST', '/deployments/', one)
  await send('DELETE', '/flows/55555555-5555-5555-5555-555555555555', one)
  await send('TRACE', '/flows', one)
  await send('POST', '/logs/', other)
  await send('GET', `/flows/${ID}`, one)
  const refused = async ({ facts }: typeof one) =>
    json(await ask(proxy.socket, `/v1/tokens/${facts.id}`)).refused
  t.match(await refused(one), [
    { by: 'proxy', count: 1 },
    { operation: 'DELETE /flows/{id}', count: 2, by: 'policy', allowed_by: 'all', effect: 'administers' },
    { operation: 'POST /deployments/', count: 1, by: 'policy', allowed_by: 'deploy' },
  ])
  t.match(await refused(other), [{ operation: 'POST /logs/', count: 1, allowed_by: 'work' }])
  const [line] = proxy.app.proxyTraffic()
  t.match(line?.refused, [{ operation: 'POST /logs/' }, {}, {}, {}], 'and status has them by name')
})

t.test('is refused before anything else is looked at: no key is needed for it', async (t) => {
  const { proxy, tokenFor } = await setStage(t)
  const { token } = await tokenFor({ may: 'read' })
  proxy.broker.refuse('cloud', new BrokerError('login_required', 'no key'))
  const send = (method: string, path: string) => ask(proxy.tcp, `${proxy.base}${path}`, { method, token })
  t.equal((await send('POST', '/deployments/')).status, 403, 'a job that waited for this would wait in vain')
  t.equal((await send('GET', `/flows/${ID}`)).status, 503)
})

/** How a WebSocket ended: the status that refused its handshake, or its close code and reason. */
async function endOf(socket: WebSocket, first?: string): Promise<string> {
  return await new Promise((resolve) => {
    socket.once('unexpected-response', (_request, response) => {
      response.resume()
      resolve(String(response.statusCode))
    })
    socket.once('open', () => first !== undefined && socket.send(first))
    socket.once('message', (data) => resolve(`heard ${String(data)}`))
    socket.once('close', (code, reason) => resolve(`${code} ${String(reason)}`))
  })
}

const JOIN = '{"type":"auth_success"}'

async function openStage(t: Test) {
  const prefect = await startPrefect(t)
  const proxy = await startProxy(t, prefect.url)
  const { tokens } = proxy.broker.deps
  const job = (profile: string, policy?: Policy) =>
    tokens.createForJob({ name: 'job', profile, needsTicket: true, ...(policy ? { policy } : {}) })
  return { ...prefect, proxy, tokens, job }
}

const SOCKETS = [
  ['/events/in', 'GET /events/in', ['work', 'deploy', 'all']],
  ['/events/out', 'GET /events/out', POLICY_NAMES],
  ['/logs/out', 'GET /logs/out', POLICY_NAMES],
] as const

for (const [path, operation, included] of SOCKETS) {
  t.test(`a WebSocket at ${path} is ruled by its token, wherever that is`, async (t) => {
    const { heard, proxy, tokens, job } = await openStage(t)
    for (const may of POLICY_NAMES) {
      const isIncluded = included.some((one) => one === may)
      const policy = { may, ...(may === 'all' ? { deny: ['GET /x'] } : {}) }
      for (const [profile, below, prefix] of [
        ['cloud', OWN, ''],
        ['server', '', 'prefect-auth:'],
      ] as const) {
        const { token, ticket = '', facts } = await job(profile, policy)
        const url = `/proxy/${profile}/api${below}${path}`
        const before = heard.length
        for (const door of ['tcp', 'restricted'] as const) {
          const header = openSocket(t, proxy[door], url, { token })
          const what = `${may} at ${profile} by ${door}`
          t.equal(await endOf(header, '{}'), isIncluded ? 'heard heard 2' : '403', `header: ${what}`)
          const framed = openSocket(t, proxy[door], url, { protocols: ['prefect'] })
          const end = await endOf(framed, auth(`${prefix}${token}`))
          t.equal(end, isIncluded ? `heard ${JOIN}` : '1008 policy_refused', `first frame: ${what}`)
          if (profile === 'server' && path === '/events/in') {
            const own = `/proxy/server;events=${ticket}/api/events/in`
            const end = await endOf(openSocket(t, proxy[door], own), '{}')
            t.equal(end, isIncluded ? 'heard heard 2' : '403', `ticket: ${what}`)
          }
        }
        if (isIncluded) continue
        t.equal(heard.length, before, 'nothing was dialled')
        const shown = tokens.list().find(({ id }) => id === facts.id)
        t.match(shown?.refused, [{ operation, by: 'policy', count: profile === 'cloud' ? 4 : 6 }])
      }
    }
  })
}

t.test('a token in the first frame is ruled, too, if the handshake had another', async (t) => {
  const { proxy, tokens, job } = await openStage(t)
  const [wide, narrow] = [await job('cloud'), await job('cloud', { may: 'read' })]
  const url = `${proxy.base}/events/in`
  const refusedTo = ({ facts }: typeof wide) =>
    tokens
      .list()
      .find(({ id }) => id === facts.id)
      ?.refused?.map(({ count }) => count)
  for (const token of [undefined, wide.token]) {
    const place = token === undefined ? proxy.socket : proxy.tcp
    const options = { protocols: ['prefect'], ...(token === undefined ? {} : { token }) }
    t.equal(await endOf(openSocket(t, place, url, options), auth(wide.token)), `heard ${JOIN}`)
    t.equal(await endOf(openSocket(t, place, url, options), auth(narrow.token)), '1008 policy_refused')
  }
  t.strictSame([refusedTo(wide), refusedTo(narrow)], [undefined, [2]])
  const swapped = openSocket(t, proxy.tcp, url, { token: narrow.token, protocols: ['prefect'] })
  t.equal(await endOf(swapped, auth(wide.token)), '403', 'and the other way round')
})

t.test('an open socket goes on; its token is ruled at the handshake', async (t) => {
  const { proxy, job } = await openStage(t)
  const { token } = await job('cloud', { may: 'read' })
  const socket = openSocket(t, proxy.tcp, `${proxy.base}/events/out`, { token })
  await once(socket, 'open')
  socket.send('{"type":"filter"}')
  t.equal(await said(socket), 'heard 17')
})

t.test('a handshake by another method is no way around', async (t) => {
  const { heard, proxy, job } = await openStage(t)
  const { token } = await job('cloud', { may: 'read' })
  for (const method of ['POST', 'OPTIONS', 'DELETE']) {
    const headers = {
      upgrade: 'websocket',
      connection: 'upgrade',
      'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==',
    }
    const answer = await ask(proxy.tcp, `${proxy.base}/events/in`, { method, token, headers })
    t.match(answer.status, /^40[03]$/, method)
  }
  t.same(heard, [])
})
