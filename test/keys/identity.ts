/** One key, one record: however it came, in however many profiles; and nothing in use is deleted at Prefect. */
import t, { type Test } from 'tap'
import { startCloudSimulator } from '../../sim/simulator.js'
import { mergedKey } from '../../src/keys/identity.js'
import type { KeyRecord } from '../../src/keys/ledger.js'
import { makeRoot, openBroker, type TestBroker } from '../fixtures/broker.js'

async function setStage(t: Test, more: { readonly retireAfterMs?: number } = {}) {
  const sim = await startCloudSimulator()
  const root = await makeRoot(t)
  const broker = await openBroker({ root, sim, ...more })
  t.after(async () => {
    await broker.close()
    await sim.close()
  })
  await broker.recover()
  return { sim, broker }
}

const records = ({ ledger }: TestBroker): readonly KeyRecord[] => Object.values(ledger.read().keys)

t.test('the same key given again keeps its one record, and what is known of it', async (t) => {
  const { sim, broker } = await setStage(t)
  await broker.logins.keep(await broker.delivery(sim.issueKey(), { exchange: true }))
  const minted = broker.served() ?? ''
  const before = records(broker).find(({ origin }) => origin === 'minted')
  for (const via of ['pasted', 'browser'] as const) {
    await broker.logins.keep(await broker.delivery(minted, { via }))
    t.strictSame(
      records(broker).filter(({ fingerprint }) => fingerprint === before?.fingerprint),
      // Who pastes a key has it from somewhere.
      [{ ...before, handedOut: true }],
      via,
    )
  }
  await broker.write(`${await broker.file()}PREFECT_API_KEY = "${minted}"\n`)
  await broker.profiles.adopt('cloud')
  t.match(
    records(broker).filter(({ fingerprint }) => fingerprint === before?.fingerprint),
    [{ ...before, handedOut: true }],
    'adopted',
  )
  t.equal(broker.served(), minted)
})

t.test('what a lesser source says does not replace what is known', (t) => {
  const known: KeyRecord = {
    ...{ item: 'a', profile: 'p', cloudApiUrl: 'u', fingerprint: 'f', origin: 'minted', issuedAt: 1 },
    ...{ cloudId: 'id', userId: 'user', name: 'n', expiresAt: 9, handedOut: true, retiredAt: 5 },
  }
  const fresh: KeyRecord = {
    ...{ item: 'b', profile: 'q', cloudApiUrl: 'u', fingerprint: 'f', origin: 'browser', issuedAt: 2 },
    ...{ expiresAt: 30, isExpiryAssumed: true, handedOut: false },
  }
  t.strictSame(mergedKey(known, fresh), known)
  const learned = mergedKey({ ...fresh, rejectedAt: 3 }, known)
  t.match(learned, {
    item: 'b',
    origin: 'minted',
    cloudId: 'id',
    userId: 'user',
    expiresAt: 9,
    handedOut: true,
  })
  t.notOk(learned.isExpiryAssumed, 'a told expiry replaces a guess')
  t.equal(learned.rejectedAt, 3, 'only an answer of Prefect takes a refusal back')
  t.end()
})

t.test('a key in two profiles lives as long as one of them uses it', async (t) => {
  const { sim, broker } = await setStage(t)
  await broker.logins.keep(await broker.delivery(sim.issueKey(), { exchange: true }))
  const shared = broker.served() ?? ''
  const id = sim.keys.find(shared)?.id ?? ''
  await broker.logins.keep(
    await broker.delivery(shared, { profile: 'two', via: 'pasted', isToBeActive: false }),
  )
  const isAlive = () => sim.keys.find(shared)?.deletedAt === undefined
  t.equal(broker.served('two'), shared)
  t.equal(records(broker).filter(({ cloudId }) => cloudId === id).length, 1)
  await broker.rotator.rotate('cloud')
  await broker.renewer.tick()
  await broker.credentials.settle()
  t.ok(isAlive(), 'a rotation leaves what was pasted')
  t.not(broker.served('two'), shared)
  t.equal(broker.served('two'), broker.served('cloud'), 'and is one for both')
  const [current] = records(broker).filter(({ retiredAt }) => retiredAt === undefined)
  await t.rejects(broker.keys.delete(current?.cloudId ?? ''), { code: 'profile_in_use' })
  for (const profile of ['cloud', 'two']) {
    await broker.logins.keep(
      await broker.delivery(shared, { profile, via: 'pasted', isToBeActive: profile === 'cloud' }),
    )
  }
  t.equal(broker.served('cloud'), shared, 'back in both')
  const { notRevoked } = await broker.profiles.logout('cloud', { revoke: true })
  t.match(notRevoked.map(({ reason }) => reason).join(), /another profile uses it/)
  t.ok(isAlive(), 'a log-out of the one profile leaves it')
  await broker.credentials.markHandedOut(broker.credentials.serve('two'))
  const [used] = records(broker).filter(({ cloudId }) => cloudId === id)
  t.match(used, { profile: 'two', handedOut: true, retiredAt: undefined }, 'in use, not retired')
  t.equal(broker.served('two'), shared)
  await broker.profiles.logout('two', { revoke: true })
  t.notOk(isAlive(), 'a log-out of the last does not')
  t.strictSame(records(broker), [])
})

t.test('no key is deleted at Prefect under a second record of it, or while the file has it', async (t) => {
  const { sim, broker } = await setStage(t, { retireAfterMs: 0 })
  await broker.logins.keep(await broker.delivery(sim.issueKey(), { exchange: true }))
  await broker.credentials.settle()
  const current = broker.keeper.current('cloud')
  const served = broker.served() ?? ''
  const isAlive = (key: string) => sim.keys.find(key)?.deletedAt === undefined
  if (current === undefined) throw new Error('there must be a current key')
  // As the first version left it: the same key twice, the older "replaced".
  const twin = { ...current, item: 'key-twin', retiredAt: 1 }
  await broker.ledger.update((ledger) => ({ ...ledger, keys: { ...ledger.keys, 'key-twin': twin } }))
  await broker.renewer.tick()
  t.ok(isAlive(served), 'the key that is served')
  await broker.write(`${await broker.file()}\n[profiles.by_hand]\nPREFECT_API_KEY = "${served}"\n`)
  await broker.keeper.markHandedOut(current.item)
  await broker.rotator.rotate('cloud')
  await broker.renewer.tick()
  t.ok(isAlive(served), 'the key in the file')
  await broker.write((await broker.file()).split('\n[profiles.by_hand]')[0] ?? '')
  await broker.renewer.tick()
  t.notOk(isAlive(served), 'until nobody has it')
})
