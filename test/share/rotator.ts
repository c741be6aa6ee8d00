/** The key that rotates: what a machine says when it may not, in time, and that another one takes over. */
import t from 'tap'
import { stalenessMs } from '../../src/share/pace.js'
import {
  code,
  DAY,
  EVERY,
  type Fleet,
  MINUTE,
  moved,
  served,
  setStage,
  startFleet,
} from './fixtures/machines.js'
import { startOpenBao } from './fixtures/open-bao.js'

t.setTimeout(240_000)

const rotators = ({ machines }: Fleet) =>
  machines.map(({ broker }) => {
    const { role, problem } = broker.shares.list()[0]?.rotator ?? {}
    return { role, problem: problem?.message }
  })
const said = ({ machines: [machine] }: Fleet, what: RegExp) =>
  (machine?.broker.events.since(0).events ?? []).filter(
    ({ type, facts }) => type === 'share.trouble' && what.test(String(facts.message)),
  ).length
const made = ({ sim }: Fleet) => sim.keys.all().filter(({ name }) => name === 'fleet').length

t.test('the key that rotates, on a real OpenBao', async (t) => {
  const bao = await startOpenBao(t)
  if (bao === undefined) return

  await t.test('an owner without the role makes no first key', async (t) => {
    const fleet = await setStage(t, bao, 'rotator/first', ['mia', 'terry', 'terry'])
    const init = fleet.machines[0]?.broker.shares.init('prod', { serviceAccount: 'fleet', ...EVERY })
    t.equal(await code(init ?? Promise.reject()), 'share_rotation_refused')
    t.equal(made(fleet), 0)
  })

  await t.test('a machine whose key lacks the role says so, and another one rotates', async (t) => {
    const owners = ['mia', 'terry', 'terry']
    const fleet = await startFleet(t, bao, 'rotator/role', { owners, first: 1 })
    const old = fleet.key()
    await fleet.pass(3 * MINUTE)
    t.match(rotators(fleet), [
      { role: 'Member', problem: /takes Admin or Owner/ },
      { role: 'Admin', problem: undefined },
      { role: undefined, problem: undefined },
    ])
    await fleet.pass(10 * MINUTE)
    t.equal(said(fleet, /Member/), 1, 'told once, long before it is due')
    fleet.sim.clock.advance(20.5 * DAY)
    await fleet.pass(stalenessMs(EVERY) * 4 + 8 * MINUTE)
    moved(t, fleet, old)
    t.equal(made(fleet), 2, 'by the other machine, once')
  })

  await t.test('a role that is taken away is noticed within the hour, and one that is given', async (t) => {
    const fleet = await startFleet(t, bao, 'rotator/taken')
    const { users } = fleet.sim.directory
    const terry = fleet.sim.directory.user('terry')
    await fleet.pass(2 * MINUTE)
    t.match(rotators(fleet)[0], { role: 'Admin', problem: undefined })
    users.set(terry.id, { ...terry, admin: false })
    await fleet.leap(70 * MINUTE)
    t.match(rotators(fleet)[0], { role: 'Member', problem: /Member/ })
    users.set(terry.id, terry)
    await fleet.leap(10 * MINUTE)
    t.match(rotators(fleet)[0], { role: 'Admin', problem: undefined })
  })

  await t.test('Prefect that refuses whatever the role is called is believed', async (t) => {
    const fleet = await startFleet(t, bao, 'rotator/refused')
    const [first, second] = fleet.machines
    await fleet.pass(stalenessMs(EVERY) + MINUTE)
    fleet.sim.faults.next(
      { method: 'POST', path: /rotate_api_key$/ },
      { kind: 'status', status: 403, body: { detail: 'no' } },
    )
    const old = fleet.key()
    await first?.broker.shares.rotate('prod')
    t.match(rotators(fleet)[0], { role: 'Admin', problem: /rotate a service account's key/ })
    await fleet.pass(stalenessMs(EVERY) + 2 * MINUTE)
    await second?.broker.shares.rotate('prod')
    await fleet.pass(stalenessMs(EVERY) + 3 * MINUTE)
    moved(t, fleet, old)
  })

  await t.test(
    'a key that is refused, or ends before the shared one is due, is named; a login mends it',
    async (t) => {
      const fleet = await startFleet(t, bao, 'rotator/ended')
      const [first] = fleet.machines
      const old = fleet.key()
      const item = first?.broker.keeper.current('cloud')?.item ?? ''
      await first?.broker.keeper.apply((ledger) => {
        const record = ledger.keys[item]
        const expiresAt = fleet.sim.clock.now() + 5 * DAY
        return record === undefined
          ? ledger
          : { ...ledger, keys: { ...ledger.keys, [item]: { ...record, expiresAt } } }
      })
      await first?.broker.credentials.settle()
      await fleet.pass(2 * MINUTE)
      t.match(rotators(fleet)[0], { problem: /expires .* and is not renewed; the shared key is due/ })
      fleet.sim.keys.revoke(first?.broker.served('cloud') ?? '')
      await fleet.leap(70 * MINUTE)
      t.match(rotators(fleet)[0], { problem: /./ })
      t.notMatch(rotators(fleet)[0], { problem: /is due/ }, 'refused now')
      t.strictSame(served(fleet), [old, old, old])
      if (first !== undefined) {
        await first.broker.logins.keep(await first.broker.delivery(fleet.sim.issueKey(), { via: 'pasted' }))
      }
      await fleet.pass(2 * MINUTE)
      t.strictSame(rotators(fleet)[0], { role: 'Admin', problem: undefined })
    },
  )
})
