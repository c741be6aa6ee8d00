/** Clocks that are wrong, ours and those of servers: none does what cannot be taken back. */
import t from 'tap'
import { type Simulator, startCloudSimulator } from '../../sim/simulator.js'
import { makeRoot, openBroker } from '../fixtures/broker.js'
import { createManualClock } from '../fixtures/manual-clock.js'
import { DAY, setRenewalStage } from '../fixtures/renewal-stage.js'

const MINUTE = 60_000
const YEAR = 365 * DAY

const lifeOf = (sim: Simulator, text: string | undefined) => {
  const key = sim.keys.find(text ?? '')
  return (key?.expiresAt ?? Number.POSITIVE_INFINITY) - (key?.createdAt ?? 0)
}

t.test('a staging host in another time changes nothing for the keys of the real Cloud', async (t) => {
  for (const ahead of [9 * YEAR, -9 * YEAR, 25 * DAY]) {
    const clock = createManualClock()
    const real = await startCloudSimulator({ clock: { start: clock.now(), frozen: true } })
    const staging = await startCloudSimulator({ clock: { start: clock.now() + ahead, frozen: true } })
    const broker = await openBroker({ root: await makeRoot(t), sim: real, clock })
    t.after(async () => {
      await broker.close()
      await Promise.all([real.close(), staging.close()])
    })
    await broker.logins.keep(await broker.delivery(real.issueKey({ name: 'browser' }), { exchange: true }))
    await broker.credentials.settle()
    const before = broker.served()
    const theirs = staging.issueKey({ name: 'theirs' })
    await broker.write(`${await broker.file()}
[profiles.staging]
PREFECT_CLOUD_API_URL = "${staging.apiUrl}"
PREFECT_API_URL = "${staging.apiUrl}/accounts/a/workspaces/w"
PREFECT_API_KEY = "${theirs}"
`)
    await broker.app.workspaces.list('staging')
    for (let round = 0; round < 3; round += 1) {
      clock.pass(MINUTE)
      await broker.renewer.tick()
    }
    t.ok(Math.abs(broker.times.of(staging.apiUrl).skewMs() ?? 0) > 24 * DAY, 'its time was heard')
    t.equal(broker.served(), before, 'nothing is renewed')
    await broker.renewer.renew('cloud', { isForced: true })
    await broker.credentials.settle()
    t.not(broker.served(), before)
    t.ok(lifeOf(real, broker.served()) <= 30 * DAY, 'and what is minted lives as long as asked')
  }
})

for (const ahead of [DAY, 9 * YEAR]) {
  t.test(
    `a key that would live ${ahead / DAY} days longer than asked is deleted, and the time is learnt from it`,
    async (t) => {
      const stage = await setRenewalStage(t)
      const { broker, sim, clock, old } = stage
      // A cache in between sends old answers with a new date: only the minting itself tells the truth.
      const before = sim.keys.all().length
      const poison = broker.events.onEvent(({ type }) => {
        if (type === 'renewal.started') broker.time.note(clock.now() + ahead, clock.now())
      })
      await t.rejects(stage.finish(broker.renewer.renew('cloud', { isForced: true })), {
        code: 'prefect_failed',
      })
      t.equal(broker.served(), old)
      const made = sim.keys.all().slice(before)
      t.equal(made.length, 1)
      t.ok(made[0]?.deletedAt !== undefined)
      poison()
      await stage.finish(broker.renewer.renew('cloud', { isForced: true }))
      await broker.credentials.settle()
      t.ok(lifeOf(sim, broker.served()) <= 30 * DAY)
    },
  )
}

t.test(
  'on a clock of ours that runs ahead of what Prefect said, a key lives no longer than asked',
  async (t) => {
    const stage = await setRenewalStage(t)
    const { broker, sim, clock, old } = stage
    // Between the question that tells the time and the minting, hours pass here and none at Prefect.
    let isProved = false
    broker.saboteur.onStep((step) => {
      if (isProved || step !== 'after vault.prove') return
      isProved = true
      clock.pass(10 * 60 * MINUTE)
    })
    await stage.finish(broker.renewer.renew('cloud', { isForced: true }))
    await broker.credentials.settle()
    t.ok(isProved)
    t.not(broker.served(), old, 'it is renewed')
    t.ok(lifeOf(sim, broker.served()) <= 30 * DAY, 'by the time that Prefect told')
    t.ok(lifeOf(sim, broker.served()) > 29 * DAY)
  },
)

t.test('the time that Prefect told long ago shortens no life by more than a tenth', async (t) => {
  const stage = await setRenewalStage(t)
  const { broker, sim } = stage
  stage.pass(9 * DAY)
  await stage.finish(broker.rotator.rotate('cloud'))
  await broker.credentials.settle()
  const life = lifeOf(sim, broker.served())
  t.ok(life <= 30 * DAY && life > 27 * DAY - 1000, `${life / DAY} days`)
})

t.test(
  'with our clock a day or a year off, no key is deleted, forgotten or taken out of service',
  async (t) => {
    for (const off of [DAY, YEAR, -YEAR]) {
      const stage = await setRenewalStage(t, { isHandedOut: true, retireAfterMs: 2 * DAY })
      const { broker, sim, clock } = stage
      await stage.finish(broker.renewer.renew('cloud', { isForced: true }))
      const held = Object.keys(broker.keeper.ledger().keys).length
      const served = broker.served()
      clock.sleep(off)
      const outage = sim.faults.always({}, { kind: 'reset', when: 'before' })
      await stage.tickUntil(() => false, 10 * MINUTE, MINUTE)
      const again = await stage.reopen()
      await again.recover()
      await stage.finish(again.renewer.tick())
      t.equal(again.served(), served)
      outage.disarm()
      await stage.finish(again.renewer.tick())
      await stage.finish(again.rotator.recover())
      t.equal(again.served(), served)
      t.equal(Object.keys(again.keeper.ledger().keys).length, held)
      t.equal(sim.keys.find(stage.old)?.deletedAt, undefined)
    }
  },
)
