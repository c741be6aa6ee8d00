import { writeFile } from 'node:fs/promises'
import t, { type Test } from 'tap'
import { startCloudSimulator } from '../../sim/simulator.js'
import { Secret } from '../../src/std/secret.js'
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
  return { sim, broker: await open(), reopen: open }
}

const OWN = 'http://127.0.0.1:4200/api'

t.test('keeps the key of a renamed profile, and uses no generation of either name twice', async (t) => {
  const { sim, broker } = await setStage(t)
  const key = sim.issueKey()
  await broker.logins.keep(await broker.delivery(key))
  const before = broker.credentials.serve('cloud').generation
  await broker.profiles.rename('cloud', 'work')
  t.equal(broker.served('work'), key)
  t.ok(broker.credentials.serve('work').generation > before)
  await broker.profiles.create({ name: 'cloud', apiUrl: OWN })
  t.ok(broker.credentials.serve('cloud').generation > before, 'a new profile of the old name counts on')
})

t.test('keeps file and key under one name after a crash at any step of a rename', async (t) => {
  const crashAt = async (ahead: number) => {
    const { sim, broker, reopen } = await setStage(t)
    const key = sim.issueKey()
    await broker.logins.keep(await broker.delivery(key))
    const steps = broker.saboteur.steps.length
    broker.saboteur.arm(ahead)
    await broker.profiles.rename('cloud', 'work').catch(() => undefined)
    const again = await reopen()
    await again.recover()
    const inFile = /\[profiles\.(\w+)\]/.exec(await again.file())?.[1]
    const total = broker.saboteur.steps.length - steps
    return { total, key, inFile, served: again.served(inFile), entries: again.journal.read().entries }
  }
  const { total } = await crashAt(Number.POSITIVE_INFINITY)
  t.ok(total >= 8)
  for (let step = 1; step <= total; step += 1) {
    const { inFile, served, key, entries } = await crashAt(step)
    t.ok(inFile === 'cloud' || inFile === 'work')
    t.equal(served, key, `step ${step}: '${inFile}' has its key`)
    t.strictSame(entries, {}, `step ${step}`)
  }
})

t.test('changes nothing if the file refuses a rename', async (t) => {
  const { sim, broker } = await setStage(t)
  const key = sim.issueKey()
  await broker.logins.keep(await broker.delivery(key))
  await broker.profiles.create({ name: 'other', apiUrl: OWN })
  await t.rejects(broker.profiles.rename('cloud', 'other'), { code: 'profile_exists' })
  await t.rejects(broker.profiles.rename('cloud', 'no way'), { code: 'profile_name_invalid' })
  await t.rejects(broker.profiles.rename('ephemeral', 'new'), { code: 'profile_not_found' })
  await writeFile(broker.profilesFile, '[profiles.cloud')
  await t.rejects(broker.profiles.rename('cloud', 'work'), { code: 'profiles_file_invalid' })
  t.equal(broker.served('cloud'), key)
  t.strictSame(broker.journal.read().entries, {})
})

t.test('forgets the keys of a deleted profile, and does not delete the active one', async (t) => {
  const { sim, broker } = await setStage(t)
  await broker.logins.keep(await broker.delivery(sim.issueKey()))
  await t.rejects(broker.profiles.delete('cloud'), { code: 'profile_in_use' })
  const generation = broker.credentials.serve('cloud').generation
  await broker.profiles.use('local')
  t.match(await broker.file(), OWN, 'a bundled profile is written out when it is used')
  await broker.profiles.delete('cloud')
  t.strictSame(broker.ledger.read().keys, {})
  t.strictSame(broker.ledger.read().doomed, undefined)
  await broker.profiles.create({ name: 'cloud', apiUrl: OWN })
  t.ok(broker.credentials.serve('cloud').generation > generation)
})

t.test('serves an auth string to its own URL only', async (t) => {
  const { broker } = await setStage(t)
  await broker.profiles.create({ name: 'own', apiUrl: OWN, authString: new Secret('admin:pass') })
  t.equal(broker.credentials.serve('own').authString?.reveal(), 'admin:pass')
  t.notMatch(await broker.file(), 'admin:pass')
  await broker.profiles.change('own', { apiUrl: 'https://attacker.example/api' })
  t.throws(() => broker.credentials.serve('own'), { code: 'key_host_mismatch' })
  await broker.profiles.change('own', { apiUrl: OWN })
  t.equal(broker.credentials.serve('own').authString?.reveal(), 'admin:pass', 'home again')
  await broker.write((await broker.file()).replace('127.0.0.1:4200', '127.0.0.1:4201'))
  t.throws(() => broker.credentials.serve('own'), { code: 'key_host_mismatch' }, 'by hand, too')
  await broker.profiles.change('own', { authString: null })
  t.equal(broker.credentials.serve('own').authString, undefined)
  t.strictSame(broker.ledger.read().doomed, undefined)
})

t.test('refuses an auth string without a URL before anything is stored or written', async (t) => {
  const { broker } = await setStage(t)
  const before = await broker.file()
  await t.rejects(broker.profiles.create({ name: 'own', authString: new Secret('a:b') }), {
    code: 'api_url_invalid',
  })
  t.equal(await broker.file(), before)
  t.strictSame(broker.ledger.read().profiles.own, undefined)
})

t.test('keeps the auth string of the old URL if the file refuses a change', async (t) => {
  const { broker } = await setStage(t)
  await broker.profiles.create({ name: 'own', apiUrl: OWN, authString: new Secret('admin:pass') })
  await writeFile(broker.profilesFile, '[profiles.own')
  const change = { apiUrl: 'http://127.0.0.1:9/api', authString: new Secret('new:one') }
  await t.rejects(broker.profiles.change('own', change), { code: 'profiles_file_invalid' })
  t.equal(broker.credentials.serve('own').authString?.reveal(), 'admin:pass')
})

t.test('removes a changed auth string from the file once it is stored', async (t) => {
  const { broker } = await setStage(t)
  await broker.write(`[profiles.own]\nPREFECT_API_URL = "${OWN}"\nPREFECT_API_AUTH_STRING = "in:file"\n`)
  t.equal(broker.credentials.serve('own').authString?.reveal(), 'in:file')
  await broker.profiles.change('own', { authString: new Secret('in:vault') })
  t.equal(broker.credentials.serve('own').authString?.reveal(), 'in:vault')
  t.notMatch(await broker.file(), 'in:file')
})
