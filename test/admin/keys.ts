import { appendFile, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { startCloudSimulator } from '../../sim/simulator.js'
import { findLoginTarget } from '../../src/login/target.js'
import { makeRoot, openBroker, type TestBroker } from '../fixtures/broker.js'

async function setStage(t: Test, keyListing = false) {
  const sim = await startCloudSimulator({
    keyListing,
    accounts: [{ handle: 'prefect', workspaces: ['terry', 'other'] }],
  })
  const root = await makeRoot(t)
  const broker = await openBroker({ root, sim })
  const open = [broker]
  t.after(async () => {
    await open.at(-1)?.close()
    await sim.close()
  })
  const reopen = async () => {
    await open.at(-1)?.close()
    const next = await openBroker({ root, sim })
    open.push(next)
    return next
  }
  await broker.logins.keep(await broker.delivery(sim.issueKey({ name: 'delivered' }), { exchange: true }))
  return { sim, broker, reopen }
}

t.test(
  'lists our keys with their state, and others if Prefect lists them; else a notice says so',
  async (t) => {
    for (const keyListing of [false, true]) {
      const { sim, broker } = await setStage(t, keyListing)
      sim.issueKey({ name: 'foreign' })
      const { keys, notices } = await broker.keys.list()
      t.match(
        keys.filter(({ state }) => state === 'current'),
        [{ origin: 'minted', profile: 'cloud' }],
      )
      t.match(
        keys.filter(({ state }) => state === 'retired'),
        [{ origin: 'browser' }],
      )
      t.equal(keys.filter(({ state }) => state === 'at_prefect').length, keyListing ? 2 : 0)
      t.equal(notices.length, keyListing ? 0 : 1)
      t.notMatch(JSON.stringify(keys), /pnu_/)
    }
  },
)

t.test('shows a created key once, and deletes by id, but not the key that is served', async (t) => {
  const { sim, broker } = await setStage(t)
  const created = await broker.keys.create({ name: 'for a friend', expiresAt: Date.now() + 3_600_000 })
  t.equal(sim.keys.find(created.key.reveal())?.id, created.id)
  t.equal(await broker.keys.delete(created.id), 'deleted')
  await t.rejects(broker.keys.delete(created.id), { code: 'key_not_found', hint: 'prefect-auth keys ls' })
  const current = sim.keys.find(broker.served() ?? '')?.id ?? ''
  await t.rejects(broker.keys.delete(current), { code: 'profile_in_use' })
  t.equal(sim.keys.find(broker.served() ?? '')?.deletedAt, undefined)
  t.match(
    broker.audited.map(({ action }) => action),
    ['login'],
    'what a caller asks for is recorded once, by the API',
  )
})

t.test('lists a key that was just created, whether Prefect lists it or not, until it is gone', async (t) => {
  const HOUR = 3_600_000
  for (const keyListing of [false, true]) {
    const { sim, broker, reopen } = await setStage(t, keyListing)
    const made = await broker.keys.create({ name: 'for ci', expiresAt: Date.now() + HOUR })
    const shown = async (from: TestBroker) =>
      (await from.keys.list('cloud')).keys.filter(({ id }) => id === made.id)
    t.match(await shown(broker), [{ state: 'at_prefect', name: 'for ci', profile: 'cloud' }])
    t.equal((await shown(broker)).length, 1, 'once')
    t.notMatch(await readFile(join(broker.stateDir, 'ledger.json'), 'utf8'), made.key.reveal())
    const again = await reopen()
    t.equal((await shown(again)).length, 1, 'after a restart too')
    sim.keys.delete(made.id)
    t.equal((await shown(again)).length, 1, 'Prefect may lag')
    sim.clock.advance(HOUR / 2)
    t.equal((await shown(again)).length, 0, 'but not for half an hour')
    t.strictSame(Object.keys(again.keeper.ledger().made ?? {}), [], 'and it is forgotten')
  }
})

t.test('says so if the answer to a creation was lost; a certain refusal leaves nothing', async (t) => {
  const { sim, broker } = await setStage(t)
  sim.faults.next({ path: /api_keys$/, method: 'POST' }, { kind: 'reset', when: 'after' })
  await t.rejects(broker.keys.create({ name: 'nobody heard' }), { code: 'prefect_unreachable' })
  t.match((await broker.keys.list()).notices, [/./, /creation of key 'nobody heard' was lost/])
  sim.allowMinting(false)
  await t.rejects(broker.keys.create({ name: 'refused' }), { code: 'prefect_forbidden' })
  t.equal(Object.keys(broker.keeper.ledger().made ?? {}).length, 1)
})

t.test('creates nothing that has already ended, and nothing that cannot be noted first', async (t) => {
  const { sim, broker } = await setStage(t)
  const minted = () =>
    sim.requests.filter(({ method, path }) => method === 'POST' && /api_keys$/.test(path)).length
  const before = minted()
  await t.rejects(broker.keys.create({ name: 'late', expiresAt: Date.now() - 1 }), { code: 'bad_request' })
  broker.failUpdates(() => true)
  await t.rejects(broker.keys.create({ name: 'unnoted' }), { code: 'disk_failed' })
  t.equal(minted(), before)
})

t.test('deletes no key that is not there, or is in use under another name', async (t) => {
  const { sim, broker } = await setStage(t)
  const deletions = () => sim.requests.filter(({ method }) => method === 'DELETE').length
  const before = deletions()
  const nobody = '00000000-0000-4000-8000-000000000000'
  await t.rejects(broker.keys.delete(nobody), { code: 'key_not_found', message: new RegExp(nobody) })
  const pasted = await broker.keys.create({ name: 'pasted into another profile' })
  const text = pasted.key.reveal()
  await broker.logins.keep(
    await broker.delivery(text, { profile: 'two', via: 'pasted', isToBeActive: false }),
  )
  await t.rejects(broker.keys.delete(pasted.id), { code: 'profile_in_use', message: /'two'|two/ })
  const written = await broker.keys.create({ name: 'written into the file' })
  const url = sim.workspaceUrl('prefect/terry')
  await appendFile(
    broker.profilesFile,
    `\n[profiles.three]\nPREFECT_API_URL = "${url}"\nPREFECT_API_KEY = "${written.key.reveal()}"\n`,
  )
  await broker.store.refresh({ force: true })
  await broker.credentials.settle()
  await t.rejects(broker.keys.delete(written.id, { isSure: true }), {
    code: 'profile_in_use',
    message: /three/,
  })
  t.equal(deletions(), before)
})

t.test('a key whose id nobody knows may be the one that is asked about: only on demand', async (t) => {
  const { sim, broker } = await setStage(t)
  const own = sim.issueKey({ name: 'cli-of-today' })
  await broker.logins.keep(await broker.delivery(own, { profile: 'two', isToBeActive: false }))
  const ownId = sim.keys.find(own)?.id ?? ''
  await t.rejects(broker.keys.delete(ownId), {
    code: 'profile_in_use',
    message: /may be the one being used by profile 'two'/,
    hint: `prefect-auth keys delete ${ownId} --yes      (if it is another one)`,
  })
  sim.clock.advance(3_600_000)
  sim.issueKey({ name: 'created later' })
  const later = sim.keys.all().at(-1)?.id ?? ''
  t.equal(await broker.keys.delete(later), 'deleted', 'it did not exist when ours was in use')
  t.equal(await broker.keys.delete(ownId, { isSure: true }), 'deleted')
})

t.test('lists workspaces with the current one, and writes the URL of the chosen one', async (t) => {
  const { sim, broker } = await setStage(t)
  const { workspaces, currentId } = await broker.workspaces.list()
  t.equal(workspaces.length, 2)
  t.ok(workspaces.some(({ workspaceId }) => workspaceId === currentId))
  const { apiUrl } = await broker.workspaces.choose(undefined, 'prefect/other')
  t.equal(apiUrl, sim.workspaceUrl('prefect/other'))
  t.match(broker.credentials.serve('cloud'), { apiUrl, workspace: { handle: 'prefect/other' } })
  await t.rejects(broker.workspaces.choose(undefined, 'prefect/nowhere'), { code: 'workspace_not_found' })
  await broker.profiles.use('local')
  await t.rejects(broker.workspaces.list(), { code: 'profile_not_cloud' })
})

t.test(
  'logs in to the active profile, to cloud if that is a bundled one, or to a new one by name',
  async (t) => {
    const { sim, broker } = await setStage(t)
    const { store, keeper, defaults } = broker
    const target = (name?: string) => findLoginTarget({ store, keeper, defaults }, name)
    t.match(await target(), {
      profile: 'cloud',
      cloudApiUrl: sim.apiUrl,
      cloudUiUrl: sim.uiUrl,
      owner: { handle: 'terry' },
      isToBeActive: undefined,
    })
    await broker.profiles.use('local')
    t.match(await target(), { profile: 'cloud', isToBeActive: true })
    t.match(await target('brand-new'), { profile: 'brand-new', owner: undefined, isToBeActive: undefined })
    await t.rejects(target('local'), { code: 'profile_not_cloud', hint: /prefect-auth login/ })
    await t.rejects(target('no way'), { code: 'profile_name_invalid' })
    const { writeFile } = await import('node:fs/promises')
    await writeFile(broker.profilesFile, 'active = "work"\n[profiles.work]\n')
    t.match(await target(), { profile: 'work' }, 'the file as it is now, not as it was')
    await writeFile(broker.profilesFile, '[')
    await t.rejects(target(), { code: 'profiles_file_invalid' })
  },
)

t.test('does not delete a replaced key while it is in the profile file', async (t) => {
  const { sim, broker } = await setStage(t)
  await broker.logins.keep(await broker.delivery(sim.issueKey(), { exchange: true }))
  const replaced = broker.served() ?? ''
  await broker.write(`${await broker.file()}PREFECT_API_KEY = "${replaced}"\n`)
  await broker.rotator.rotate('cloud')
  const id = sim.keys.find(replaced)?.id ?? ''
  await t.rejects(broker.keys.delete(id), { code: 'profile_in_use', message: /cloud/ })
  t.equal(sim.keys.find(replaced)?.deletedAt, undefined)
})
