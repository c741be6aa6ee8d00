/** A job behind the proxy while Prefect refuses its key: it is parked, never told 401, and goes on by itself. */

import { once } from 'node:events'
import t, { type Test } from 'tap'
import { Agent } from 'undici'
import type { Fault } from '../../sim/faults/faults.js'
import { buildApp } from '../../src/api/app.js'
import { ask } from '../fixtures/api-under-test.js'
import { portOf } from '../fixtures/proxy-under-test.js'
import { DAY, setRenewalStage } from '../fixtures/renewal-stage.js'

const SECOND = 1000
const MINUTE = 60 * SECOND
const HOUR = 60 * MINUTE
const REFUSED: Fault = { kind: 'status', status: 401, body: { detail: 'Invalid authentication credentials' } }
const PROXY: Fault = { kind: 'status', status: 401, body: { error: 'proxy authentication required' } }

/** A broker with a key of a day, and a job that asks for flows through its proxy. */
async function setJob(t: Test) {
  const stage = await setRenewalStage(t, { ageMs: DAY })
  const { broker } = stage
  const agent = new Agent()
  const app = await buildApp({
    ...broker.app,
    way: { ...broker.app.way, dispatcherFor: async () => agent },
  })
  t.teardown(async () => {
    await app.close(100)
    await agent.destroy()
  })
  const tcp = app.openServer('tcp').listen(0, '127.0.0.1')
  await once(tcp, 'listening')
  const place = { port: portOf(tcp), host: '127.0.0.1' } as const
  const { workspace } = broker.credentials.serve('cloud')
  const { token } = await broker.app.tokens.createForJob({ name: 'job', profile: 'cloud' })
  const path = `/proxy/cloud/api/accounts/${workspace?.accountId}/workspaces/${workspace?.workspaceId}/flows/filter`
  const job = () => stage.finish(ask(place, path, { token, method: 'POST', body: {} }))
  return { stage, job, path }
}

for (const [name, ms, fault] of [
  ['39 ms', 39, REFUSED],
  ['5 s', 5 * SECOND, REFUSED],
  ['5 min', 5 * MINUTE, REFUSED],
  ['1 h', HOUR, REFUSED],
  ['1 h, by a proxy in between', HOUR, PROXY],
] as const) {
  t.test(`an outage of ${name}`, async (t) => {
    const { stage, job } = await setJob(t)
    const { broker, sim } = stage
    t.equal((await job()).status, 200)
    const outage = sim.faults.always({}, fault)
    const seen = new Set<number>()
    for (let left = ms; left > 0; left -= 20 * SECOND) {
      const { status, headers } = await job()
      seen.add(status)
      t.match(headers, { 'retry-after': /^\d+$/, 'prefect-maintenance': 'true' })
      await stage.tickUntil(() => false, Math.min(left, 20 * SECOND), Math.min(left, 20 * SECOND))
    }
    t.same([...seen], [503], 'never 401')
    outage.disarm()
    await stage.tickUntil(() => broker.served() === stage.old, 10 * MINUTE)
    t.equal((await job()).status, 200, 'and goes on')
    t.equal(broker.served(), stage.old)
    const rejected = stage.events.filter(({ type }) => type === 'key.rejected').length
    t.equal(rejected, fault === REFUSED && ms === HOUR ? 1 : 0, 'a person is asked for the long ones only')
  })
}

t.test('a job cannot bring doubt upon the key: only an answer to our own question decides', async (t) => {
  const { stage, job, path } = await setJob(t)
  // As if Prefect disliked a header or a path of this job, and said so with the words for a bad key.
  stage.sim.faults.always({ path: path.replace(/^\/proxy\/cloud/, '') }, REFUSED)
  for (let round = 0; round < 15; round += 1) {
    t.match(await job(), { status: 503, headers: { 'prefect-maintenance': 'true' } })
    await stage.tickUntil(() => false, 2 * MINUTE, MINUTE)
    t.equal(stage.broker.credentials.serve('cloud').state, undefined, 'no doubt')
  }
  t.equal(stage.broker.served(), stage.old)
  t.strictSame(
    stage.events.filter(({ type }) => type.startsWith('key.')),
    [],
  )
})

t.test('one 401 costs a job nothing, and leaves no doubt', async (t) => {
  const stage = await setRenewalStage(t, { ageMs: DAY })
  stage.sim.faults.next({ path: '/api/me/' }, REFUSED)
  await stage.finish(stage.broker.renewer.tick())
  await stage.tickUntil(() => stage.broker.credentials.serve('cloud').state === undefined, MINUTE)
  t.equal(stage.broker.credentials.serve('cloud').state, undefined)
})
