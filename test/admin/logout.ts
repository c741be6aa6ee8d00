import { readFileSync, writeFileSync } from 'node:fs'
import { readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { startCloudSimulator } from '../../sim/simulator.js'
import { makeRoot, openBroker } from '../fixtures/broker.js'

async function setStage(t: Test, { passphrase }: { passphrase?: string } = {}) {
  const sim = await startCloudSimulator()
  const root = await makeRoot(t)
  const broker = await openBroker({ root, sim, ...(passphrase === undefined ? {} : { passphrase }) })
  t.after(async () => {
    await broker.close()
    await sim.close()
  })
  return { sim, broker, root }
}

async function items(stateDir: string): Promise<number> {
  return (await readdir(join(stateDir, 'vault'))).filter((name) => /^[0-9a-f]{64}$/.test(name)).length
}

t.test('forgets every key of the profile at log-out, and keeps the URL', async (t) => {
  const { sim, broker } = await setStage(t)
  await broker.logins.keep(await broker.delivery(sim.issueKey(), { exchange: true }))
  t.equal(await items(broker.stateDir), 2)
  const { forgotten, revoked, notRevoked } = await broker.profiles.logout('cloud', { revoke: false })
  t.strictSame([forgotten.length, revoked, notRevoked], [2, [], []])
  t.equal(broker.served(), 'login_required')
  t.equal(await items(broker.stateDir), 0)
  t.match(await broker.file(), sim.workspaceUrl('prefect/terry'))
  t.strictSame(broker.ledger.read().keys, {})
  t.equal(sim.keys.all().filter(({ deletedAt }) => deletedAt !== undefined).length, 0)
})

t.test('deletes keys of known id with --revoke, and reports the others', async (t) => {
  const { sim, broker } = await setStage(t)
  const delivered = sim.issueKey({ name: 'from the browser' })
  await broker.logins.keep(await broker.delivery(delivered, { exchange: true }))
  const minted = broker.served() ?? ''
  const plain = sim.issueKey({ name: 'plain' })
  await broker.write(`${await broker.file()}PREFECT_API_KEY = "${plain}"\n`)
  const outcome = await broker.profiles.logout('cloud', { revoke: true })
  t.equal(sim.keys.find(minted)?.deletedAt !== undefined, true)
  t.equal(outcome.revoked.length, 1)
  t.equal(outcome.notRevoked.length, 2, 'the delivered one, and the one in the file')
  t.match(outcome.notRevoked, [
    { reason: /id at Prefect is not known/ },
    { reason: /id at Prefect is not known/ },
  ])
  t.equal(outcome.forgotten.length, 3)
  t.notMatch(await broker.file(), 'pnu_')
})

t.test('reports keys that could not be deleted with --revoke, and forgets them anyway', async (t) => {
  const { sim, broker } = await setStage(t)
  await broker.logins.keep(await broker.delivery(sim.issueKey(), { exchange: true }))
  sim.faults.always({ method: 'DELETE' }, { kind: 'status', status: 403, body: { detail: 'no' } })
  const outcome = await broker.profiles.logout('cloud', { revoke: true })
  t.strictSame(outcome.revoked, [])
  t.match(outcome.notRevoked.map(({ reason }) => reason).join(), /answered 403/)
  t.equal(broker.served(), 'login_required')
})

t.test('a key that another program puts back while Prefect is asked is still known', async (t) => {
  const { sim, broker } = await setStage(t)
  await broker.logins.keep(await broker.delivery(sim.issueKey(), { exchange: true }))
  const served = broker.served() ?? ''
  const { item = '' } = broker.credentials.serve('cloud')
  sim.faults.always({ method: 'DELETE' }, { kind: 'status', status: 503, body: {} })
  broker.saboteur.onStep((step) => {
    if (!step.includes('deleteKey')) return
    const text = readFileSync(broker.profilesFile, 'utf8')
    if (text.includes(served)) return
    writeFileSync(broker.profilesFile, `${text}PREFECT_API_KEY = "${served}"\n`)
  })
  await broker.profiles.logout('cloud', { revoke: true })
  t.ok(broker.ledger.read().keys[item])
  await broker.minder.look()
  t.match(broker.credentials.serve('cloud'), { owner: { handle: 'terry' }, key: { origin: 'minted' } })
  t.equal(broker.served(), served)
})

t.test('keeps keys that could not be deleted, out of use, where that is asked for', async (t) => {
  const { sim, broker } = await setStage(t)
  await broker.logins.keep(await broker.delivery(sim.issueKey(), { exchange: true }))
  const minted = broker.served() ?? ''
  sim.faults.always({ method: 'DELETE' }, { kind: 'status', status: 403, body: { detail: 'no' } })
  const logOut = () => broker.profiles.logout('cloud', { revoke: true, keepUnrevoked: true })
  t.match(await logOut(), { revoked: [], notRevoked: [{}, {}] })
  t.equal(broker.served(), 'login_required')
  t.equal(await items(broker.stateDir), 2, 'the delivered one has no known id')
  t.strictSame(broker.journal.read().entries, {}, 'and nothing is under way')
  sim.faults.clear()
  t.match(await logOut(), { revoked: [/^sha256/], notRevoked: [{ reason: /id at Prefect is not known/ }] })
  t.equal(sim.keys.find(minted)?.deletedAt !== undefined, true, 'it can be tried again')
  t.equal(await items(broker.stateDir), 1)
  await broker.profiles.logout('cloud', { revoke: false })
  t.equal(await items(broker.stateDir), 0)
})

t.test('never sends the current key to the host of another key', async (t) => {
  const { sim, broker } = await setStage(t)
  const trap = await startCloudSimulator()
  t.after(() => trap.close())
  await broker.logins.keep(await broker.delivery(sim.issueKey(), { exchange: true }))
  const { currentItem = '' } = broker.keeper.profile('cloud')
  const current = broker.ledger.read().keys[currentItem]
  if (current === undefined) throw new Error('there must be a current key')
  const old = { ...current, item: 'key-old', cloudApiUrl: trap.apiUrl, cloudId: 'x', retiredAt: 1 }
  await broker.ledger.update((ledger) => ({ ...ledger, keys: { ...ledger.keys, 'key-old': old } }))
  const { notRevoked } = await broker.profiles.logout('cloud', { revoke: true })
  t.equal(trap.requests.length, 0)
  t.match(notRevoked.map(({ reason }) => reason).join(), /may not be sent there/)
})

t.test('forgets and revokes nothing if the file cannot be written', async (t) => {
  const { sim, broker } = await setStage(t)
  await broker.logins.keep(await broker.delivery(sim.issueKey(), { exchange: true }))
  const served = broker.served() ?? ''
  await broker.write(`${await broker.file()}PREFECT_API_KEY = "${served}"\n`)
  await writeFile(broker.profilesFile, '[profiles.cloud\n')
  await t.rejects(broker.profiles.logout('cloud', { revoke: true }), { code: 'profiles_file_invalid' })
  t.equal(broker.served(), served)
  t.equal(sim.keys.find(served)?.deletedAt, undefined)
})

t.test('forgets nothing while nobody knows whether the file has a key', async (t) => {
  const { sim, broker, root } = await setStage(t)
  await broker.logins.keep(await broker.delivery(sim.issueKey()))
  const served = broker.served()
  const text = await broker.file()
  await broker.close()
  await writeFile(broker.profilesFile, `${text}[profiles.\n`)
  const again = await openBroker({ root, sim })
  t.after(() => again.close())
  for (const revoke of [true, false]) {
    await t.rejects(again.profiles.logout('cloud', { revoke }), { code: 'profiles_file_invalid' })
  }
  await again.write(text)
  t.equal(again.served(), served)
})

t.test('deletes an item that a locked vault could not delete once the vault is open', async (t) => {
  const { sim, broker, root } = await setStage(t, { passphrase: 'correct horse' })
  await broker.logins.keep(await broker.delivery(sim.issueKey()))
  await broker.vaultAdmin.lock()
  await broker.profiles.logout('cloud', { revoke: false })
  t.equal(await items(broker.stateDir), 1, 'still there')
  t.equal(broker.ledger.read().doomed?.length, 1)
  const again = await openBroker({ root, sim, passphrase: 'correct horse' })
  t.equal(await items(broker.stateDir), 0)
  t.equal(again.ledger.read().doomed, undefined)
  await again.close()
})

t.test('forgets the keys of a profile that is no longer in the file', async (t) => {
  const { sim, broker } = await setStage(t)
  await broker.logins.keep(await broker.delivery(sim.issueKey(), { profile: 'work', isToBeActive: false }))
  await broker.write('active = "local"\n[profiles.local]\nPREFECT_API_URL = "http://127.0.0.1:4200/api"\n')
  t.throws(() => broker.credentials.serve('work'), { code: 'profile_not_found' })
  const { forgotten } = await broker.profiles.logout('work', { revoke: false })
  t.equal(forgotten.length, 1)
  t.equal(await items(broker.stateDir), 0)
  await t.rejects(broker.profiles.logout('work', { revoke: false }), { code: 'profile_not_found' })
})
