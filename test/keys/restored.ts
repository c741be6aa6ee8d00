/** A ledger restored from its older copy: what was decided since holds, and no living key is forgotten. */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { type Simulator, startCloudSimulator } from '../../sim/simulator.js'
import { Secret } from '../../src/std/secret.js'
import { makeRoot, openBroker, type TestBroker } from '../fixtures/broker.js'

interface Stage {
  readonly sim: Simulator
  readonly broker: TestBroker
  /** Does it, damages the ledger so that its older copy, with the change under way, is used, and opens the broker again. */
  restart(act: () => Promise<unknown>): Promise<TestBroker>
}

const KEY_OF_US = /^prefect-auth /

async function setStage(t: Test): Promise<Stage> {
  const sim = await startCloudSimulator({ accounts: [{ handle: 'prefect', workspaces: ['terry', 'other'] }] })
  const root = await makeRoot(t)
  const open: TestBroker[] = []
  t.after(async () => {
    for (const one of open) await one.close()
    await sim.close()
  })
  const openOne = async () => {
    const broker = await openBroker({ root, sim })
    open.push(broker)
    return broker
  }
  const broker = await openOne()
  await broker.recover()
  return {
    ...{ sim, broker },
    async restart(act) {
      const path = join(broker.stateDir, 'ledger.json')
      const copies: string[] = []
      broker.saboteur.onStep((step) => {
        if (step === 'after ledger.update') copies.push(readFileSync(path, 'utf8'))
      })
      await act()
      await broker.close()
      const older = copies.filter((text) => text.includes('"step":"intended"')).at(-1) ?? ''
      t.not(older, '', 'the change was noted')
      writeFileSync(`${path}.previous`, older, { mode: 0o600 })
      writeFileSync(path, '{')
      return openOne()
    },
  }
}

async function logIn({ sim, broker }: Stage, { key = sim.issueKey(), workspace = 0 } = {}): Promise<string> {
  const delivery = await broker.delivery(key)
  await broker.logins.keep({ ...delivery, workspace: delivery.workspaces[workspace] ?? delivery.workspace })
  return key
}

const records = (broker: TestBroker) =>
  Object.keys(broker.keeper.ledger().keys).map((item) => broker.keeper.keyOf(item)?.reveal())

for (const [name, { isFirst, workspace }] of Object.entries({
  'a first login': { isFirst: true, workspace: 0 },
  'a login over another key': { isFirst: false, workspace: 0 },
  'a login to another workspace': { isFirst: false, workspace: 1 },
})) {
  t.test(`${name} that was committed since holds`, async (t) => {
    const stage = await setStage(t)
    if (!isFirst) await logIn(stage)
    const key = stage.sim.issueKey()
    const again = await stage.restart(() => logIn(stage, { key, workspace }))
    await again.recover()
    t.equal(again.served(), key)
    const { resolved } = again.credentials.state('cloud')
    t.equal(resolved.apiUrl, stage.sim.workspaceUrl(workspace === 0 ? 'prefect/terry' : 'prefect/other'))
    t.match(again.keeper.profile('cloud').owner, { handle: 'terry' })
    t.strictSame(again.journal.read().entries, {})
  })
}

t.test('while Prefect cannot be asked the new key fills a gap, and replaces nothing', async (t) => {
  for (const isFirst of [true, false]) {
    const stage = await setStage(t)
    const old = isFirst ? 'login_required' : await logIn(stage)
    const key = stage.sim.issueKey()
    const again = await stage.restart(() => logIn(stage, { key, workspace: 1 }))
    const outage = stage.sim.faults.always({}, { kind: 'reset', when: 'before' })
    await again.recover()
    t.equal(again.served(), isFirst ? key : old)
    const { outcome } = again.credentials.state('cloud')
    if (outcome.kind === 'served') {
      t.equal(outcome.served.apiUrl, stage.sim.workspaceUrl(isFirst ? 'prefect/other' : 'prefect/terry'))
    }
    outage.disarm()
    await again.recover()
    t.equal(again.served(), key)
  }
})

t.test('a key that Prefect does not take replaces nothing', async (t) => {
  const stage = await setStage(t)
  const old = await logIn(stage)
  const key = stage.sim.issueKey()
  const again = await stage.restart(() => logIn(stage, { key }))
  stage.sim.keys.rejectFrom(stage.sim.keys.find(key)?.id ?? '', 0)
  await again.recover()
  t.equal(again.served(), old)
  t.strictSame(again.journal.read().entries, {})
})

t.test('a login that was undone stays undone', async (t) => {
  const stage = await setStage(t)
  const old = await logIn(stage)
  const again = await stage.restart(async () => {
    const mend = stage.broker.saboteur.fail('store.edit', 'before', () => new Error('no'))
    await t.rejects(logIn(stage, { workspace: 1 }))
    mend()
  })
  await again.recover()
  t.equal(again.served(), old)
  t.equal(again.credentials.state('cloud').resolved.apiUrl, stage.sim.workspaceUrl('prefect/terry'))
  t.strictSame(records(again), [old])
  t.strictSame(again.journal.read().entries, {})
})

t.test('an adoption that was committed since holds: the key does not go back into the file', async (t) => {
  const stage = await setStage(t)
  const plain = stage.sim.issueKey({ name: 'plain' })
  await stage.broker.write(
    `[profiles.cloud]\nPREFECT_API_URL = "${stage.sim.workspaceUrl('prefect/terry')}"\nPREFECT_API_KEY = "${plain}"\nactive = "cloud"\n`,
  )
  const again = await stage.restart(() => stage.broker.profiles.adopt('cloud'))
  await again.recover()
  t.equal(again.served(), plain)
  t.notMatch(await again.file(), plain)
  t.strictSame(records(again), [plain])
})

t.test('a new profile that was committed since holds, with its auth string', async (t) => {
  const stage = await setStage(t)
  const apiUrl = 'http://127.0.0.1:4200/api'
  const again = await stage.restart(() =>
    stage.broker.profiles.create({ name: 'own', apiUrl, authString: new Secret('admin:pass') }),
  )
  await again.recover()
  t.equal(again.credentials.serve('own').authString?.reveal(), 'admin:pass')
})

t.test('a log-out that was committed since holds, as far as the vault has forgotten the keys', async (t) => {
  const stage = await setStage(t)
  await logIn(stage)
  const again = await stage.restart(() => stage.broker.profiles.logout('cloud', { revoke: false }))
  await again.recover()
  t.equal(again.served(), 'login_required')
  t.strictSame(records(again), [])
})

t.test('a rename that was committed since holds', async (t) => {
  const stage = await setStage(t)
  const key = await logIn(stage)
  const again = await stage.restart(() => stage.broker.profiles.rename('cloud', 'work'))
  await again.recover()
  t.equal(again.served('work'), key)
  t.match(await again.file(), /\[profiles\.work\]/)
})

t.test('what came since then is not touched', async (t) => {
  const stage = await setStage(t)
  const old = await logIn(stage)
  const key = stage.sim.issueKey()
  const again = await stage.restart(() => logIn(stage, { key, workspace: 1 }))
  // Another program has given the profile another workspace: the change can be neither finished nor undone.
  const url = stage.sim.workspaceUrl('prefect/terry')
  await again.write(`active = "cloud"\n[profiles.cloud]\nPREFECT_API_URL = "${url}" # mine\n`)
  await again.recover()
  t.equal(again.served(), old)
  t.match(await again.file(), /# mine/)
  t.ok(records(again).includes(key), 'and the new key is kept, because it lives')
  t.ok(stage.sim.keys.all().every(({ name, deletedAt }) => KEY_OF_US.test(name) || deletedAt === undefined))
})
