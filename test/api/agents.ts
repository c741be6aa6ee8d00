/** While an agent runs, the owner's socket refuses its powers to what comes from inside of it, on every route, and to nobody else. */
import t, { type Test } from 'tap'
import type { Peer, ProcessFacts } from '../../src/os/peer.js'
import { auditList } from '../../src/wire/events.js'
import { ask, json } from '../fixtures/api-under-test.js'
import { startProxy, startUpstream } from '../fixtures/proxy-under-test.js'

const INSIDE = 'inside'
const one = (more: Partial<ProcessFacts> = {}): ProcessFacts => ({
  ...{ pid: 60, startedAt: 6, parent: 1, name: 'sh', uid: 1000, tty: 0, group: '/' },
  ...{ isSystemProgram: true, hasPlainArguments: true, isTraced: false },
  ...more,
})
const peerOf = (chain: readonly ProcessFacts[]): Peer => ({ seenAt: 9, chain, shown: 'sh[60]' })

async function setStage(t: Test) {
  const heard: string[] = []
  const { url } = await startUpstream(t, (request, response) => {
    heard.push(`${request.method} ${request.url}`)
    request.resume()
    response.end('{}')
  })
  let where: 'inside' | 'outside' | 'unknown' | 'untold' = 'outside'
  let agentId = ''
  let looks = 0
  const findPeer = async () => {
    looks += 1
    if (where === 'untold') return undefined
    if (where === 'unknown') return peerOf([])
    return peerOf([one(where === INSIDE ? { job: agentId } : {})])
  }
  const proxy = await startProxy(t, url, { asks: { findPeer } })
  const { tokens } = proxy.broker.deps
  return {
    ...{ proxy, tokens, heard, looks: () => looks },
    from(next: typeof where) {
      where = next
    },
    async startAgent() {
      const { facts, token } = await tokens.createForJob({ name: 'claude', profile: 'cloud', isAgent: true })
      agentId = facts.id
      return { id: facts.id, token }
    },
  }
}

t.test('without an agent nobody is looked at', async (t) => {
  const { proxy, from, looks } = await setStage(t)
  from('unknown')
  t.equal((await ask(proxy.socket, '/v1/credentials')).status, 200)
  t.equal(looks(), 0)
})

t.test('from inside, every route of use and admin is refused, and none of inspect', async (t) => {
  const { proxy, from, startAgent } = await setStage(t)
  const { id } = await startAgent()
  from(INSIDE)
  let refused = 0
  for (const { method, url, needs } of proxy.app.routes) {
    if (url === '/v1/events') continue
    const answer = await ask(proxy.socket, url.replaceAll(/:\w+/g, 'x'), {
      method,
      ...(method === 'POST' || method === 'PUT' || method === 'PATCH' ? { body: {} } : {}),
    })
    const isOwners = needs === 'use' || needs === 'admin' || needs === 'proxy'
    const [, code] = /"code":"(\w+)"|'prefect-auth: (\w+)'/.exec(answer.text)?.filter(Boolean) ?? []
    if (isOwners) refused += 1
    t.equal(code === 'agent_refused', isOwners, `${method} ${url}: ${answer.status} ${code}`)
  }
  t.ok(refused > 40, 'they are found')
  from('outside')
  const { entries } = auditList.parse(json(await ask(proxy.socket, `/v1/audit?token=${id}`)))
  t.match(entries.filter(({ code }) => code === 'agent_refused')[0], {
    ...{ action: 'refused', outcome: 'refused', door: 'socket', about: id, about_name: 'claude' },
  })
})

t.test('the refusal says why, and what to do', async (t) => {
  const { proxy, from, startAgent } = await setStage(t)
  await startAgent()
  from(INSIDE)
  const answer = await ask(proxy.socket, '/v1/credentials')
  t.equal(answer.status, 403)
  t.match(json(answer), {
    detail:
      "this program runs inside the agent 'claude' (PREFECT_AUTH_JOB names the agent), and the owner's socket gives an agent neither credentials nor administration",
    hint: 'use the variables that the agent was started with, or run this outside of it',
  })
  t.match(
    (await ask(proxy.socket, '/v1/env')).text,
    /agent_refused.*false/,
    'a shell that evaluates it fails',
  )
})

t.test('the way through the proxy without a token is closed as well, and with one it is open', async (t) => {
  const { proxy, heard, from, startAgent } = await setStage(t)
  const { token } = await startAgent()
  from(INSIDE)
  const path = `${proxy.base}/flows/filter`
  const refused = await ask(proxy.socket, path, { method: 'POST', body: {} })
  t.match([refused.status, json(refused)], [403, { code: 'agent_refused' }])
  t.same(heard, [])
  for (const place of [proxy.socket, proxy.tcp])
    t.equal((await ask(place, path, { method: 'POST', body: {}, token })).status, 200)
})

t.test('who cannot be told is refused as well: an agent could hide', async (t) => {
  for (const where of ['unknown', 'untold'] as const) {
    const { proxy, from, startAgent } = await setStage(t)
    await startAgent()
    from(where)
    const answer = await ask(proxy.socket, '/v1/credentials')
    t.match(
      json(answer),
      { code: 'agent_refused', detail: /^an agent runs, and nothing shows whether/ },
      where,
    )
    t.equal((await ask(proxy.socket, '/v1/status')).status, 200)
  }
})

t.test('the owner goes on, and so do all once the agent has ended', async (t) => {
  const { proxy, tokens, from, startAgent } = await setStage(t)
  const { id } = await startAgent()
  from('outside')
  t.equal((await ask(proxy.socket, '/v1/credentials')).status, 200)
  from(INSIDE)
  t.equal((await ask(proxy.socket, '/v1/credentials')).status, 403)
  await tokens.revoke(id)
  t.equal((await ask(proxy.socket, '/v1/credentials')).status, 200)
})

t.test('an agent is watched only where the daemon sees who starts it', async (t) => {
  const { proxy, tokens, from } = await setStage(t)
  const { inspection } = proxy.broker.deps
  const listeners = [{ door: 'tcp', address: 'http://127.0.0.1:4280', state: 'listening' }] as const
  const status = { ...inspection.status(), listeners }
  Object.assign(inspection, { status: () => status })
  const start = async () =>
    json(
      await ask(proxy.socket, '/v1/env', {
        method: 'POST',
        body: { mode: 'proxy', format: 'json', name: 'claude', agent: true },
      }),
    )
  for (const [where, isWatched] of [
    ['outside', true],
    ['unknown', false],
    ['untold', false],
  ] as const) {
    for (const { id } of tokens.list()) await tokens.revoke(id)
    from(where)
    t.match(await start(), { is_watched: isWatched }, where)
    t.equal(tokens.agents().length, isWatched ? 1 : 0)
  }
})
