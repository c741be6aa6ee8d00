/** Deliveries of a login: the key is stored and the profile written, both or neither, whatever fails. */

import { readdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { type Simulator, startCloudSimulator } from '../../sim/simulator.js'
import { makeRoot, openBroker, type TestBroker } from '../fixtures/broker.js'

async function setStage(
  t: Test,
): Promise<{ sim: Simulator; broker: TestBroker; reopen(): Promise<TestBroker> }> {
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
    return broker
  }
  return { sim, broker: await open(), reopen: open }
}

t.test(
  'stores the key, writes the URL and makes the profile active, without writing the key to the file',
  async (t) => {
    const { sim, broker } = await setStage(t)
    const key = sim.issueKey()
    const outcome = await broker.logins.keep(await broker.delivery(key, { exchange: true }))
    t.match(outcome, { exchange: { isDone: true, message: /left to expire/ }, key: { origin: 'minted' } })
    const file = await broker.file()
    t.match(file, /active = "cloud"/)
    t.match(file, `PREFECT_API_URL = "${sim.workspaceUrl('prefect/terry')}"`)
    t.notMatch(file, 'pnu_')
    t.match(broker.credentials.serve('cloud'), {
      kind: 'cloud',
      owner: { kind: 'user', handle: 'terry', email: 'terry@example.com' },
      workspace: { handle: 'prefect/terry' },
      apiUrl: sim.workspaceUrl('prefect/terry'),
    })
    t.not(broker.served(), key)
    t.strictSame(broker.journal.read().entries, {})
  },
)

t.test('keeps the delivered key and reports it if Prefect refuses the exchange', async (t) => {
  const { sim, broker, reopen } = await setStage(t)
  sim.allowMinting(false)
  const key = sim.issueKey()
  const outcome = await broker.logins.keep(await broker.delivery(key, { exchange: true }))
  t.match(outcome, {
    key: { origin: 'browser', isExpiryAssumed: true },
    exchange: { isDone: false, message: /is kept.*does not let this key mint.*\(assumed\)/ },
  })
  const life = (outcome.key.expiresAt ?? 0) - (outcome.key.issuedAt ?? 0)
  t.equal(life, 29 * 86_400_000)
  t.equal(broker.served(), key)
  t.match(broker.credentials.state('cloud').notices.join(), /could not be exchanged/)
  const again = await reopen()
  await again.recover()
  t.match(
    again.credentials.state('cloud').notices.join(),
    /could not be exchanged/,
    'after a restart as well',
  )
  sim.allowMinting(true)
  await again.logins.keep(await again.delivery(sim.issueKey(), { exchange: true }))
  t.notMatch(
    again.credentials.state('cloud').notices.join(),
    /could not be exchanged/,
    'until an exchange succeeds',
  )
})

t.test('assumes no expiry for a pasted key, and exchanges it only on request', async (t) => {
  const { sim, broker } = await setStage(t)
  const key = sim.issueKey()
  const outcome = await broker.logins.keep(await broker.delivery(key, { via: 'pasted' }))
  t.equal(outcome.exchange, undefined)
  t.equal(outcome.key.origin, 'pasted')
  t.equal(outcome.key.expiresAt, undefined)
  t.equal(broker.served(), key)
})

t.test('stores nothing if the profiles file is not valid TOML', async (t) => {
  const { sim, broker } = await setStage(t)
  const broken = 'active = "cloud"\n[profiles.cloud\nPREFECT_API_URL = '
  const delivery = await broker.delivery(sim.issueKey())
  await writeFile(broker.profilesFile, broken)
  await t.rejects(broker.logins.keep(delivery), { code: 'profiles_file_invalid' })
  t.equal(await broker.file(), broken)
  t.strictSame(broker.ledger.read().keys, {})
  t.strictSame(broker.journal.read().entries, {})
  t.strictSame(
    (await readdir(join(broker.stateDir, 'vault'))).filter((name) => /^[0-9a-f]{64}$/.test(name)),
    [],
  )
})

t.test('leaves nothing behind and serves the old key if the vault fails', async (t) => {
  const { sim, broker } = await setStage(t)
  const old = sim.issueKey()
  await broker.logins.keep(await broker.delivery(old))
  await rm(join(broker.stateDir, 'vault'), { recursive: true })
  await t.rejects(broker.logins.keep(await broker.delivery(sim.issueKey())), { code: 'disk_failed' })
  t.equal(broker.served(), old)
  t.strictSame(Object.keys(broker.ledger.read().keys).length, 1)
  t.equal(
    Object.values(broker.ledger.read().keys).filter(({ retiredAt }) => retiredAt !== undefined).length,
    0,
  )
})

t.test('removes a plain-text key that would hide the new one, and keeps comments', async (t) => {
  const { sim, broker } = await setStage(t)
  const plain = sim.issueKey({ name: 'plain' })
  await broker.write(
    `# mine\nactive = "cloud"\n[profiles.cloud]\nPREFECT_API_URL = "${sim.workspaceUrl('prefect/terry')}" # here\nPREFECT_API_KEY = "${plain}"\n`,
  )
  t.equal(broker.served(), plain)
  const key = sim.issueKey()
  await broker.logins.keep(await broker.delivery(key))
  t.equal(broker.served(), key)
  t.notMatch(await broker.file(), 'pnu_')
  t.match(await broker.file(), '# mine')
  t.match(await broker.file(), '# here')
})

t.test('retires the first key of a profile at its second login, and keeps its record', async (t) => {
  const { sim, broker } = await setStage(t)
  await broker.logins.keep(await broker.delivery(sim.issueKey()))
  const before = broker.credentials.serve('cloud')
  const key = sim.issueKey()
  await broker.logins.keep(await broker.delivery(key))
  t.equal(broker.served(), key)
  t.equal(broker.credentials.serve('cloud').generation, before.generation + 1)
  t.type(broker.ledger.read().keys[before.item ?? '']?.retiredAt, 'number')
})

t.test('keeps the handed-out mark when the same key is delivered again', async (t) => {
  const { sim, broker } = await setStage(t)
  const key = sim.issueKey()
  await broker.logins.keep(await broker.delivery(key))
  await broker.credentials.markHandedOut(broker.credentials.serve('cloud'))
  await broker.logins.keep(await broker.delivery(key))
  const { currentItem = '' } = broker.keeper.profile('cloud')
  t.equal(broker.ledger.read().keys[currentItem]?.handedOut, true)
})

t.test('is complete or undone after a crash at any step', async (t) => {
  const crashAt = async (ahead: number, hasOld: boolean) => {
    const sim = await startCloudSimulator({
      accounts: [{ handle: 'prefect', workspaces: ['terry', 'other'] }],
    })
    const root = await makeRoot(t)
    const first = await openBroker({ root, sim })
    const old = sim.issueKey()
    const [terry, other] = (await first.delivery(old)).workspaces
    if (terry === undefined || other === undefined) throw new Error('two workspaces are needed')
    if (hasOld) await first.logins.keep(await first.delivery(old, { workspace: terry }))
    const fresh = sim.issueKey()
    const delivery = await first.delivery(fresh, { workspace: other })
    const steps = first.saboteur.steps.length
    first.saboteur.arm(ahead)
    await first.logins.keep(delivery).catch(() => undefined)
    const died = first.saboteur.isDead ? first.saboteur.steps.at(-1) : undefined
    const total = first.saboteur.steps.length - steps
    await first.close()
    const again = await openBroker({ root, sim })
    await again.recover()
    const served = again.served()
    const url = again.credentials.state('cloud').resolved.apiUrl
    const items = (await readdir(join(again.stateDir, 'vault'))).filter((name) => /^[0-9a-f]{64}$/.test(name))
    const result = {
      ...{ died, total, served, url, old, fresh },
      urls: { terry: sim.workspaceUrl(terry.workspaceId), other: sim.workspaceUrl(other.workspaceId) },
      entries: again.journal.read().entries,
      items: items.length,
      records: Object.keys(again.ledger.read().keys).length,
      file: await again.file(),
    }
    await again.close()
    await sim.close()
    return result
  }
  for (const hasOld of [false, true]) {
    const { total } = await crashAt(Number.POSITIVE_INFINITY, hasOld)
    t.ok(total >= 12)
    for (let step = 1; step <= total; step += 1) {
      const found = await crashAt(step, hasOld)
      const at = `${hasOld ? 'second' : 'first'} login, step ${step}: ${found.died}`
      t.ok(found.died, at)
      const isDone = found.served === found.fresh
      if (isDone) t.equal(found.url, found.urls.other, `${at}: key and URL belong together`)
      else {
        t.equal(found.served, hasOld ? found.old : undefined, `${at}: the key before`)
        t.equal(found.url, hasOld ? found.urls.terry : undefined, `${at}: the URL before`)
      }
      t.strictSame(found.entries, {}, `${at}: the journal is settled`)
      t.equal(found.items, found.records, `${at}: no item without a record, no record without an item`)
    }
  }
})
