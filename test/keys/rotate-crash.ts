import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { startCloudSimulator } from '../../sim/simulator.js'
import { makeRoot, openBroker } from '../fixtures/broker.js'

/** One rotation that dies at the given step, and the next start over what it left. */
async function crashAt(t: { after(end: () => unknown): void }, ahead: number, keyListing: boolean) {
  const sim = await startCloudSimulator({ keyListing })
  const root = await makeRoot(t)
  const first = await openBroker({ root, sim })
  const old = sim.issueKey({ name: 'from the browser' })
  await first.logins.keep(await first.delivery(old))
  const generation = first.credentials.serve('cloud').generation
  first.saboteur.arm(ahead)
  const steps = first.saboteur.steps.length
  await first.rotator.rotate('cloud').catch(() => undefined)
  const died = first.saboteur.isDead ? first.saboteur.steps.at(-1) : undefined
  const total = first.saboteur.steps.length - steps
  await first.close()
  const again = await openBroker({ root, sim })
  await again.credentials.settle()
  const servedAtStart = again.served()
  await again.recover()
  await again.credentials.settle()
  const result = {
    died,
    total,
    servedAtStart,
    served: again.served(),
    generation: { before: generation, after: again.credentials.serve('cloud').generation },
    current: again.keeper.profile('cloud').currentItem,
    records: Object.keys(again.keeper.ledger().keys),
    doomed: again.keeper.ledger().doomed ?? [],
    entries: Object.values(again.journal.read().entries),
    mints: sim.requests.filter(({ method }) => method === 'POST').length,
    alive: sim.keys.all().filter(({ deletedAt }) => deletedAt === undefined),
    oldAlive: sim.keys.find(old)?.deletedAt === undefined,
    servedKey: sim.keys.find(again.served() ?? ''),
  }
  await again.close()
  await sim.close()
  return result
}

for (const keyListing of [false, true]) {
  t.test(`killed at any step of a rotation, ${keyListing ? 'with' : 'without'} a list of keys`, async (t) => {
    const { total } = await crashAt(t, Number.POSITIVE_INFINITY, keyListing)
    t.ok(total > 15, 'there are steps to die at')
    for (let step = 1; step <= total; step += 1) {
      const found = await crashAt(t, step, keyListing)
      const at = `step ${step}: ${found.died}`
      // What is served follows on its own, so the last step may come after the end.
      if (found.died === undefined) {
        t.ok(step > total - 4, `step ${step}: only the last ones may never come`)
        continue
      }
      t.equal(found.oldAlive, true, `${at}: the old key lives`)
      t.ok(found.servedKey, `${at}: a key of Prefect's is served`)
      t.equal(found.servedKey?.deletedAt, undefined, `${at}: and it is not a deleted one`)
      t.ok(found.servedAtStart?.startsWith('pnu_'), `${at}: served before the network is asked`)
      t.ok(found.mints <= 1, `${at}: never two mints`)
      t.ok(found.generation.after >= found.generation.before, `${at}: the generation never goes back`)
      t.strictSame(found.doomed, [], `${at}: no item is left in the vault`)
      t.ok(
        found.current !== undefined && found.records.includes(found.current),
        `${at}: the current item is known`,
      )
      const unknown = found.alive.filter(
        ({ id, name }) => id !== found.servedKey?.id && name !== 'from the browser',
      )
      t.ok(unknown.length <= (keyListing ? 0 : 1), `${at}: at most one key that we do not hold`)
      if (unknown.length > 0) {
        t.match(
          found.entries,
          [{ kind: 'rotation', keyName: unknown[0]?.name }],
          `${at}: named in the journal`,
        )
      }
      if (keyListing) t.strictSame(found.entries, [], `${at}: nothing is left to do`)
    }
  })
}

t.test('killed again while it settles, it leaves no key in the vault that nobody names', async (t) => {
  for (let step = 1; step <= 12; step += 1) {
    const sim = await startCloudSimulator()
    const root = await makeRoot(t)
    const first = await openBroker({ root, sim })
    await first.logins.keep(await first.delivery(sim.issueKey({ name: 'from the browser' })))
    first.saboteur.onStep((name) => {
      // The key is in the vault, and its record is not written.
      if (name === 'after vault.put') first.saboteur.arm(0)
    })
    await first.rotator.rotate('cloud').catch(() => undefined)
    t.equal(first.saboteur.steps.at(-1), 'after vault.put')
    await first.close()
    const second = await openBroker({ root, sim })
    second.saboteur.arm(step)
    await second.recover().catch(() => undefined)
    const died = second.saboteur.steps.at(-1)
    await second.close()
    const third = await openBroker({ root, sim })
    await third.recover()
    const stored = (await readdir(join(third.stateDir, 'vault'))).filter((name) => name !== 'data-key.json')
    const named = Object.keys(third.ledger.read().keys)
    t.equal(stored.length, named.length, `killed at ${died}: ${stored.join()} are ${named.join()}`)
    await third.close()
    await sim.close()
  }
})
