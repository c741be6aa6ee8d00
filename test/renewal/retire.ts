/** When replaced keys are deleted at Prefect: only when it is sure that nobody needs them. */
import t from 'tap'
import { createDisposal } from '../../src/keys/disposal.js'
import { type Ledger, withKey } from '../../src/keys/ledger.js'
import { withShare } from '../../src/keys/shared.js'
import { createTurns } from '../../src/keys/turns.js'
import { createServerTimes } from '../../src/prefect/server-time.js'
import { createKeyRetirer } from '../../src/renewal/retire.js'
import { silentLog } from '../../src/std/log.js'
import { Secret } from '../../src/std/secret.js'
import { DAY, setRenewalStage } from '../fixtures/renewal-stage.js'

t.test('a clock that nobody has confirmed deletes no key that a job may hold', async (t) => {
  const stage = await setRenewalStage(t, { isHandedOut: true, retireAfterMs: 2 * DAY })
  const { broker, sim, clock } = stage
  await stage.finish(broker.renewer.renew('cloud', { isForced: true }))
  // A start with a clock a year ahead: nothing was heard of Prefect yet.
  clock.sleep(365 * DAY)
  const times = createServerTimes(clock)
  const { keeper, events, cloud, store } = broker
  const retirer = createKeyRetirer({
    ...{ keeper, events, times, log: silentLog(), retireAfterMs: 2 * DAY },
    disposal: createDisposal({ cloud, keeper, store }),
    turns: createTurns(),
    holds: { isOver: () => true, set: () => 0 },
  })
  const isDeleted = () => sim.keys.find(stage.old)?.deletedAt !== undefined
  const time = times.of(sim.apiUrl)
  await retirer.run()
  t.equal(isDeleted(), false, 'nothing was heard')
  time.note(sim.clock.now())
  await retirer.run()
  t.equal(isDeleted(), false, 'by its own time it is not due')
  time.forget()
  await retirer.run()
  t.equal(isDeleted(), false, 'the clock was moved')
  time.note(sim.clock.now() + 2 * DAY - 60_000)
  await retirer.run()
  t.equal(isDeleted(), false, 'a minute early')
  time.note(sim.clock.now() + 2 * DAY)
  await retirer.run()
  t.equal(isDeleted(), true)
})

t.test('a replaced key that is being deleted is not given any more, though it is still known', async (t) => {
  const stage = await setRenewalStage(t)
  const { broker, sim } = stage
  const before = broker.credentials.serve('cloud')
  const outage = sim.faults.always({ method: 'DELETE' }, { kind: 'status', status: 503 })
  await stage.finish(broker.renewer.renew('cloud', { isForced: true }))
  t.match(broker.keeper.ledger().keys[before.item ?? ''], { retiredAt: Number, handedOut: false })
  const given = await broker.credentials.markHandedOut(before)
  t.not(given.apiKey?.reveal(), stage.old)
  outage.disarm()
})

t.test(
  'of a replaced key that is shared only the copy here goes, and never one that has to be published',
  async (t) => {
    const stage = await setRenewalStage(t)
    const { broker, sim, clock } = stage
    const { keeper, events, cloud, store } = broker
    const now = sim.clock.now()
    const about = {
      ...({ profile: 'cloud', cloudApiUrl: sim.apiUrl, origin: 'service_account', issuedAt: now } as const),
      handedOut: true,
    }
    for (const item of ['key-old', 'key-kept']) {
      const text = new Secret(`pnb_${item.padEnd(36, 'x')}`)
      await keeper.store(text, { ...about, item, cloudId: `id of ${item}` })
    }
    const kept = [{ item: 'key-kept', id: 'id of key-kept', createdAt: now }]
    const retired = (ledger: Ledger, item: string) => {
      const record = ledger.keys[item]
      return record === undefined ? ledger : withKey(ledger, { ...record, retiredAt: now })
    }
    await keeper.apply((ledger) =>
      withShare(retired(retired(ledger, 'key-old'), 'key-kept'), 'prod', {
        ...{ machine: 'm', profiles: ['cloud'], kept, intents: [] },
      }),
    )
    const times = createServerTimes(clock)
    const retirer = createKeyRetirer({
      ...{ keeper, events, times, log: silentLog(), retireAfterMs: 2 * DAY },
      disposal: createDisposal({ cloud, keeper, store }),
      turns: createTurns(),
      holds: { isOver: () => true, set: () => 0 },
    })
    const shared = () =>
      Object.keys(keeper.ledger().keys).filter((item) => item.startsWith('key-') && /old|kept/.test(item))
    times.of(sim.apiUrl).note(now + 2 * DAY - 60_000)
    await retirer.run()
    t.strictSame(shared(), ['key-old', 'key-kept'], 'a minute early')
    sim.forgetRequests()
    times.of(sim.apiUrl).note(now + 2 * DAY)
    await retirer.run()
    t.strictSame(shared(), ['key-kept'])
    t.strictSame(
      sim.requests.map(({ method }) => method),
      [],
      'Prefect was not asked',
    )
  },
)
