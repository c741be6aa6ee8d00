import { writeFile } from 'node:fs/promises'
import t, { type Test } from 'tap'
import { startCloudSimulator } from '../../sim/simulator.js'
import { makeRoot, openBroker, type TestBroker } from '../fixtures/broker.js'

async function setStage(t: Test) {
  const sim = await startCloudSimulator()
  const root = await makeRoot(t)
  const opened: TestBroker[] = []
  t.after(async () => {
    for (const one of opened) await one.close()
    await sim.close()
  })
  const open = async () => {
    const broker = await openBroker({ root, sim })
    opened.push(broker)
    await broker.credentials.settle()
    return broker
  }
  const broker = await open()
  await broker.logins.keep(await broker.delivery(sim.issueKey()))
  return { sim, broker, reopen: open }
}

const never = new AbortController().signal

t.test('keeps the object while nothing changes, and the generation over a restart', async (t) => {
  const { broker, reopen } = await setStage(t)
  const served = broker.credentials.serve('cloud')
  await broker.credentials.settle()
  await broker.write(`${await broker.file()}\n# a comment`)
  t.equal(broker.credentials.serve('cloud'), served)
  await broker.close()
  const again = await reopen()
  t.equal(again.credentials.serve('cloud').generation, served.generation)
  t.not(again.credentials.serve('cloud'), served)
})

t.test('counts every change of the answer once', async (t) => {
  const { sim, broker } = await setStage(t)
  const file = await broker.file()
  let { generation } = broker.credentials.serve('cloud')
  const changes: readonly [string, () => Promise<unknown>][] = [
    [
      'another URL',
      () =>
        broker.write(
          file.replace(/workspaces\/[^"]+/, `workspaces/${'0'.repeat(8)}-0000-4000-8000-${'0'.repeat(12)}`),
        ),
    ],
    ['the old URL', () => broker.write(file)],
    ['another key', async () => broker.logins.keep(await broker.delivery(sim.issueKey()))],
    ['a key in the file', async () => broker.write(`${file}PREFECT_API_KEY = "${sim.issueKey()}"\n`)],
    ['no longer active', () => broker.write(file.replace('active = "cloud"', 'active = "ephemeral"'))],
    ['nothing', () => broker.profiles.logout('cloud', { revoke: false })],
  ]
  for (const [name, change] of changes) {
    await change()
    await broker.credentials.settle()
    const now = broker.credentials.state('cloud').generation
    t.ok(now > generation, name)
    generation = now
    await broker.credentials.settle()
    t.equal(broker.credentials.state('cloud').generation, generation, `${name}, once`)
  }
})

t.test('shows a generation only once it is durable', async (t) => {
  const { sim, broker, reopen } = await setStage(t)
  const before = broker.credentials.serve('cloud')
  broker.saboteur.arm(1)
  const fresh = `${await broker.file()}PREFECT_API_KEY = "${sim.issueKey()}"\n`
  await t.rejects(broker.write(fresh), /ledger\.update/)
  t.equal(broker.credentials.serve('cloud'), before, 'the disk fails: the old answer stays')
  const again = await reopen()
  t.ok(again.credentials.serve('cloud').generation > before.generation)
})

t.test('follows a key in the file that does not change the answer', async (t) => {
  const { sim, broker } = await setStage(t)
  const first = broker.served() ?? ''
  await broker.logins.keep(await broker.delivery(sim.issueKey()))
  const second = broker.served() ?? ''
  const file = await broker.file()
  for (const key of [first, second]) {
    await broker.write(`${file}PREFECT_API_KEY = "${key}"\n`)
    t.equal(broker.credentials.state('cloud').resolved.fileKey?.reveal(), key)
    t.equal(broker.served(), second)
  }
})

t.test(
  'wakes a waiter on a change, on time-out, on abort, at close, and at once if it has changed already',
  async (t) => {
    const { sim, broker } = await setStage(t)
    const { credentials } = broker
    const { generation } = credentials.serve('cloud')
    await credentials.waitForChange('cloud', generation - 1, 60_000, never)
    await credentials.waitForChange('cloud', generation, 5, never)
    t.equal(credentials.serve('cloud').generation, generation, 'time-out')
    const abort = new AbortController()
    const aborted = credentials.waitForChange('cloud', generation, 60_000, abort.signal)
    abort.abort()
    await aborted
    await credentials.waitForChange('cloud', generation, 60_000, AbortSignal.abort())
    const change = credentials.waitForChange('cloud', generation, 60_000, never)
    await broker.logins.keep(await broker.delivery(sim.issueKey()))
    await change
    t.equal(credentials.serve('cloud').generation, generation + 1)
    const last = credentials.waitForChange('cloud', generation + 1, 60_000, never)
    await broker.close()
    await last
    await credentials.waitForChange('cloud', generation + 1, 60_000, never)
  },
)

t.test('wakes a waiter when the profile is deleted', async (t) => {
  const { broker } = await setStage(t)
  const { generation } = broker.credentials.serve('cloud')
  const gone = broker.credentials.waitForChange('cloud', generation, 60_000, never)
  await broker.write('active = "work"\n[profiles.work]\nPREFECT_API_URL = "http://127.0.0.1:4200/api"\n')
  await gone
})

t.test('waits for a bundled profile, too', async (t) => {
  const { broker } = await setStage(t)
  const { generation } = broker.credentials.state('local')
  let isOver = false
  const wait = broker.credentials.waitForChange('local', generation, 60_000, never).then(() => {
    isOver = true
  })
  await new Promise((resolve) => setTimeout(resolve, 20))
  t.equal(isOver, false)
  await broker.profiles.use('local')
  await wait
})

t.test('serves a change of the file to the next request a second later', async (t) => {
  const { sim, broker } = await setStage(t)
  const { writeFile } = await import('node:fs/promises')
  const key = sim.issueKey()
  await writeFile(broker.profilesFile, `${await broker.file()}PREFECT_API_KEY = "${key}"\n`)
  await new Promise((resolve) => setTimeout(resolve, 1_050))
  await broker.credentials.refresh()
  t.equal(broker.served(), key)
})

t.test('refuses unknown profiles by name, and marks a key as handed out durably', async (t) => {
  const { broker, reopen } = await setStage(t)
  t.throws(() => broker.credentials.state('nobody'), { code: 'profile_not_found' })
  t.throws(() => broker.credentials.state('__proto__'), { code: 'profile_not_found' })
  const served = broker.credentials.serve()
  await broker.credentials.markHandedOut(served)
  const steps = broker.saboteur.steps.length
  await broker.credentials.markHandedOut(served)
  t.equal(broker.saboteur.steps.length, steps, 'the second time costs nothing')
  const again = await reopen()
  t.equal(again.ledger.read().keys[served.item ?? '']?.handedOut, true)
})

t.test('serves from memory without waiting for a hung vault', async (t) => {
  const { sim, broker } = await setStage(t)
  const key = broker.served()
  const hung = {
    ...broker.keeper,
    hasFailed: () => true,
    retryFailed: () => new Promise<boolean>(() => undefined),
  }
  const { createCredentials } = await import('../../src/serve/serve.js')
  const { systemClock } = await import('../../src/std/clock.js')
  const { silentLog } = await import('../../src/std/log.js')
  const credentials = createCredentials({
    ...{ store: broker.store, keeper: hung, events: broker.events, defaults: broker.defaults },
    clock: systemClock(),
    log: silentLog(),
  })
  await credentials.settle()
  await credentials.refresh()
  t.equal(credentials.serve('cloud').apiKey?.reveal(), key)
  await credentials.close()
  t.ok(sim)
})

t.test('decides nothing again for an unchanged file', async (t) => {
  const { broker } = await setStage(t)
  const { ledger } = broker.keeper
  let reads = 0
  const counted = () => {
    reads += 1
    return ledger()
  }
  await new Promise((resolve) => setTimeout(resolve, 1_050))
  Object.assign(broker.keeper, { ledger: counted })
  await broker.credentials.refresh()
  t.equal(reads, 0)
})

t.test('notes the new generations of 200 profiles in one durable write', async (t) => {
  const { broker } = await setStage(t)
  const before = broker.saboteur.steps.length
  const tables = Array.from(
    { length: 200 },
    (_, at) => `[profiles.p${at}]\nPREFECT_API_URL = "http://127.0.0.1:${4300 + at}/api"\n`,
  )
  await broker.write(`${await broker.file()}\n${tables.join('\n')}`)
  await broker.credentials.settle()
  t.equal(broker.credentials.serve('p199').apiUrl, 'http://127.0.0.1:4499/api')
  t.equal(broker.credentials.serve('p0').generation, 1)
  const writes = broker.saboteur.steps.slice(before).filter((step) => step === 'before ledger.update')
  t.equal(writes.length, 1)
})

t.test('one settle serves all who wait for it, and 200 changes of keys bring one more', async (t) => {
  const { broker } = await setStage(t)
  const { index } = broker.keeper
  let looks = 0
  Object.assign(broker.keeper, {
    index: (...args: Parameters<typeof index>) => {
      looks += 1
      return index(...args)
    },
  })
  await broker.credentials.settle()
  const once = looks
  looks = 0
  await Promise.all(Array.from({ length: 200 }, () => broker.credentials.settle()))
  t.equal(looks, once)
  looks = 0
  const { item = '' } = broker.credentials.serve('cloud')
  await Promise.all(
    Array.from({ length: 200 }, (_, at) => broker.keeper.noteExpiry(item, Date.UTC(2100, 0, 1) + at)),
  )
  await broker.credentials.settle()
  t.equal(broker.credentials.state('cloud').key?.expiresAt, Date.UTC(2100, 0, 1) + 199)
  t.ok(looks <= 4 * once, `${looks} looks instead of ${once}`)
})

t.test('a generation never names two answers of a bundled profile that had a table', async (t) => {
  const { sim, broker } = await setStage(t)
  await broker.profiles.logout('cloud', { revoke: false })
  const url = sim.workspaceUrl('prefect/terry')
  const plain = `active = "local"\n[profiles.cloud]\nPREFECT_API_URL = "${url}"\nPREFECT_API_KEY = "${sim.issueKey()}"\n`
  await broker.write(plain)
  const { generation } = broker.credentials.serve('cloud')
  await broker.write('active = "local"\n')
  const after = broker.credentials.serve('cloud')
  t.equal(after.apiKey, undefined)
  t.ok(after.generation > generation)
  t.notOk(
    broker.credentials.states().some(({ resolved }) => resolved.name === 'cloud'),
    'and it is not listed',
  )
})

t.test('a request gets what the file says, though a watch has seen it first', async (t) => {
  const { sim, broker } = await setStage(t)
  const key = sim.issueKey()
  await writeFile(broker.profilesFile, `${await broker.file()}PREFECT_API_KEY = "${key}"\n`)
  await broker.store.refresh({ force: true })
  await broker.credentials.refresh()
  t.equal(broker.credentials.serve('cloud').apiKey?.reveal(), key)
})

t.test('a change that cannot be undone yet, of a profile that never was, holds up nobody else', async (t) => {
  const { sim, broker } = await setStage(t)
  broker.credentials.hold(['team']).last()
  const key = sim.issueKey()
  await broker.write(`${await broker.file()}PREFECT_API_KEY = "${key}"\n`)
  t.equal(broker.served(), key)
  t.throws(() => broker.credentials.state('team'), { code: 'profile_not_found' })
})

t.test('a change under way does not hide that nobody could read the file', async (t) => {
  const { broker, reopen } = await setStage(t)
  await broker.close()
  await writeFile(broker.profilesFile, '[profiles.\n')
  const again = await reopen()
  again.credentials.hold(['own'])
  t.throws(() => again.credentials.state('own'), { code: 'profiles_file_invalid' })
})
