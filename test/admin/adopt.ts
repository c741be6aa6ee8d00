import t, { type Test } from 'tap'
import { type Simulator, startCloudSimulator } from '../../sim/simulator.js'
import { makeRoot, openBroker, type TestBroker } from '../fixtures/broker.js'

async function setStage(t: Test, policy: { adopt?: 'report' | 'auto'; mirror?: boolean } = {}) {
  const sim = await startCloudSimulator()
  const root = await makeRoot(t)
  const opened: TestBroker[] = []
  t.after(async () => {
    for (const one of opened) await one.close()
    await sim.close()
  })
  const open = async () => {
    const broker = await openBroker({ root, sim, policy })
    opened.push(broker)
    return broker
  }
  return { sim, broker: await open(), reopen: open }
}

function fileWith(sim: Simulator, key: string): string {
  return `active = "cloud"\n# kept\n[profiles.cloud]\nPREFECT_API_URL = "${sim.workspaceUrl('prefect/terry')}"\nPREFECT_API_KEY = "${key}"\n`
}

t.test('adopts the key into the vault, then removes it from the file, and knows the owner', async (t) => {
  const { sim, broker, reopen } = await setStage(t)
  const key = sim.issueKey()
  await broker.write(fileWith(sim, key))
  t.match(broker.credentials.serve('cloud'), { key: { origin: 'profile' }, item: undefined })
  const { fingerprint } = await broker.profiles.adopt('cloud')
  t.equal(fingerprint, broker.credentials.serve('cloud').key?.fingerprint)
  t.notMatch(await broker.file(), 'pnu_')
  t.match(await broker.file(), '# kept')
  t.match(broker.credentials.serve('cloud'), {
    owner: { handle: 'terry' },
    workspace: { handle: 'prefect/terry' },
  })
  t.match(Object.values(broker.ledger.read().keys), [{ handedOut: true }], 'it was readable by everything')
  const again = await reopen()
  await again.recover()
  t.equal(again.served(), key)
})

t.test(
  'serves the key after a crash at any step of an adoption, and finishes it when asked again',
  async (t) => {
    const crashAt = async (ahead: number) => {
      const { sim, broker, reopen } = await setStage(t)
      const key = sim.issueKey()
      await broker.write(fileWith(sim, key))
      const steps = broker.saboteur.steps.length
      broker.saboteur.arm(ahead)
      await broker.profiles.adopt('cloud').catch(() => undefined)
      const again = await reopen()
      await again.recover()
      const served = again.served()
      await again.profiles.adopt('cloud').catch((error: { code?: string }) => {
        if (error.code !== 'profile_has_no_key') throw error
      })
      return {
        total: broker.saboteur.steps.length - steps,
        ...{ key, served, finally: again.served(), file: await again.file() },
        records: Object.keys(again.ledger.read().keys).length,
      }
    }
    const { total } = await crashAt(Number.POSITIVE_INFINITY)
    t.ok(total >= 14)
    for (let step = 1; step <= total; step += 1) {
      const found = await crashAt(step)
      t.equal(found.served, found.key, `step ${step}: served after the crash`)
      t.equal(found.finally, found.key, `step ${step}: served after the second adoption`)
      t.notMatch(found.file, 'pnu_', `step ${step}: out of the file`)
      t.ok(found.records >= 1, `step ${step}`)
    }
  },
)

t.test('leaves a key where it is if Prefect rejects it', async (t) => {
  const { sim, broker } = await setStage(t)
  const key = `pnu_${'x'.repeat(36)}`
  await broker.write(fileWith(sim, key))
  await t.rejects(broker.profiles.adopt('cloud'), { code: 'key_rejected' })
  t.match(await broker.file(), key)
  t.strictSame(broker.ledger.read().keys, {})
})

t.test('adopts a key while Prefect is unreachable if none is stored, but replaces none', async (t) => {
  const { sim, broker } = await setStage(t)
  sim.faults.always({ path: '/api/me/' }, { kind: 'status', status: 503 })
  const key = sim.issueKey()
  await broker.write(fileWith(sim, key))
  await broker.profiles.adopt('cloud')
  t.equal(broker.served(), key)
  t.equal(broker.credentials.serve('cloud').owner, undefined)
  const other = sim.issueKey()
  await broker.write(fileWith(sim, other))
  await t.rejects(broker.profiles.adopt('cloud'), { code: 'prefect_failed' })
  t.equal(broker.served(), other, 'the newer one is served out of the file')
  t.equal(broker.keeper.keyOf(broker.keeper.profile('cloud').currentItem ?? '')?.reveal(), key)
})

t.test('says if there is nothing to adopt, no Cloud profile, or only one of our own tokens', async (t) => {
  const { sim, broker } = await setStage(t)
  await broker.write(`[profiles.cloud]\nPREFECT_API_URL = "${sim.workspaceUrl('prefect/terry')}"\n`)
  await t.rejects(broker.profiles.adopt('cloud'), { code: 'profile_has_no_key' })
  await broker.write('[profiles.own]\nPREFECT_API_URL = "http://127.0.0.1:4200/api"\nPREFECT_API_KEY = "x"\n')
  await t.rejects(broker.profiles.adopt('own'), { code: 'profile_not_cloud' })
  await broker.write(fileWith(sim, `pab_${'a'.repeat(43)}`))
  await t.rejects(broker.profiles.adopt('cloud'), { code: 'profile_has_no_key' })
  t.strictSame(sim.requests, [], 'and Prefect is not asked')
})

t.test('adopts a new key automatically, and asks Prefect once about one that it rejects', async (t) => {
  const { sim, broker } = await setStage(t, { adopt: 'auto' })
  await broker.write(fileWith(sim, `pnu_${'x'.repeat(36)}`))
  for (let round = 0; round < 3; round += 1) await broker.minder.look()
  t.equal(sim.requests.filter(({ path }) => path === '/api/me/').length, 1)
  const key = sim.issueKey()
  await broker.write(fileWith(sim, key))
  await broker.minder.look()
  t.equal(broker.served(), key)
  t.notMatch(await broker.file(), 'pnu_')
  const told = broker.events.since(0).events.filter(({ type }) => type === 'profiles.plaintext_key')
  t.equal(told.length, 2, 'each key is reported once')
})

t.test('only removes an old mirror from the file, and serves the newer key all the time', async (t) => {
  const { sim, broker } = await setStage(t)
  const old = sim.issueKey()
  const fresh = sim.issueKey()
  await broker.logins.keep(await broker.delivery(old))
  await broker.logins.keep(await broker.delivery(fresh))
  await broker.write(fileWith(sim, old))
  t.equal(broker.served(), fresh)
  await broker.profiles.adopt('cloud')
  t.equal(broker.served(), fresh)
  t.notMatch(await broker.file(), 'pnu_')
})

t.test('marks a key as handed out before it mirrors it, and follows the current key', async (t) => {
  const { sim, broker } = await setStage(t, { mirror: true })
  const key = sim.issueKey()
  await broker.logins.keep(await broker.delivery(key))
  const from = broker.saboteur.steps.length
  await broker.minder.look()
  t.match(await broker.file(), `PREFECT_API_KEY = "${key}"`)
  const steps = broker.saboteur.steps.slice(from)
  const mark = steps.indexOf('after ledger.update')
  t.ok(mark >= 0 && mark < steps.indexOf('before store.edit'), 'the mark is durable first')
  t.match(Object.values(broker.ledger.read().keys), [{ handedOut: true }])
  await broker.rotator.rotate('cloud')
  await broker.minder.look()
  await broker.minder.look()
  t.match(await broker.file(), `PREFECT_API_KEY = "${broker.served()}"`)
  t.not(broker.served(), key)
  const edits = broker.saboteur.steps.filter((step) => step === 'before store.edit').length
  await broker.minder.look()
  t.equal(
    broker.saboteur.steps.filter((step) => step === 'before store.edit').length,
    edits,
    'what is there is not written again',
  )
  await broker.profiles.logout('cloud', { revoke: false })
  await broker.minder.look()
  t.notMatch(await broker.file(), 'pnu_')
})

t.test('does not overwrite a newer key in the file with the mirror of an older one', async (t) => {
  const { sim, broker } = await setStage(t, { mirror: true })
  await broker.logins.keep(await broker.delivery(sim.issueKey()))
  await broker.minder.look()
  const newer = sim.issueKey()
  await broker.write(fileWith(sim, newer))
  await broker.minder.look()
  t.match(await broker.file(), newer)
  t.equal(broker.served(), newer)
})
