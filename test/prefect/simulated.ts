/** Every call against the simulated Prefect Cloud, which keeps keys and lets them expire. */
import t from 'tap'
import { startCloudSimulator } from '../../sim/simulator.js'
import { Secret } from '../../src/std/secret.js'
import { createTestCloud, failureOf } from '../fixtures/cloud-client.js'

t.test('a key is made, used, read, listed and deleted', async (t) => {
  const simulator = await startCloudSimulator({ keyListing: true, deletedKeyGrace: 0 })
  const cloud = createTestCloud()
  t.teardown(async () => Promise.all([cloud.close(), simulator.close()]))
  const at = (key: Secret) => ({ cloudApiUrl: simulator.apiUrl, key })
  const owner = at(new Secret(simulator.issueKey()))

  const user = await cloud.me(owner)
  t.ok(user.handle)
  const workspaces = await cloud.workspaces(owner)
  t.ok(workspaces.length > 0)

  const expiresAt = Math.floor(simulator.clock.now() / 1000) * 1000 + 3_600_000
  const minted = await cloud.createKey(owner, user.id, { name: 'ours', expiresAt })
  t.equal(minted.expiresAt, expiresAt)
  t.match(await cloud.me(at(minted.key)), { id: user.id })
  t.match(await cloud.readKey(owner, user.id, minted.id), { id: minted.id, name: 'ours', expiresAt })
  t.ok((await cloud.listKeys(owner, user.id))?.some(({ id }) => id === minted.id))

  t.equal(await cloud.deleteKey(owner, user.id, minted.id), 'deleted')
  t.equal(await cloud.deleteKey(owner, user.id, minted.id), 'already_gone')
  t.equal(await cloud.readKey(owner, user.id, minted.id), undefined)
  t.equal((await failureOf(cloud.me(at(minted.key)))).code, 'key_rejected')
})

t.test('a service account has workspaces and no user; without a list of keys there is none', async (t) => {
  const simulator = await startCloudSimulator({ bots: [{ name: 'ci', account: 'prefect' }] })
  const cloud = createTestCloud()
  t.teardown(async () => Promise.all([cloud.close(), simulator.close()]))
  const bot = { cloudApiUrl: simulator.apiUrl, key: new Secret(simulator.issueBotKey({ bot: 'ci' })) }
  t.ok((await cloud.workspaces(bot)).length > 0)
  const refused = await failureOf(cloud.me(bot))
  t.equal(refused.code, 'prefect_forbidden')
  t.match(refused.message, 'Only users (not service accounts)')
  const owner = { cloudApiUrl: simulator.apiUrl, key: new Secret(simulator.issueKey()) }
  const user = await cloud.me(owner)
  t.equal(await cloud.listKeys(owner, user.id), undefined)
  simulator.allowMinting(false)
  t.equal((await failureOf(cloud.createKey(owner, user.id, { name: 'n' }))).code, 'prefect_forbidden')
})
