/** Outages in which Prefect refuses a good key, and keys that are really dead: over the one composition, on a clock that is moved. */
import { once } from 'node:events'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { Fault } from '../../sim/faults/faults.js'
import { buildApp } from '../../src/api/app.js'
import { ask } from '../fixtures/api-under-test.js'
import { makeRoot } from '../fixtures/broker.js'
import { DAY, type RenewalStage, setRenewalStage } from '../fixtures/renewal-stage.js'

const SECOND = 1000
const MINUTE = 60 * SECOND
const HOUR = 60 * MINUTE
const REFUSED: Fault = {
  kind: 'status',
  status: 401,
  body: { detail: 'Invalid authentication credentials' },
}

const young = (t: Test) => setRenewalStage(t, { ageMs: DAY })

/** Asks Prefect about the active profile's key, as `doctor` does. */
const doctor = (stage: RenewalStage) => stage.finish(stage.broker.app.inspection.doctor())
const stateOf = ({ broker }: RenewalStage) => {
  const { outcome } = broker.credentials.state('cloud')
  return outcome.kind === 'served' ? (outcome.served.state ?? 'good') : outcome.error.code
}
const types = ({ events }: RenewalStage) =>
  events.map(({ type }) => type).filter((type) => /^key\.(doubted|rejected|accepted)/.test(type))

for (const [name, ms] of [
  ['1 s', SECOND],
  ['5 s', 5 * SECOND],
  ['5 min', 5 * MINUTE],
] as const) {
  t.test(`an outage of ${name} ends no key and asks nothing of a person`, async (t) => {
    const stage = await young(t)
    const { broker, sim, old } = stage
    const outage = sim.faults.always({}, REFUSED)
    await doctor(stage)
    await broker.credentials.settle()
    t.equal(stateOf(stage), 'doubted', 'what doctor hears counts')
    t.equal(broker.served(), old, 'and the pair is still given')
    t.match(broker.app.inspection.status().profiles[0]?.standing, { kind: 'doubted' })
    await stage.tickUntil(() => false, ms, Math.min(ms, 30 * SECOND))
    outage.disarm()
    await stage.tickUntil(() => stateOf(stage) === 'good', 2 * MINUTE)
    t.equal(stateOf(stage), 'good')
    t.equal(broker.served(), old)
    t.strictSame(types(stage), ['key.doubted', 'key.accepted'])
    t.equal(stage.mints(), 0)
  })
}

t.test('an outage of an hour rejects the key, which comes back', async (t) => {
  const stage = await young(t)
  const { broker, sim, old } = stage
  const outage = sim.faults.always({}, REFUSED)
  await doctor(stage)
  await stage.tickUntil(() => broker.served() === 'login_required', HOUR)
  t.equal(broker.served(), 'login_required')
  sim.forgetRequests()
  await stage.tickUntil(() => false, HOUR)
  const questions = sim.requests.filter(({ path }) => path === '/api/me/').length
  t.ok(questions >= 5 && questions <= 12, `asked ${questions} times in an hour`)
  sim.forgetRequests()
  await stage.tickUntil(() => false, 6 * HOUR, 5 * MINUTE)
  const later = sim.requests.filter(({ path }) => path === '/api/me/').length
  t.ok(later >= 5 && later <= 7, `then ${later} times in six`)
  outage.disarm()
  await stage.tickUntil(() => broker.served() === old, 2 * HOUR, 5 * MINUTE)
  t.equal(broker.served(), old)
  t.strictSame(types(stage), ['key.doubted', 'key.rejected', 'key.accepted'])
})

t.test('flapping rejects nothing', async (t) => {
  const stage = await young(t)
  for (let round = 0; round < 30; round += 1) {
    const outage = stage.sim.faults.always({}, REFUSED)
    await doctor(stage)
    await stage.tickUntil(() => false, MINUTE)
    outage.disarm()
    await stage.tickUntil(() => false, MINUTE)
  }
  t.equal(stage.broker.served(), stage.old)
  t.notOk(types(stage).includes('key.rejected'))
})

t.test('a proxy in between that answers 401 itself decides nothing', async (t) => {
  for (const fault of [
    { kind: 'status', status: 401, body: { error: 'proxy authentication required' } },
    { kind: 'html', status: 401 },
  ] satisfies Fault[]) {
    const stage = await young(t)
    const outage = stage.sim.faults.always({}, fault)
    await doctor(stage)
    await stage.tickUntil(() => false, 2 * HOUR, MINUTE)
    t.equal(stateOf(stage), 'good')
    t.strictSame(types(stage), [])
    outage.disarm()
  }
})

t.test('a rejected key is asked about at `renew`, at a start and at a login', async (t) => {
  const hear = async (asking: (stage: RenewalStage) => Promise<RenewalStage['broker']>) => {
    const stage = await young(t)
    const outage = stage.sim.faults.always({}, REFUSED)
    await doctor(stage)
    await stage.tickUntil(() => stage.broker.served() === 'login_required', HOUR)
    await t.rejects(stage.finish(stage.broker.app.renewal.renew('cloud', { ifDue: false })), {
      code: 'key_rejected',
    })
    outage.disarm()
    const broker = await asking(stage)
    await broker.credentials.settle()
    return [broker.served() !== 'login_required', stage.mints()]
  }
  const renewed = await hear(async ({ broker, finish }) => {
    await finish(broker.app.renewal.renew('cloud', { ifDue: false }))
    return broker
  })
  t.strictSame(renewed, [true, 1], 'and renewed')
  const started = await hear(async ({ reopen, finish }) => {
    const again = await reopen()
    await again.recover()
    t.equal(again.served(), 'login_required', 'durable')
    await finish(again.renewer.tick())
    return again
  })
  t.strictSame(started, [true, 0])
  const loggedIn = await hear(async ({ broker, finish }) => {
    broker.events.emit('login.started', { profile: 'cloud' })
    await finish(broker.app.renewal.renew('cloud', { ifDue: true }))
    return broker
  })
  t.strictSame(loggedIn, [true, 0])
})

t.test('a dead key is not asked about past its end, nor after a log-out', async (t) => {
  const stage = await young(t)
  const { broker, sim } = stage
  stage.pass(40 * DAY)
  await stage.tickUntil(() => broker.served() === 'login_required', 10 * MINUTE)
  t.equal(broker.served(), 'login_required', "at once: Prefect's own time says so")
  sim.forgetRequests()
  await stage.tickUntil(() => false, 3 * HOUR, 5 * MINUTE)
  t.equal(sim.requests.length, 0)
  const other = await young(t)
  other.sim.faults.always({}, REFUSED)
  await doctor(other)
  await other.finish(other.broker.profiles.logout('cloud', { revoke: false }))
  other.sim.forgetRequests()
  await other.tickUntil(() => false, 3 * HOUR, 5 * MINUTE)
  t.equal(other.sim.requests.length, 0)
})

t.test('doubt survives a restart, and many restarts are not many questions', async (t) => {
  const stage = await young(t)
  stage.sim.faults.always({}, REFUSED)
  await doctor(stage)
  let broker = stage.broker
  for (let round = 0; round < 8; round += 1) {
    broker = await stage.reopen()
    await broker.recover()
    t.match(broker.credentials.state('cloud').standing, { kind: 'doubted' })
    stage.pass(SECOND)
    await stage.finish(broker.renewer.tick())
  }
  t.equal(broker.served(), stage.old)
})

t.test('a key in profiles.toml is doubted, served on, and good again', async (t) => {
  const stage = await young(t)
  const { broker, sim } = stage
  const theirs = sim.issueKey({ name: 'theirs' })
  await broker.write(`${await broker.file()}PREFECT_API_KEY = "${theirs}"\n`)
  const outage = sim.faults.always({}, REFUSED)
  await stage.finish(broker.app.workspaces.list('cloud').catch(() => undefined))
  await stage.tickUntil(() => false, 20 * MINUTE)
  t.equal(broker.served(), theirs, 'it is served until the user changes it')
  t.equal(stateOf(stage), 'doubted')
  outage.disarm()
  await stage.tickUntil(() => stateOf(stage) === 'good', 10 * MINUTE)
  t.equal(stateOf(stage), 'good')
})

t.test('who reads the answers is told: raw callers, status, readyz, doctor', async (t) => {
  const stage = await young(t)
  const { broker, sim } = stage
  const app = await buildApp(broker.app)
  t.teardown(() => app.close(100))
  const server = app.openServer('socket').listen(join(await makeRoot(t), 'a.sock'))
  await once(server, 'listening')
  const place = { socketPath: String(server.address()) }
  const get = async (path: string) => JSON.parse((await stage.finish(ask(place, path))).text)
  const before = await get('/v1/credentials?profile=cloud')
  t.equal(before.state, undefined)
  const outage = sim.faults.always({}, REFUSED)
  await get('/v1/doctor')
  await broker.credentials.settle()
  const doubted = await get('/v1/credentials?profile=cloud')
  t.match(doubted, { state: 'doubted', env: { PREFECT_API_KEY: stage.old } })
  t.equal(doubted.generation, before.generation + 1, 'another answer')
  const status = await get('/v1/status')
  t.match(status.profiles[0], { ready: true, state: 'doubted', notices: [/has refused the key/] })
  t.match(await get('/readyz/cloud'), { ready: true, degraded: /has refused the key/ })
  const { checks } = await get('/v1/doctor')
  const keys = checks.find(({ name }: { name: string }) => name === 'keys')
  t.match(keys, { verdict: 'warning', finding: /has refused the key/ })
  await stage.tickUntil(() => broker.served() === 'login_required', HOUR)
  t.match(await get('/v1/credentials?profile=cloud'), { code: 'login_required' })
  t.match((await get('/v1/status')).profiles[0], { ready: false, state: 'rejected' })
  outage.disarm()
  await stage.tickUntil(() => broker.served() === stage.old, 10 * MINUTE)
  t.equal((await get('/v1/credentials?profile=cloud')).state, undefined)
})
