/** A stolen job token: it cannot get the key, create one, or get another token. */
import t, { type Test } from 'tap'
import { startCloudSimulator } from '../../sim/simulator.js'
import { Secret } from '../../src/std/secret.js'
import { ask, askRaw, json, testBoth } from '../fixtures/api-under-test.js'
import { startProxy } from '../fixtures/proxy-under-test.js'
import { startNaiveProxy } from './fixtures/naive-proxy.js'

const SECRET = /pn[ub]_[A-Za-z0-9]{20}|pab_[\w-]{43}/

/** A Prefect that really creates keys, and the profile's own key for it. */
async function startStage(t: Test, recogniser: 'on' | 'off') {
  const sim = await startCloudSimulator({
    keyListing: true,
    accounts: [{ handle: 'prefect', workspaces: ['terry'] }],
    deletedKeyGrace: 0,
  })
  t.teardown(() => sim.close())
  const origin = new URL(sim.apiUrl).origin
  const { accountId, id: workspaceId } = sim.directory.workspace('prefect/terry')
  const key = sim.issueKey()
  const proxy = await startProxy(t, origin, { recogniser })
  proxy.broker.serve('cloud', {
    apiUrl: sim.workspaceUrl('prefect/terry'),
    cloudApiUrl: sim.apiUrl,
    apiKey: new Secret(key),
    workspace: { accountId, workspaceId },
  })
  const user = sim.keys.authenticate(key)
  const token = await proxy.broker.token('proxy', ['cloud'])
  return { sim, origin, accountId, workspaceId, key, proxy, token, user }
}

testBoth(t, 'gets nothing from our own routes, however they are written', async (t, recogniser) => {
  const { proxy, token, key } = await startStage(t, recogniser)
  const { paths } = json(await ask(proxy.socket, '/openapi.json'))
  if (typeof paths !== 'object' || paths === null) throw new Error('no description')
  const asked: string[] = []
  const before = proxy.broker.calls.length
  for (const [described, methods] of Object.entries(paths)) {
    if (described.startsWith('/proxy/') || described === '/livez') continue
    const path = described.replace(/\{\w+\}/g, 'cloud')
    for (const method of Object.keys(methods).filter((name) => /^[a-z]+$/.test(name))) {
      if (method === 'parameters') continue
      for (const place of [proxy.tcp, proxy.restricted, proxy.socket]) {
        const body = method === 'get' ? {} : { body: bodyFor(path) }
        const answer = await ask(place, path, { method: method.toUpperCase(), token, ...body })
        asked.push(`${method} ${path}`)
        if (answer.status !== 403) t.fail(`${method} ${path}: ${answer.status}`)
        if (SECRET.test(answer.text) || answer.text.includes(key)) t.fail(`${method} ${path} tells a secret`)
      }
    }
  }
  t.ok(asked.length > 100, `${asked.length} requests, all refused`)
  const head = `Host: 127.0.0.1:${proxy.tcp.port}\r\nAuthorization: Bearer ${token}\r\n`
  const disguises = [
    'GET /V1/credentials HTTP/1.1\r\n',
    'GET /v1/credentials/ HTTP/1.1\r\n',
    'GET //v1/credentials HTTP/1.1\r\n',
    'GET /v1/../v1/credentials HTTP/1.1\r\n',
    'GET /v1/%63redentials HTTP/1.1\r\n',
    'GET /proxy/cloud/api/../../../v1/credentials HTTP/1.1\r\n',
    'GET /proxy/cloud/api/%2e%2e/%2e%2e/%2e%2e/v1/credentials HTTP/1.1\r\n',
    'GET /proxy/../v1/credentials HTTP/1.1\r\n',
    'GET /proxy/cloud%2f..%2f..%2fv1%2fcredentials/api/x HTTP/1.1\r\n',
    `GET http://127.0.0.1:${proxy.tcp.port}/v1/credentials HTTP/1.1\r\n`,
    'GET /livez HTTP/1.1\r\nX-HTTP-Method-Override: POST\r\nX-Original-URL: /v1/credentials\r\n',
    'POST /livez HTTP/1.1\r\nX-HTTP-Method-Override: GET\r\nContent-Length: 0\r\n',
    'GET /v1/credentials HTTP/1.1\r\nUpgrade: websocket\r\n',
  ]
  for (const line of disguises) {
    const answer = await askRaw(proxy.tcp, `${line}${head}Connection: close\r\n\r\n`)
    t.match(answer, /^HTTP\/1\.1 (?:4\d\d|200 OK[\s\S]*\{"live":true\})/, line)
    t.notMatch(answer, SECRET)
  }
  t.same(proxy.broker.calls.slice(before), [], 'nothing was done')
  t.same(proxy.broker.handedOut, [], 'no key was given')
  t.equal(proxy.broker.deps.tokens.list().length, 1, 'no token was made')
})

function bodyFor(path: string): unknown {
  if (path === '/v1/env') return { mode: 'proxy', name: 'x', profile: 'cloud', format: 'json' }
  if (path === '/v1/tokens') return { name: 'x', power: 'use', profiles: ['cloud'], expires_in: '8h' }
  if (path === '/v1/keys') return { profile: 'cloud', name: 'x' }
  return {}
}

testBoth(
  t,
  'reaches no route of Prefect that creates, reads, changes or deletes keys',
  async (t, recogniser) => {
    const { sim, origin, accountId, workspaceId, key, proxy, token, user } = await startStage(t, recogniser)
    const userId = user?.ownerId ?? 'x'
    const own = `/accounts/${accountId}/workspaces/${workspaceId}`
    const keys = `/users/${userId}/api_keys`
    const mint = { name: 'mine' }
    let names = 0
    const attempts: readonly (readonly [method: string, path: string, body?: unknown])[] = [
      ['POST', keys, mint],
      ['POST', `${keys}/`, mint],
      ['GET', keys],
      ['DELETE', `${keys}/${userId}`],
      ['POST', keys.replace('users', 'Users'), mint],
      ['POST', keys.replace('api_keys', 'API_KEYS'), mint],
      ['POST', keys.replace('api_keys', 'api%5fkeys'), mint],
      ['POST', keys.replace('api_keys', 'api-keys'), mint],
      ['POST', `/me/api_keys`, mint],
      ['POST', `/accounts/${accountId}/bots/`, mint],
      ['POST', `/accounts/${accountId}/bots/filter`, {}],
      ['POST', `/accounts/${accountId}/bots/x/rotate_api_key`, {}],
      ['POST', `/accounts/${accountId}/Bots/`, mint],
      ['POST', `/accounts/${accountId}//bots/`, mint],
      ['POST', `/accounts/${accountId}/./bots/`, mint],
      ['POST', `/accounts/${accountId}/%62ots/`, mint],
      ['POST', `/accounts/${accountId}/service_accounts/`, mint],
      ['POST', `${own}/api_keys`, mint],
      ['POST', `${own}/bots/`, mint],
      ['POST', `${own}/../../bots/`, mint],
      ['POST', `${own}/..%2f..%2fbots%2f`, mint],
      ['POST', `${own}/../../../..${keys}`, mint],
      ['POST', `${own}/%2e%2e/%2e%2e/%2e%2e/%2e%2e${keys}`, mint],
      ['POST', `${own}\\..\\..\\bots\\`, mint],
    ]
    const naive = await startNaiveProxy(t, origin, key)
    const shoot = (port: number, [method, path, body]: (typeof attempts)[number]) => {
      // Names of service accounts are unique.
      names += 1
      const text = body === undefined ? '' : JSON.stringify(body === mint ? { name: `mine ${names}` } : body)
      return askRaw(
        { port, host: '127.0.0.1' },
        `${method} /proxy/cloud/api${path} HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\n` +
          `Authorization: Bearer ${token}\r\nContent-Type: application/json\r\nContent-Length: ${text.length}\r\n` +
          `Connection: close\r\n\r\n${text}`,
      )
    }
    const made = sim.keys.all().length
    const minted: string[] = []
    for (const attempt of attempts) minted.push(...(/pn[ub]_\w{30,}/.exec(await shoot(naive, attempt)) ?? []))
    t.ok(minted.length >= 5, `a naive proxy gave ${minted.length} keys away`)
    const after = sim.keys.all().length
    t.ok(after > made)
    sim.forgetRequests()
    for (const attempt of attempts) {
      const answer = await shoot(proxy.tcp.port, attempt)
      t.match(answer, /^HTTP\/1\.1 403 /, attempt.slice(0, 2).join(' '))
      t.notMatch(answer, SECRET)
    }
    t.equal(sim.keys.all().length, after, 'ours none')
    t.same(sim.requests, [], 'Prefect was not even asked')
    const me = await ask(proxy.tcp, '/proxy/cloud/api/me/', { token })
    t.equal(me.status, 200, 'what a job needs goes through')
    t.notMatch(me.text, SECRET)
  },
)
