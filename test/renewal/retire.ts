/** When replaced keys are deleted at Prefect: only when it is sure that nobody needs them. */
import t from 'tap'
import { createDisposal } from '../../src/keys/disposal.js'
import { createTurns } from '../../src/keys/turns.js'
import { createServerTimes } from '../../src/prefect/server-time.js'
import { createKeyRetirer } from '../../src/renewal/retire.js'
import { silentLog } from '../../src/std/log.js'
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
