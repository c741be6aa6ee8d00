/** Whose key it is, as Prefect tells it; with the real client against a simulated Prefect Cloud. */
import t from 'tap'
import { startCloudSimulator } from '../../sim/simulator.js'
import { verifyKey } from '../../src/prefect/cloud.js'
import { Secret } from '../../src/std/secret.js'
import { createTestCloud } from '../fixtures/cloud-client.js'

t.test('users are asked for, service accounts are known by their account', async (t) => {
  const sim = await startCloudSimulator({
    accounts: [
      { handle: 'acme', workspaces: ['prod', 'staging'] },
      { handle: 'empty', workspaces: [] },
    ],
    users: [{ handle: 'terry', email: 'terry@example.com', accounts: ['acme'] }],
    bots: [
      { name: 'ci', account: 'acme', workspaces: ['acme/staging'] },
      { name: 'idle', account: 'empty' },
    ],
  })
  const cloud = createTestCloud()
  t.teardown(() => Promise.all([sim.close(), cloud.close()]))
  const verify = (text: string) => verifyKey(cloud, { cloudApiUrl: sim.apiUrl, key: new Secret(text) })
  const paths = () => sim.requests.map(({ path }) => path)

  const user = await verify(sim.issueKey())
  t.match(user.owner, { kind: 'user', handle: 'terry', email: 'terry@example.com' })
  t.strictSame(user.workspaces.map(({ workspaceHandle }) => workspaceHandle).sort(), ['prod', 'staging'])

  sim.forgetRequests()
  const bot = await verify(sim.issueBotKey({ bot: 'ci' }))
  t.match(bot, {
    owner: { kind: 'service_account', handle: 'acme' },
    workspaces: [{ workspaceHandle: 'staging' }],
  })
  t.strictSame(paths(), ['/api/me/workspaces'], 'never /me/')

  await t.rejects(verify(sim.issueBotKey({ bot: 'idle' })), { code: 'workspace_none' })
  sim.forgetRequests()
  await t.rejects(verify('pnu_junk'), { code: 'key_rejected' })
  t.strictSame(paths(), ['/api/me/'], 'junk costs one request')
})
