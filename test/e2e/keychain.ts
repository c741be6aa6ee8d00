/** The keychain vault on a real Secret Service: locked, hanging, killed, missing, planted items. */
import { spawn, spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import t, { type Test } from 'tap'
import { systemClock } from '../../src/std/clock.js'
import { silentLog } from '../../src/std/log.js'
import { Secret } from '../../src/std/secret.js'
import { KEYCHAIN_SERVICE, openKeychainVault } from '../../src/vault/keychain.js'
import { createKeychainProcess } from '../../src/vault/keychain-process.js'
import { createPreflight } from '../../src/vault/keychain-trouble.js'
import { openVault } from '../../src/vault/open-vault.js'
import type { Vault } from '../../src/vault/vault.js'
import {
  bundleKeychainChild,
  needsSecretService,
  type SecretService,
  type SecretServiceOptions,
  startSecretService,
} from '../fixtures/secret-service.js'

const real = needsSecretService()
const clock = systemClock()
const childPath = bundleKeychainChild(t)

/** Long enough for a busy machine, except in tests that wait for it to pass. */
const PATIENT_MS = 20_000

async function session(t: Test, options: SecretServiceOptions = {}): Promise<SecretService> {
  const service = await startSecretService(options)
  t.teardown(() => service.stop())
  return service
}

function open(t: Test, env: Readonly<Record<string, string>>, deadlineMs = PATIENT_MS): Promise<Vault> {
  const dependencies = { childPath, execPath: process.execPath, env, clock, log: silentLog(), deadlineMs }
  return openVault({
    settings: { backend: 'keychain' },
    stateDir: join(t.testdirName, 'state'),
    ...dependencies,
  })
}

/** What a program with keytar in its own process does. */
function naive(env: Readonly<Record<string, string>>, script: string) {
  const source = `import keytar from 'keytar'; ${script}`
  return spawnSync(process.execPath, ['--input-type=module', '-e', source], {
    env,
    encoding: 'utf8',
    timeout: 30_000,
  })
}

t.test('a locked keyring is locked, not empty', real, async (t) => {
  const service = await session(t)
  const vault = await open(t, service.env)
  await vault.put('key:kept', new Secret('precious'))
  service.lock()

  await t.test('the attack: keytar says that there is no item', async (t) => {
    const script = `console.log(await keytar.getPassword('${KEYCHAIN_SERVICE}', 'key:kept'))`
    t.equal(naive(service.env, script).stdout.trim(), 'null')
  })
  await t.test('we say that it is locked, for every kind of call, and how to open it', async (t) => {
    const locked = { code: 'vault_locked', hint: /gnome-keyring-daemon --replace --unlock/ }
    await t.rejects(vault.get('key:kept'), locked)
    await t.rejects(vault.get('key:never'), locked)
    await t.rejects(vault.put('key:kept', new Secret('other')), locked)
    await t.rejects(vault.delete('key:kept'), locked)
    await t.rejects(vault.prove(), locked)
    t.match(vault.describe(), { state: 'locked', problem: { message: /locked/ } })
  })
  await t.test('the remedy works, and nothing was lost', async (t) => {
    const args = ['--replace', '--unlock', '--components=secrets', '--daemonize']
    service.run('/usr/bin/gnome-keyring-daemon', args, 'correct horse')
    await service.untilUnlocked()
    t.equal((await vault.get('key:kept'))?.reveal(), 'precious')
    t.match(vault.describe(), { state: 'ready', problem: undefined })
  })
})

t.test('a keyring that is locked between the check and the call', real, async (t) => {
  const service = await session(t)
  await (await open(t, service.env)).put('key:kept', new Secret('precious'))
  const ask = createKeychainProcess({
    execPath: process.execPath,
    childPath,
    env: service.env,
    deadlineMs: PATIENT_MS,
    clock,
  })
  const preflight = createPreflight({ env: service.env, deadlineMs: PATIENT_MS, clock })
  const vault = await openKeychainVault({
    ask: async (request) => {
      service.lock()
      const reply = await ask(request)
      t.same(reply, { kind: 'nothing' }, 'what keytar makes of it')
      return reply
    },
    preflight,
    store: 'test',
    because: 'test',
    platform: 'linux',
  })
  await t.rejects(vault.get('key:kept'), { code: 'vault_locked' })
})

t.test('a keyring that hangs costs the deadline, not the daemon', real, async (t) => {
  const service = await session(t)
  const patient = await open(t, service.env)
  await patient.put('key:kept', new Secret('precious'))
  const vault = await open(t, service.env, 1000)
  service.hang()
  await t.rejects(vault.get('key:kept'), { code: 'vault_timeout', hint: /restart gnome-keyring-daemon/ })
  t.match(vault.describe(), { state: 'timed_out' })
  process.kill(service.pid(), 'SIGCONT')
  t.equal((await patient.get('key:kept'))?.reveal(), 'precious', 'and it responds when the keyring does')
})

t.test('a keyring that hangs after the check: the child is killed', real, async (t) => {
  const service = await session(t)
  const ask = createKeychainProcess({
    execPath: process.execPath,
    childPath,
    env: service.env,
    deadlineMs: 2000,
    clock,
  })
  service.hang()
  const request = { verb: 'get', service: KEYCHAIN_SERVICE, account: 'key:x' } as const
  await t.rejects(ask(request), { code: 'vault_timeout' })
})

t.test('a keyring daemon that is killed and started again', real, async (t) => {
  const service = await session(t)
  const vault = await open(t, service.env)
  await vault.put('key:kept', new Secret('precious'))

  await t.test('killed during a request: unavailable', async (t) => {
    service.hang()
    const call = t.rejects(vault.get('key:kept'), { code: 'vault_unavailable' })
    setTimeout(() => void service.kill(), 300)
    await call
    t.match(vault.describe(), { state: 'unavailable' })
  })
  await t.test('not running: unavailable, with what to install', async (t) => {
    await service.kill()
    await t.rejects(vault.get('key:kept'), { code: 'vault_unavailable', hint: /install gnome-keyring/ })
  })
  await t.test('running again: the value is there', async (t) => {
    await service.start()
    t.equal((await vault.get('key:kept'))?.reveal(), 'precious')
  })
})

t.test('the attack: keytar inside one process never finds a restarted keyring again', real, async (t) => {
  const service = await session(t)
  const script = `
    import { createInterface } from 'node:readline'
    const get = () => keytar.getPassword('${KEYCHAIN_SERVICE}', 'key:x').then(String, () => 'failed')
    for await (const _ of createInterface({ input: process.stdin })) console.log(await get())
  `
  const args = ['--input-type=module', '-e', `import keytar from 'keytar'; ${script}`]
  const child = spawn(process.execPath, args, { env: service.env, stdio: ['pipe', 'pipe', 'inherit'] })
  t.teardown(() => child.kill('SIGKILL'))
  const answers = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  const ask = async () => {
    child.stdin.write('\n')
    return (await answers.next()).value
  }
  t.equal(await ask(), 'null', 'before')
  await service.kill()
  await service.start()
  t.equal(await ask(), 'failed', 'after')
  t.equal(await ask(), 'failed', 'and never recovers')
  t.equal(await (await open(t, service.env)).get('key:x'), undefined, 'a child per call keeps no connection')
})

const SILENT: readonly {
  readonly name: string
  readonly provider: 'activated' | 'none'
  readonly env?: Readonly<Record<string, string>>
  readonly hint: RegExp
}[] = [
  {
    name: 'no session bus',
    provider: 'none',
    env: { DBUS_SESSION_BUS_ADDRESS: 'unix:path=/nowhere/bus' },
    hint: /DBUS_SESSION_BUS_ADDRESS=/,
  },
  { name: 'no keyring daemon', provider: 'none', hint: /install gnome-keyring/ },
  {
    name: 'a daemon without a keyring',
    provider: 'activated',
    hint: /gnome-keyring-daemon --replace --unlock/,
  },
]

for (const { name, provider, env = {}, hint } of SILENT) {
  t.test(
    `${name}: an explicit keychain is refused at the first start, and nothing is chosen`,
    real,
    async (t) => {
      const service = await session(t, { provider })
      t.testdir()
      await t.rejects(open(t, { ...service.env, ...env }), { code: 'vault_unavailable', hint })
      t.notOk(existsSync(join(t.testdirName, 'state', 'vault.json')))
    },
  )
}

t.test('an item that another program planted under our service', real, async (t) => {
  const service = await session(t)
  const vault = await open(t, service.env)
  const attributes = ['xdg:schema', 'org.freedesktop.Secret.Generic', 'service', KEYCHAIN_SERVICE]
  // First theirs, then ours: the other way round, gnome-keyring takes it as a new version of our item.
  service.run('/usr/bin/secret-tool', ['store', '--label=planted', ...attributes], 'trap')
  await vault.put('key:kept', new Secret('precious'))

  await t.test('the attack: listing our items kills the process that does it', async (t) => {
    t.equal(naive(service.env, `await keytar.findCredentials('${KEYCHAIN_SERVICE}')`).signal, 'SIGSEGV')
  })
  await t.test('we never list', async (t) => {
    t.equal((await vault.get('key:kept'))?.reveal(), 'precious')
    t.equal(await vault.get('key:other'), undefined)
    await vault.prove()
  })
  await t.test('one with the name of our item is corrupt, not a key', async (t) => {
    service.run(
      '/usr/bin/secret-tool',
      ['store', '--label=planted', ...attributes, 'account', 'key:planted'],
      'pnu_evil',
    )
    await t.rejects(vault.get('key:planted'), { code: 'vault_corrupt' })
  })
  await t.test('proving left no probe in the keyring', async (t) => {
    const listing = service.run('/usr/bin/secret-tool', ['search', '--all', 'service', KEYCHAIN_SERVICE])
    t.match(listing, /pab1:/, 'we do see our items')
    t.notMatch(listing, /probe/)
  })
})

t.test('a keychain that was chosen is never replaced by a file', real, async (t) => {
  const service = await session(t)
  const auto = (env: Readonly<Record<string, string>>) =>
    openVault({
      settings: { backend: 'auto' },
      stateDir: join(t.testdirName, 'state'),
      childPath,
      execPath: process.execPath,
      env,
      clock,
      log: silentLog(),
      deadlineMs: PATIENT_MS,
    })
  const first = await auto(service.env)
  t.match(first.describe(), { backend: 'keychain', because: /worked at the first start/ })
  await first.put('key:kept', new Secret('precious'))

  const without = await auto({ HOME: '/nowhere' })
  t.match(without.describe(), {
    backend: 'keychain',
    state: 'unavailable',
    problem: { hint: /DBUS_SESSION/ },
  })
  await t.rejects(without.get('key:kept'), { code: 'vault_unavailable' })
  t.notOk(existsSync(join(t.testdirName, 'state', 'vault')), 'no file vault was made')

  t.equal((await (await auto(service.env)).get('key:kept'))?.reveal(), 'precious')
})
