import t from 'tap'
import type { Fault } from '../../sim/faults/faults.js'
import { DAY, setRenewalStage } from '../fixtures/renewal-stage.js'

const HOUR = 3_600_000
const MINUTE = 60_000
const status = (code: number): Fault => ({ kind: 'status', status: code, body: { detail: 'no' } })

t.test('renews what is due at a tick, once, and says so', async (t) => {
  const stage = await setRenewalStage(t)
  const { broker, events, sim } = stage
  await stage.finish(broker.renewer.tick())
  t.not(broker.served(), stage.old)
  t.ok(sim.keys.authenticate(broker.served() ?? ''))
  await stage.tickUntil(() => false, HOUR, 10 * MINUTE)
  t.equal(stage.mints(), 1)
  const types = events.map(({ type }) => type).filter((type) => type.startsWith('renewal.'))
  t.strictSame(types, ['renewal.started', 'renewal.done'])
  t.match(broker.keeper.profile('cloud').lastRenewal, { outcome: 'done' })
})

t.test('looks up the current key at most twice in a renewal, once in an idle tick', async (t) => {
  const stage = await setRenewalStage(t)
  const { keeper, renewer } = stage.broker
  const { current } = keeper
  let lookups = 0
  Object.assign(keeper, {
    current(profile: string) {
      if (profile === 'cloud') lookups += 1
      return current(profile)
    },
  })
  const count = async (work: () => Promise<unknown>) => {
    lookups = 0
    await stage.finish(work())
    return lookups
  }
  t.equal(await count(() => renewer.tick()), 2, 'a renewal on a tick')
  t.equal(stage.mints(), 1)
  t.equal(await count(() => renewer.tick()), 2, 'the first question about the new key')
  t.equal(await count(() => renewer.tick()), 1, 'an idle tick')
  t.equal(await count(() => renewer.renew('cloud', { isForced: true })), 2, 'a renewal on request')
  t.equal(stage.mints(), 2)
})

t.test('does not renew what is not due', async (t) => {
  const stage = await setRenewalStage(t, { ageMs: 17 * DAY })
  await stage.finish(stage.broker.renewer.tick())
  t.equal(stage.mints(), 0)
})

t.test('renews a due key when it is used, without delaying the request', async (t) => {
  const stage = await setRenewalStage(t)
  const { broker, sim } = stage
  const answered: string[] = []
  let release = () => {}
  const until = new Promise<void>((resolve) => {
    release = resolve
  })
  sim.faults.next({ method: 'POST', path: /api_keys/ }, { kind: 'hold', until })
  await broker.credentials.refresh()
  answered.push(broker.served() ?? '')
  release()
  while (broker.served() === stage.old) await new Promise((resolve) => setTimeout(resolve, 2))
  t.strictSame(answered, [stage.old])
  t.equal(stage.mints(), 1)
})

t.test('shares one renewal between concurrent ticks, uses and requests', async (t) => {
  const stage = await setRenewalStage(t)
  const { renewer } = stage.broker
  const all = [renewer.tick(), renewer.renew('cloud', { isForced: true }), renewer.tick()]
  renewer.glance()
  await stage.finish(Promise.all([...all, renewer.renew('cloud', { isForced: true })]))
  t.equal(stage.mints(), 1)
})

t.test('asks Prefect about a clock that jumps back and forth, and mints no key', async (t) => {
  const stage = await setRenewalStage(t, { ageMs: DAY })
  const { broker, clock } = stage
  for (const jump of [400 * DAY, -400 * DAY, 25 * DAY, -25 * DAY, 29 * DAY]) {
    clock.sleep(jump)
    for (let round = 0; round < 3; round += 1) {
      stage.pass(MINUTE)
      await stage.finish(broker.renewer.tick())
    }
  }
  t.equal(stage.mints(), 0)
  t.equal(broker.served(), stage.old)
  t.ok(Math.abs(broker.time.skewMs() ?? 0) > 28 * DAY, 'and doctor knows by how much it is off')
})

t.test('renews in time although the clock is months behind', async (t) => {
  const stage = await setRenewalStage(t, { ageMs: DAY })
  stage.clock.sleep(-90 * DAY)
  await stage.tickUntil(() => stage.mints() > 0, 20 * DAY, 6 * HOUR)
  t.equal(stage.mints(), 1)
  const key = stage.sim.keys.find(stage.broker.served() ?? '')
  const left = (key?.expiresAt ?? 0) - stage.sim.clock.now()
  t.ok(left > 29 * DAY && left <= 30 * DAY, 'and the new key lives thirty days by the clock of Prefect')
})

t.test(
  'takes a key out of service after two 401, once, and never because of the wall clock alone',
  async (t) => {
    const stage = await setRenewalStage(t, { ageMs: DAY })
    const { broker, sim, clock, events } = stage
    const outage = sim.faults.always({}, { kind: 'reset', when: 'before' })
    clock.sleep(60 * DAY)
    await stage.tickUntil(() => false, HOUR, 10 * MINUTE)
    t.equal(broker.served(), stage.old, 'sixty days later by our clock alone')
    outage.disarm()
    sim.clock.advance(60 * DAY)
    await stage.tickUntil(() => broker.served() === 'login_required', 2 * HOUR, 10 * MINUTE)
    t.equal(broker.served(), 'login_required')
    sim.forgetRequests()
    await stage.tickUntil(() => false, DAY, HOUR)
    t.equal(sim.requests.length, 0)
    t.equal(events.filter(({ type }) => type === 'key.rejected').length, 1)
  },
)

t.test('rejects nothing for a single 401', async (t) => {
  const stage = await setRenewalStage(t)
  stage.sim.faults.next({ path: '/api/me/' }, status(401))
  await stage.finish(stage.broker.renewer.tick())
  t.equal(stage.broker.served(), stage.old)
  await stage.tickUntil(() => stage.broker.served() !== stage.old, HOUR)
  t.equal(stage.mints(), 1)
})

t.test(
  "rejects a key once Prefect's own clock is past its expiry, although Prefect fails otherwise",
  async (t) => {
    const stage = await setRenewalStage(t, { ageMs: 31 * DAY })
    stage.sim.faults.always({}, status(503))
    await stage.finish(stage.broker.renewer.tick())
    await stage.broker.credentials.settle()
    t.equal(stage.broker.served(), 'login_required')
  },
)

t.test('mints nothing if the key has another owner now', async (t) => {
  const stage = await setRenewalStage(t)
  const other = { id: 'somebody-else', handle: 'eve' }
  stage.sim.faults.always({ path: '/api/me/' }, { kind: 'status', status: 200, body: other })
  await stage.finish(stage.broker.renewer.tick())
  t.equal(stage.mints(), 0)
  t.match(stage.broker.keeper.profile('cloud').lastRenewal, { outcome: 'failed', code: 'owner_mismatch' })
  t.equal(stage.broker.served(), stage.old)
})

t.test('renews the key although a workspace is gone, and updates the names', async (t) => {
  const stage = await setRenewalStage(t, { sim: { accounts: [{ handle: 'prefect', workspaces: 2 }] } })
  const { broker, sim } = stage
  const [first, ...rest] = broker.keeper.profile('cloud').workspaces
  t.equal(rest.length, 1)
  sim.directory.workspaces.delete(first?.workspaceId ?? '')
  await stage.finish(broker.renewer.tick())
  await broker.credentials.settle()
  t.not(broker.served(), stage.old)
  t.equal(broker.keeper.profile('cloud').workspaces.length, 1)
})

t.test('causes no storm during an outage of a week, and renews after it', async (t) => {
  const stage = await setRenewalStage(t)
  const outage = stage.sim.faults.always({}, { kind: 'reset', when: 'before' })
  await stage.tickUntil(() => false, 7 * DAY, 10 * MINUTE)
  t.equal(stage.mints(), 0)
  t.ok(stage.sim.requests.length < 7 * 24 * 12, `${stage.sim.requests.length} requests in a week`)
  outage.disarm()
  await stage.tickUntil(() => stage.mints() > 0, 2 * HOUR)
  t.equal(stage.mints(), 1)
})

t.test(
  'warns seven, three and one days before expiry and at expiry, once each, and only in trouble',
  async (t) => {
    const stage = await setRenewalStage(t)
    stage.sim.allowMinting(false)
    const days = () =>
      stage.events.filter(({ type }) => type === 'renewal.warning').map(({ facts }) => facts.days)
    const trouble = () => stage.events.findLast(({ type }) => type === 'renewal.warning')?.facts
    await stage.tickUntil(() => false, 2.9 * DAY, HOUR)
    t.strictSame(days(), [])
    await stage.tickUntil(() => false, 7 * DAY - HOUR, HOUR)
    t.strictSame(days(), [7, 3, 1])
    t.match(trouble()?.message, /could not be renewed and expires .* allow list/)
    t.equal(trouble()?.hint, 'prefect-auth login --profile cloud')
    const again = await stage.reopen()
    await stage.finish(again.renewer.tick())
    t.strictSame(days(), [7, 3, 1], 'and a restart says nothing twice')
  },
)

t.test('never warns of a pasted key, and replaces it on request', async (t) => {
  const stage = await setRenewalStage(t)
  const { broker, sim } = stage
  const pasted = sim.issueKey({ name: 'pasted' })
  await broker.logins.keep(await broker.delivery(pasted, { via: 'pasted', exchange: false }))
  await stage.tickUntil(() => false, 3 * DAY, 6 * HOUR)
  t.equal(broker.served(), pasted)
  await stage.finish(broker.renewer.renew('cloud', { isForced: true }))
  t.not(broker.served(), pasted)
})

t.test('deletes a handed-out key retire_after later, and never without that setting', async (t) => {
  for (const retireAfterMs of [undefined, 2 * DAY]) {
    const stage = await setRenewalStage(t, {
      isHandedOut: true,
      ...(retireAfterMs === undefined ? {} : { retireAfterMs }),
    })
    await stage.finish(stage.broker.renewer.tick())
    const old = () => stage.sim.keys.find(stage.old)
    t.equal(old()?.deletedAt, undefined)
    await stage.tickUntil(() => false, DAY, HOUR)
    t.equal(old()?.deletedAt, undefined, 'a job may hold it')
    await stage.tickUntil(() => false, 2 * DAY, HOUR)
    t.equal(old()?.deletedAt !== undefined, retireAfterMs !== undefined)
    t.equal(stage.broker.served() === stage.old, false)
    t.equal(stage.events.filter(({ type }) => type === 'renewal.failed').length, 0)
  }
})

t.test('deletes no key under a running job if the clock jumps a year ahead', async (t) => {
  const stage = await setRenewalStage(t, { isHandedOut: true, retireAfterMs: 2 * DAY })
  await stage.finish(stage.broker.renewer.tick())
  stage.clock.sleep(365 * DAY)
  await stage.tickUntil(() => false, 5 * MINUTE, MINUTE)
  t.equal(stage.sim.keys.find(stage.old)?.deletedAt, undefined)
})

t.test('gives a reader the new key if the old one was replaced before it was handed out', async (t) => {
  const stage = await setRenewalStage(t)
  const { broker, sim } = stage
  const before = broker.credentials.serve('cloud')
  await stage.finish(broker.renewer.tick())
  t.ok(sim.keys.find(stage.old)?.deletedAt, 'the old key never left us, so it is deleted')
  const given = await broker.credentials.markHandedOut(before)
  t.not(given.apiKey?.reveal(), stage.old)
  t.ok(sim.keys.authenticate(given.apiKey?.reveal() ?? ''))
})

t.test('begins no attempt after it was closed', async (t) => {
  const stage = await setRenewalStage(t)
  await stage.broker.renewer.close()
  await stage.broker.renewer.tick()
  stage.broker.renewer.glance()
  await t.rejects(stage.broker.renewer.renew('cloud', { isForced: true }), { code: 'shutting_down' })
  t.equal(stage.sim.requests.length, 0)
})
