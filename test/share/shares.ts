/** Machines that share a key: real vaults, ledgers and HTTP, a real OpenBao, and the simulator of Prefect. */
import t from 'tap'
import { shareRecord, withShare } from '../../src/keys/shared.js'
import { attemptMs, stalenessMs, waitMs } from '../../src/share/pace.js'
import { Secret } from '../../src/std/secret.js'
import { code, DAY, EVERY, MINUTE, mints, moved, served, standings, startFleet } from './fixtures/machines.js'
import { startOpenBao } from './fixtures/open-bao.js'

t.setTimeout(240_000)

t.test('a fleet on a real OpenBao', async (t) => {
  const bao = await startOpenBao(t)
  if (bao === undefined) return

  await t.test('every machine serves the first key', async (t) => {
    const fleet = await startFleet(t, bao, 'fleet/first')
    moved(t, fleet, '')
    t.equal(mints(fleet), 1)
    const [first, , reader] = fleet.machines
    const wanted = { serviceAccount: 'fleet' }
    t.equal(await code(first?.broker.shares.init('prod', wanted) ?? Promise.reject()), 'share_exists')
    t.equal(
      await code(reader?.broker.shares.init('prod', wanted) ?? Promise.reject()),
      'share_rotation_refused',
    )
    t.equal(await code(reader?.broker.shares.rotate('prod') ?? Promise.reject()), 'share_rotation_refused')
    t.equal(await code(first?.broker.shares.use('prod', 'cloud') ?? Promise.reject()), 'profile_in_use')
    t.equal(await code(first?.broker.shares.use('none', 'jobs') ?? Promise.reject()), 'share_not_found')
  })

  await t.test('a rotation reaches every machine, and the old key works on', async (t) => {
    const fleet = await startFleet(t, bao, 'fleet/rotate')
    const old = fleet.key()
    await fleet.machines[0]?.broker.shares.rotate('prod')
    t.equal(mints(fleet), 1, 'not before every machine has the last key')
    await fleet.pass(stalenessMs(EVERY) + 2 * MINUTE)
    moved(t, fleet, old)
    t.ok(fleet.sim.keys.authenticate(old), 'the old key')
    t.equal(mints(fleet), 2)
    t.strictSame(standings(fleet), ['idle', 'idle', 'idle'])
  })

  await t.test('of two machines that may rotate one does when the key is due', async (t) => {
    const fleet = await startFleet(t, bao, 'fleet/due')
    const old = fleet.key()
    await fleet.pass(3 * MINUTE)
    fleet.sim.clock.advance(20.5 * DAY)
    await fleet.pass(8 * MINUTE)
    moved(t, fleet, old)
    t.equal(mints(fleet), 2)
  })

  await t.test('a machine that dies after the answer publishes its key at the next start', async (t) => {
    const fleet = await startFleet(t, bao, 'fleet/dies')
    const old = fleet.key()
    const [first] = fleet.machines
    await fleet.pass(stalenessMs(EVERY) + MINUTE)
    // From the answer on the store is out of reach, and then the daemon is killed.
    if (first !== undefined) Object.assign(first, { cutAfterMint: true, mintsBefore: mints(fleet) })
    await first?.broker.shares.rotate('prod')
    t.equal(mints(fleet), 2)
    t.strictSame(served(fleet), [old, old, old])
    if (first !== undefined) first.cutAfterMint = false
    await first?.reopen()
    await fleet.pass(2 * MINUTE)
    moved(t, fleet, old)
    t.equal(mints(fleet), 2, 'nothing is minted twice')
  })

  await t.test(
    'a crash between the record of a minted key and that of the share loses nothing',
    async (t) => {
      const fleet = await startFleet(t, bao, 'fleet/stray')
      const old = fleet.key()
      const [first] = fleet.machines
      await fleet.pass(stalenessMs(EVERY) + MINUTE)
      if (first !== undefined) Object.assign(first, { cutAfterMint: true, mintsBefore: mints(fleet) })
      await first?.broker.shares.rotate('prod')
      // As the disk is then: the key is in the vault and in the ledger, and the share does not know it.
      await first?.broker.keeper.apply((ledger) => {
        const record = shareRecord(ledger, 'prod')
        t.not(record?.kept.length, 0)
        return record === undefined ? ledger : withShare(ledger, 'prod', { ...record, kept: [] })
      })
      if (first !== undefined) first.cutAfterMint = false
      await first?.reopen()
      await fleet.pass(2 * MINUTE)
      moved(t, fleet, old)
      t.equal(mints(fleet), 2, 'nothing is minted twice')
    },
  )

  await t.test('a lost answer costs one more rotation, by another machine', async (t) => {
    const fleet = await startFleet(t, bao, 'fleet/lost')
    const old = fleet.key()
    await fleet.pass(stalenessMs(EVERY) + MINUTE)
    fleet.sim.faults.next({ method: 'POST', path: /rotate_api_key$/ }, { kind: 'reset', when: 'after' })
    await fleet.machines[0]?.broker.shares.rotate('prod')
    await fleet.pass(waitMs(EVERY) + attemptMs(EVERY))
    moved(t, fleet, old)
    t.ok(fleet.sim.keys.authenticate(old), 'no machine was without a key')
  })

  await t.test("a person's rotation at Prefect is not minted over, and can be adopted", async (t) => {
    const fleet = await startFleet(t, bao, 'fleet/foreign')
    const old = fleet.key()
    await fleet.pass(30 * MINUTE)
    const theirs = fleet.sim.issueBotKey({ bot: 'fleet', expiresAt: fleet.sim.clock.now() + 30 * DAY })
    await fleet.pass(10 * MINUTE)
    t.strictSame(standings(fleet).slice(0, 2), ['foreign', 'foreign'])
    t.equal(mints(fleet), 1, 'no rotation of ours')
    t.strictSame(served(fleet), [old, old, old])
    const events = fleet.machines[0]?.broker.events.since(0).events ?? []
    t.equal(events.filter(({ type }) => type === 'share.foreign').length, 1, 'one event')
    await fleet.machines[0]?.broker.shares.adopt('prod', new Secret(theirs))
    await fleet.pass(2 * MINUTE)
    t.strictSame(served(fleet), [theirs, theirs, theirs])
    t.strictSame(standings(fleet), ['idle', 'idle', 'idle'])
  })

  await t.test('a sealed store ends nothing, also across a restart', async (t) => {
    const fleet = await startFleet(t, bao, 'fleet/sealed')
    const old = fleet.key()
    await bao.seal()
    await fleet.pass(3 * MINUTE)
    t.strictSame(standings(fleet), ['unread', 'unread', 'unread'])
    await fleet.machines[2]?.reopen()
    await fleet.pass(2 * MINUTE)
    t.strictSame(served(fleet), [old, old, old])
    t.equal(fleet.machines[2]?.broker.shares.list()[0]?.trouble?.code, 'share_store_sealed')
    await bao.unseal()
    await fleet.pass(stalenessMs(EVERY) + 2 * MINUTE)
    await fleet.machines[1]?.broker.shares.rotate('prod')
    await fleet.pass(stalenessMs(EVERY) + 2 * MINUTE)
    moved(t, fleet, old)
  })

  await t.test('a store that is restored from a backup takes nothing away', async (t) => {
    const fleet = await startFleet(t, bao, 'fleet/restored')
    const data = `secret/data/${fleet.path}`
    const backup = Object(await bao.admin('GET', data)).data.data
    for (let rotations = 0; rotations < 2; rotations += 1) {
      await fleet.pass(stalenessMs(EVERY) + MINUTE)
      await fleet.machines[0]?.broker.shares.rotate('prod')
      await fleet.pass(2 * MINUTE)
    }
    const newest = fleet.key()
    await bao.admin('DELETE', `secret/metadata/${fleet.path}`)
    await bao.admin('POST', data, { data: backup, options: { cas: 0 } })
    await fleet.pass(3 * MINUTE)
    t.strictSame(served(fleet), [newest, newest, newest])
    t.equal(Object(await bao.admin('GET', data)).data.data.n, 3, 'and it is published again')
    t.equal(mints(fleet), 3)
  })

  await t.test('a local command ends the local copy only', async (t) => {
    const fleet = await startFleet(t, bao, 'fleet/leave')
    const key = fleet.key()
    const [first, second] = fleet.machines
    await first?.broker.shares.leave('prod', 'jobs')
    t.equal(first?.served(), 'login_required')
    const outcome = await second?.broker.app.profiles.logout('jobs', { revoke: true })
    t.strictSame(outcome?.revoked, [])
    t.ok(fleet.sim.keys.authenticate(key), 'the key works on')
  })

  await t.test('bad documents are named, and nothing is lost', async (t) => {
    const fleet = await startFleet(t, bao, 'fleet/bad')
    const old = fleet.key()
    const data = `secret/data/${fleet.path}`
    const good = Object(await bao.admin('GET', data)).data.data
    let version = 1
    const rows: readonly (readonly [string, unknown, string])[] = [
      ['of a newer version', { ...good, format: 2 }, 'share_document_newer'],
      [
        'edited by hand',
        { ...good, current: { ...good.current, created: 'yesterday' } },
        'share_document_invalid',
      ],
      ['something else', { hello: 'world' }, 'share_document_invalid'],
      [
        'of another service account',
        { ...good, service_account: { id: 'b9', name: 'fleet' } },
        'share_mismatch',
      ],
    ]
    for (const [title, document, expected] of rows) {
      await bao.admin('POST', data, { data: document, options: { cas: version++ } })
      await fleet.pass(2 * MINUTE)
      const [facts] = fleet.machines[2]?.broker.shares.list() ?? []
      t.equal(facts?.trouble?.code, expected, title)
      t.notMatch(facts?.trouble?.message, old)
      t.strictSame(served(fleet), [old, old, old], `${title}: the last key is served`)
    }
    await bao.admin('POST', data, { data: good, options: { cas: version } })
    await fleet.pass(2 * MINUTE)
    t.strictSame(standings(fleet), ['idle', 'idle', 'idle'])
  })
})
