import { randomBytes } from 'node:crypto'
import t, { type Test } from 'tap'
import { startCloudSimulator } from '../../sim/simulator.js'
import { sealEnvelope } from '../../src/keys/envelope.js'
import { Secret } from '../../src/std/secret.js'
import { makeRoot, openBroker, type TestBroker } from '../fixtures/broker.js'

async function setStage(t: Test, options: { passphrase?: string; mirror?: boolean } = {}) {
  const sim = await startCloudSimulator()
  const root = await makeRoot(t)
  const opened: TestBroker[] = []
  t.after(async () => {
    for (const one of opened) await one.close()
    await sim.close()
  })
  const { passphrase, mirror = false } = options
  const open = async () => {
    const broker = await openBroker({
      ...{ root, sim, policy: { mirror } },
      ...(passphrase === undefined ? {} : { passphrase }),
    })
    opened.push(broker)
    await broker.credentials.settle()
    return broker
  }
  return { sim, broker: await open(), reopen: open }
}

const ATTACKER = 'https://attacker.example/api'

t.test('serves nothing to a profile that was pointed at another Cloud, by either setting', async (t) => {
  for (const mirror of [false, true]) {
    const { sim, broker } = await setStage(t, { mirror })
    await broker.logins.keep(await broker.delivery(sim.issueKey()))
    await broker.minder.look()
    const path = new URL(sim.workspaceUrl('prefect/terry')).pathname.slice('/api'.length)
    const kept = mirror ? `PREFECT_API_KEY = "${broker.served()}"\n` : ''
    await broker.write(
      `active = "cloud"\n[profiles.cloud]\nPREFECT_CLOUD_API_URL = "${ATTACKER}"\nPREFECT_API_URL = "${ATTACKER}${path}"\n${kept}`,
    )
    t.equal(broker.credentials.state('cloud').resolved.kind, 'cloud')
    t.equal(
      broker.served(),
      'key_host_mismatch',
      mirror ? 'also where the file still has our key' : 'out of the vault',
    )
    await broker.write(`active = "cloud"\n[profiles.cloud]\nPREFECT_API_URL = "${ATTACKER}${path}"\n${kept}`)
    t.equal(broker.credentials.serve('cloud').kind, 'server')
    t.equal(broker.served(), undefined, 'a server gets no key at all')
  }
})

t.test('does not serve a key of ours that is in the profile of another host', async (t) => {
  const { sim, broker } = await setStage(t)
  const key = sim.issueKey()
  await broker.logins.keep(await broker.delivery(key))
  await broker.write(
    `${await broker.file()}\n[profiles.copy]\nPREFECT_CLOUD_API_URL = "${ATTACKER}"\nPREFECT_API_URL = "${ATTACKER}/accounts/x"\nPREFECT_API_KEY = "${key}"\n`,
  )
  t.equal(broker.served('copy'), 'key_host_mismatch')
  t.equal(broker.served('cloud'), key)
})

t.test('does not serve an item that was planted in the vault', async (t) => {
  const rows = [
    ['another key', { secret: `pnu_${'z'.repeat(36)}` }],
    ['the key of another host', { apiUrl: ATTACKER }],
    ['an auth string', { kind: 'auth_string' as const }],
  ] as const
  for (const [name, change] of rows) {
    const { sim, broker, reopen } = await setStage(t)
    const key = sim.issueKey()
    await broker.logins.keep(await broker.delivery(key))
    const { currentItem = '' } = broker.keeper.profile('cloud')
    const genuine = { kind: 'api_key' as const, profile: 'cloud', apiUrl: sim.apiUrl, secret: key }
    const { secret, ...rest } = { ...genuine, ...change }
    await broker.vault.put(currentItem, sealEnvelope({ ...rest, secret: new Secret(secret) }))
    t.equal(broker.served(), key, 'memory is not fooled')
    const again = await reopen()
    t.equal(again.served(), 'login_required', name)
    await t.rejects(again.rotator.rotate('cloud'), { code: 'login_required' }, 'nor sent anywhere')
  }
})

t.test('reports an item in an unknown format as corrupt, not as missing', async (t) => {
  const { sim, broker, reopen } = await setStage(t)
  await broker.logins.keep(await broker.delivery(sim.issueKey()))
  const { currentItem = '' } = broker.keeper.profile('cloud')
  for (const text of ['pnu_plain', '{}', '[]', '{"v":2,"kind":"api_key"}', 'null']) {
    await broker.vault.put(currentItem, new Secret(text))
    t.equal((await reopen()).served(), 'vault_corrupt', text)
  }
})

t.test('requires a login if the item is gone', async (t) => {
  const { sim, broker, reopen } = await setStage(t)
  await broker.logins.keep(await broker.delivery(sim.issueKey()))
  await broker.vault.delete(broker.keeper.profile('cloud').currentItem ?? '')
  const again = await reopen()
  t.equal(again.served(), 'login_required')
  t.match(again.credentials.state('cloud'), { key: { origin: 'browser' }, keySource: 'vault' })
})

t.test('serves nothing from a locked vault until it is unlocked', async (t) => {
  const { sim, broker } = await setStage(t, { passphrase: 'correct horse' })
  const key = sim.issueKey()
  await broker.logins.keep(await broker.delivery(key))
  await broker.vaultAdmin.lock()
  t.equal(broker.served(), 'vault_locked')
  t.equal(broker.credentials.state('cloud').keySource, 'vault')
  await t.rejects(broker.vaultAdmin.unlock(new Secret('wrong')), { code: 'vault_passphrase_wrong' })
  t.equal(broker.served(), 'vault_locked')
  await t.rejects(broker.rotator.rotate('cloud'), { code: 'login_required' })
  await broker.vaultAdmin.unlock(new Secret('correct horse'))
  t.equal(broker.served(), key)
})

t.test('retries a vault that was unlocked elsewhere at the next request that needs it', async (t) => {
  const { sim, broker } = await setStage(t, { passphrase: 'correct horse' })
  const key = sim.issueKey()
  await broker.logins.keep(await broker.delivery(key))
  await broker.vaultAdmin.lock()
  await broker.vault.unlock(new Secret('correct horse'))
  await new Promise((resolve) => setTimeout(resolve, 2_100))
  await broker.credentials.refresh()
  t.equal(broker.served(), key)
})

t.test(
  'takes an unknown key in the file for newer than ours, and a known one for an old mirror',
  async (t) => {
    const { sim, broker } = await setStage(t)
    const [old, current, stranger] = [sim.issueKey(), sim.issueKey(), sim.issueKey()]
    await broker.logins.keep(await broker.delivery(old))
    await broker.logins.keep(await broker.delivery(current))
    const base = await broker.file()
    for (const [inFile, served] of [
      [old, current],
      [current, current],
      [stranger, stranger],
      ['', current],
    ]) {
      await broker.write(`${base}PREFECT_API_KEY = "${inFile}"\n`)
      t.equal(broker.served(), served)
    }
    t.match(broker.credentials.state('cloud').notices.join(), /PREFECT_API_KEY is empty/)
  },
)

t.test('does not serve a rejected key, not even from a mirror', async (t) => {
  const { sim, broker } = await setStage(t)
  const key = sim.issueKey()
  await broker.logins.keep(await broker.delivery(key))
  await broker.keeper.noteKey(broker.keeper.profile('cloud').currentItem ?? '', (record) => ({
    ...record,
    rejectedAt: 1,
  }))
  await broker.credentials.settle()
  t.equal(broker.served(), 'login_required')
  await broker.write(`${await broker.file()}PREFECT_API_KEY = "${key}"\n`)
  t.equal(broker.served(), 'login_required')
  const fresh = sim.issueKey()
  await broker.logins.keep(await broker.delivery(fresh))
  t.equal(broker.served(), fresh)
})

t.test('gives a hint that can be pasted, whatever the profile is called', async (t) => {
  const { sim, broker } = await setStage(t)
  const names = [
    '__proto__',
    "it's",
    'a "b"',
    'new\\nline',
    'löwe 🦁',
    'constructor',
    `$(rm ${randomBytes(2).toString('hex')})`,
  ]
  for (const [index, name] of names.entries()) {
    const path = new URL(sim.workspaceUrl('prefect/terry')).href
    await broker.write(
      `[profiles.${JSON.stringify(name).replace('\\\\n', '\\n')}]\nPREFECT_API_URL = "${path}"\n# another table, or the one before would have been renamed\nPREFECT_CLIENT_MAX_RETRIES = "${index}"\n`,
    )
    const real = name.replace('\\n', '\n')
    const { outcome } = broker.credentials.state(real)
    if (outcome.kind !== 'refused') throw new Error('nothing can be served yet')
    t.equal(outcome.error.code, 'login_required')
    t.match(outcome.error.hint, /^prefect-auth login --profile ('.*'|\w+)$/s)
    t.notMatch(outcome.error.message, /\n/)
    await broker.logins.keep(
      await broker.delivery(sim.issueKey(), { profile: real, isToBeActive: false, via: 'pasted' }),
    )
    t.match(broker.served(real), /^pnu_/, name)
    t.match(broker.credentials.serve(real), { profile: real, generation: 2 })
  }
})

t.test('keeps names like __proto__ over a restart', async (t) => {
  const { sim, broker, reopen } = await setStage(t)
  const key = sim.issueKey()
  await broker.write(`[profiles.__proto__]\nPREFECT_API_URL = "${sim.workspaceUrl('prefect/terry')}"\n`)
  await broker.logins.keep(await broker.delivery(key, { profile: '__proto__' }))
  t.equal(broker.served('__proto__'), key)
  const { generation } = broker.credentials.serve('__proto__')
  await broker.close()
  const again = await reopen()
  t.equal(again.served('__proto__'), key)
  t.equal(again.credentials.serve('__proto__').generation, generation)
})
