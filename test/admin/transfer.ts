import t from 'tap'
import { startCloudSimulator } from '../../sim/simulator.js'
import { Secret } from '../../src/std/secret.js'
import { makeRoot, openBroker } from '../fixtures/broker.js'

const PASSPHRASE = new Secret('four random words here')

t.test('a vault that cannot be read is not exported as an empty one', async (t) => {
  const sim = await startCloudSimulator({ accounts: [{ handle: 'prefect', workspaces: ['terry'] }] })
  const broker = await openBroker({ root: await makeRoot(t), sim, passphrase: 'correct horse' })
  t.after(async () => {
    await broker.close()
    await sim.close()
  })
  await broker.logins.keep(await broker.delivery(sim.issueKey()))
  await broker.vaultAdmin.lock()
  await t.rejects(broker.app.transfer.export(PASSPHRASE), {
    code: 'vault_locked',
    hint: /prefect-auth unlock/,
  })
  await broker.vaultAdmin.unlock(new Secret('correct horse'))
  t.same((await broker.app.transfer.export(PASSPHRASE)).profiles, ['cloud'])
})
