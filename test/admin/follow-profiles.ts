import { writeFile } from 'node:fs/promises'
import t, { type Test } from 'tap'
import { startCloudSimulator } from '../../sim/simulator.js'
import { makeRoot, openBroker } from '../fixtures/broker.js'

const FILE = 'active = "own"\n[profiles.own]\nPREFECT_API_URL = "http://127.0.0.1:4200/api"\n'

async function setStage(t: Test) {
  const sim = await startCloudSimulator()
  const broker = await openBroker({ root: await makeRoot(t), sim })
  t.after(async () => {
    await broker.close()
    await sim.close()
  })
  await broker.write(FILE)
  await broker.minder.look()
  /** What a tick of the daemon does, at least a millisecond after the last one. */
  const tick = async () => {
    await new Promise((resolve) => setTimeout(resolve, 2))
    await broker.store.refresh({ force: true })
    await broker.minder.look()
  }
  const told = () =>
    broker.events
      .since(0)
      .events.filter(({ type }) => type === 'profiles.changed' || type === 'profiles.invalid')
      .map(({ type }) => type)
  return { broker, tick, told, before: told().length }
}

t.test('emits no event for a tick without a change', async (t) => {
  const { broker, tick, told, before } = await setStage(t)
  for (let round = 0; round < 3; round += 1) await tick()
  await writeFile(broker.profilesFile, FILE)
  await tick()
  t.strictSame(told().slice(before), [])
})

t.test('announces each change once, and each time the file breaks or is repaired', async (t) => {
  const { broker, tick, told, before } = await setStage(t)
  for (const text of [`${FILE}[profiles.new]\n`, '[', FILE]) {
    await writeFile(broker.profilesFile, text)
    await tick()
    await tick()
  }
  t.strictSame(told().slice(before), ['profiles.changed', 'profiles.invalid', 'profiles.changed'])
})
