/** GET /v1/credentials over real sockets: the answer, its tag, and answers that are held. */
import { request } from 'node:http'
import { setTimeout as pause } from 'node:timers/promises'
import t from 'tap'
import { BrokerError } from '../../src/base/errors.js'
import { Secret } from '../../src/std/secret.js'
import { problem } from '../../src/wire/common.js'
import { credentials } from '../../src/wire/credentials.js'
import { type ApiUnderTest, ask, json, startApi } from '../fixtures/api-under-test.js'
import { AUTH_STRING, CLOUD_KEY } from '../fixtures/fake-broker.js'

const PATH = '/v1/credentials'

/** Counts the answers that are held: `held(n)` resolves once n of them wait, `released(n)` once n wait no longer. */
function countHolds({ broker }: ApiUnderTest) {
  const { credentials } = broker.deps
  const { waitForChange } = credentials
  let begun = 0
  let ended = 0
  Object.assign(credentials, {
    waitForChange: async (...args: Parameters<typeof waitForChange>) => {
      begun += 1
      await waitForChange(...args)
      ended += 1
    },
  })
  return {
    async held(count = 1) {
      while (begun < count) await pause(5)
    },
    async released(count = 1) {
      while (ended < count) await pause(5)
    },
  }
}

function wait(tag: string, seconds = 30) {
  return { 'if-none-match': tag, prefer: `wait=${seconds}` }
}

t.test('answers exactly what the schema says, and forbids caching', async (t) => {
  const api = await startApi(t)
  for (const profile of ['cloud', 'server', 'empty']) {
    const answer = await ask(api.socket, `${PATH}?profile=${profile}`)
    t.equal(answer.status, 200)
    t.same(credentials.parse(json(answer)), json(answer), 'nothing beyond the schema')
    t.equal(answer.headers['cache-control'], 'no-store')
    t.match(answer.headers['content-type'], 'application/json')
    t.notMatch(answer.text, 'null', 'what is absent is absent')
  }
  const cloud = json(await ask(api.socket, PATH))
  t.match(cloud, {
    profile: 'cloud',
    generation: 7,
    env: { PREFECT_API_KEY: CLOUD_KEY },
    key: { fingerprint: 'sha256:0123456789ab', expires_at: '2026-11-21T00:00:00.000Z' },
    workspace: { handle: 'prefect/terry' },
  })
  const server = json(await ask(api.socket, `${PATH}?profile=server`))
  t.same(server.env, {
    PREFECT_API_URL: 'http://me:hush@localhost:4200/api',
    PREFECT_API_AUTH_STRING: AUTH_STRING,
  })
})

t.test('marks a key as handed out before it is sent, and audits it', async (t) => {
  const api = await startApi(t)
  const token = await api.broker.token('use')
  await ask(api.tcp, PATH, { token, headers: { 'user-agent': 'curl/8.1' } })
  t.same(api.broker.handedOut, ['cloud'])
  t.match(api.broker.audit, [
    {
      action: 'credentials',
      outcome: 'given',
      door: 'tcp',
      profile: 'cloud',
      fingerprint: 'sha256:0123456789ab',
      tokenId: 'tok1',
      agent: 'curl/8.1',
    },
  ])
  t.notMatch(JSON.stringify(api.broker.audit), CLOUD_KEY)
})

t.test('sends nothing if the mark cannot be made durable', async (t) => {
  const api = await startApi(t)
  const { credentials: real } = api.broker.deps
  Object.assign(real, {
    markHandedOut: async () => {
      throw new BrokerError('disk_failed', 'writing the ledger failed')
    },
  })
  const answer = await ask(api.socket, PATH)
  t.equal(answer.status, 503)
  t.notMatch(answer.text, CLOUD_KEY)
  t.same(api.broker.audit, [])
})

t.test('sends 304 and nothing else to a caller that has this answer', async (t) => {
  const api = await startApi(t)
  const { headers } = await ask(api.socket, PATH)
  t.equal(headers.etag, '"cloud-7"')
  for (const tag of ['"cloud-7"', 'W/"cloud-7"', '"other", "cloud-7"']) {
    const answer = await ask(api.socket, PATH, { headers: { 'if-none-match': tag } })
    t.same([answer.status, answer.text, answer.headers.etag], [304, '', '"cloud-7"'], tag)
  }
  for (const tag of ['*', '"cloud-6"', '"server-7"', 'cloud-7']) {
    t.equal((await ask(api.socket, PATH, { headers: { 'if-none-match': tag } })).status, 200, tag)
  }
  t.equal(api.broker.handedOut.length, 5, 'a 304 hands nothing out')
})

t.test('a change makes a new answer under a new tag', async (t) => {
  const api = await startApi(t)
  await ask(api.socket, PATH)
  api.broker.serve('cloud', { apiKey: new Secret('pnu_new') })
  const answer = await ask(api.socket, PATH, { headers: { 'if-none-match': '"cloud-7"' } })
  t.equal(answer.headers.etag, '"cloud-8"')
  t.match(json(answer), { env: { PREFECT_API_KEY: 'pnu_new' } })
})

t.test('sends a held answer when it changes', async (t) => {
  const api = await startApi(t)
  const { held } = countHolds(api)
  const answer = ask(api.socket, PATH, { headers: wait('"cloud-7"') })
  await held()
  api.broker.serve('server', {})
  // A wrong answer would be on its way before this one.
  await ask(api.socket, '/livez')
  api.broker.serve('cloud', { apiKey: new Secret('pnu_new') })
  t.match(json(await answer), { generation: 8, env: { PREFECT_API_KEY: 'pnu_new' } })
})

t.test('answers at once if there is nothing to wait for', async (t) => {
  const api = await startApi(t)
  const cases = [
    { prefer: 'wait=30' },
    { prefer: 'wait=30', 'if-none-match': '"cloud-6"' },
    { prefer: 'respond-async', 'if-none-match': '"cloud-7"' },
    { prefer: 'wait=-1', 'if-none-match': '"cloud-7"' },
    { prefer: 'wait=0', 'if-none-match': '"cloud-7"' },
  ]
  for (const headers of cases) {
    const expected = headers['if-none-match'] === '"cloud-7"' ? 304 : 200
    t.equal((await ask(api.socket, PATH, { headers })).status, expected, JSON.stringify(headers))
  }
})

t.test('answers 304 when the time is up and nothing has changed', async (t) => {
  const api = await startApi(t)
  const answer = await ask(api.socket, PATH, { headers: wait('"cloud-7"', 1) })
  t.equal(answer.status, 304)
})

t.test('follows the active profile in a held answer that names none', async (t) => {
  const api = await startApi(t)
  const { held } = countHolds(api)
  const following = ask(api.socket, PATH, { headers: wait('"cloud-7"') })
  const fixed = ask(api.socket, `${PATH}?profile=cloud`, { headers: wait('"cloud-7"') })
  await held(2)
  api.broker.activate('server')
  t.match(json(await following), { profile: 'server' })
  api.broker.serve('cloud', {})
  t.match(json(await fixed), { profile: 'cloud', generation: 8 })
})

t.test('ends a held answer when the profile needs a login', async (t) => {
  const api = await startApi(t)
  const { held } = countHolds(api)
  const answer = ask(api.socket, PATH, { headers: wait('"cloud-7"') })
  await held()
  const hint = 'prefect-auth login --profile cloud'
  api.broker.refuse('cloud', new BrokerError('login_required', "profile 'cloud' has no key", { hint }))
  const { status, headers, text } = await answer
  t.equal(status, 401)
  t.match(headers['content-type'], 'application/problem+json')
  t.match(problem.parse(JSON.parse(text)), { code: 'login_required', hint, status: 401 })
})

t.test('does not send the new key to a token that was revoked while it waited', async (t) => {
  const api = await startApi(t)
  const { held } = countHolds(api)
  const token = await api.broker.token('use')
  const answer = ask(api.tcp, PATH, { token, headers: wait('"cloud-7"') })
  await held()
  await api.broker.deps.tokens.revoke('tok1')
  api.broker.serve('cloud', { apiKey: new Secret('pnu_new') })
  const { status, text } = await answer
  t.equal(status, 401)
  t.notMatch(text, 'pnu_')
  t.same(api.broker.handedOut, [])
})

t.test('forgets a caller that leaves while its answer is held', async (t) => {
  const api = await startApi(t)
  const leaving = new AbortController()
  const { held, released } = countHolds(api)
  const outgoing = request({
    ...api.socket,
    path: PATH,
    headers: { host: 'authd', ...wait('"cloud-7"') },
    signal: leaving.signal,
  })
  outgoing.on('error', () => undefined)
  outgoing.end()
  await held()
  leaving.abort()
  await released()
  t.pass('the wait has ended')
  api.broker.serve('cloud', {})
  await ask(api.socket, '/livez')
  t.same(api.broker.handedOut, [], 'nothing is handed out to nobody')
})

t.test('ends held answers with shutting_down', async (t) => {
  const api = await startApi(t)
  const { held } = countHolds(api)
  const answers = [1, 2, 3].map(() => ask(api.socket, PATH, { headers: wait('"cloud-7"') }))
  await held(3)
  const closed = api.app.close(5_000)
  for (const { status, text } of await Promise.all(answers)) {
    t.equal(status, 503)
    t.match(JSON.parse(text), { code: 'shutting_down' })
  }
  await closed
  await t.rejects(ask(api.socket, PATH), 'nobody listens any more')
})

t.test('picks the active profile for a token, or its only one, or asks for a name', async (t) => {
  const api = await startApi(t)
  const profileFor = async (token: string) => {
    const answer = await ask(api.tcp, PATH, { token })
    return json(answer).profile ?? json(answer).code
  }
  t.equal(await profileFor(await api.broker.token('use')), 'cloud')
  t.equal(await profileFor(await api.broker.token('use', ['server', 'cloud'])), 'cloud')
  t.equal(await profileFor(await api.broker.token('use', ['server'])), 'server')
  t.equal(await profileFor(await api.broker.token('use', ['server', 'empty'])), 'profile_not_allowed')
  api.broker.activate('gone')
  t.equal(await profileFor(await api.broker.token('use', ['server'])), 'server')
  t.equal(await profileFor(await api.broker.token('use')), 'profile_not_found')
})

t.test('tags a profile whose name a header cannot hold', async (t) => {
  const api = await startApi(t)
  const name = 'prod "€", blue'
  const states = api.broker.deps.credentials
  const served = { ...states.serve('cloud'), profile: name }
  const state = states.state('cloud')
  Object.assign(states, { serve: () => served, state: () => state })
  const { status, headers } = await ask(api.socket, PATH)
  t.equal(status, 200)
  const answer = await ask(api.socket, PATH, { headers: { 'if-none-match': String(headers.etag) } })
  t.equal(answer.status, 304)
})

t.test('rejects a wrong query and names the field', async (t) => {
  const api: ApiUnderTest = await startApi(t)
  const cases = [
    ['?profile=cloud&profile=server', "'profile' in the query must be of type string"],
    ['?profile=', "'profile' in the query must have at least 1"],
    ['?profil=cloud', "the query has an unknown field: 'profil'"],
    ['?pnu_0123=1', 'the query has an unknown field'],
    ['?profile=nobody', 'there is no profile of that name'],
  ] as const
  for (const [query, detail] of cases) {
    const answer = json(await ask(api.socket, `${PATH}${query}`))
    t.equal(answer.detail, detail, query)
  }
})
