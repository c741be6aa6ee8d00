import t, { type Test } from 'tap'
import { startCloudSimulator } from '../../sim/simulator.js'
import { findLoginTarget } from '../../src/login/target.js'
import { makeRoot, openBroker } from '../fixtures/broker.js'

async function setStage(t: Test, keyListing = false) {
  const sim = await startCloudSimulator({
    keyListing,
    accounts: [{ handle: 'prefect', workspaces: ['terry', 'other'] }],
  })
  const root = await makeRoot(t)
  const broker = await openBroker({ root, sim })
  t.after(async () => {
    await broker.close()
    await sim.close()
  })
  await broker.logins.keep(await broker.delivery(sim.issueKey({ name: 'delivered' }), { exchange: true }))
  return { sim, broker }
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
  t.equal(await broker.keys.delete(created.id), 'already_gone')
  const current = sim.keys.find(broker.served() ?? '')?.id ?? ''
  await t.rejects(broker.keys.delete(current), { code: 'profile_in_use' })
  t.equal(sim.keys.find(broker.served() ?? '')?.deletedAt, undefined)
  t.match(
    broker.audited.map(({ action }) => action),
    ['login'],
    'what a caller asks for is recorded once, by the API',
  )
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
