/** A vault that moves while it is used: file vaults here, the real keychain in test/e2e/vault-move.ts. */
import { existsSync, mkdirSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs'
import { type FileHandle, open as openFile } from 'node:fs/promises'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { systemClock } from '../../src/std/clock.js'
import { silentLog } from '../../src/std/log.js'
import { Secret } from '../../src/std/secret.js'
import type { VaultSettings } from '../../src/vault/choice.js'
import { openVault } from '../../src/vault/open-vault.js'
import type { MoveRequest } from '../../src/vault/vault.js'

const PASSPHRASE = new Secret('four random words here')
const stateDir = (t: Test) => join(t.testdirName, 'state')

async function open(
  t: Test,
  settings: VaultSettings = { backend: 'auto' },
  env: Record<string, string> = {},
  log = silentLog(),
) {
  const vault = await openVault({
    settings,
    stateDir: stateDir(t),
    childPath: '/nowhere',
    execPath: '/nowhere',
    systemdCreds: '/nowhere',
    env,
    clock: systemClock(),
    log,
    passphraseCost: 16,
  })
  t.teardown(() => vault.close())
  const text = async (item: string) => (await vault.get(item))?.reveal()
  return { ...vault, text }
}

/** A file vault with two items, whose settings decide nothing. */
async function start(t: Test) {
  t.testdir()
  const first = await open(t, { backend: 'file', keyWrap: 'key-file' })
  await first.put('key:a', new Secret('alpha'))
  await first.put('key:b', new Secret('beta'))
  await first.close()
  return open(t)
}

const names = () => ['key:a', 'key:b', 'key:none']

t.test('a file vault becomes one with a passphrase, and nothing is left of the old one', async (t) => {
  const vault = await start(t)
  const old = readFileSync(join(stateDir(t), 'vault', 'data-key.json'), 'utf8')
  t.equal(await vault.move({ to: 'passphrase', passphrase: PASSPHRASE }, names), 2)
  t.match(vault.describe(), { atRest: 'passphrase', state: 'ready', because: /vault move/ })
  t.equal(await vault.text('key:a'), 'alpha')
  await vault.put('key:c', new Secret('gamma'))
  const [dir = '', ...others] = readdirSync(stateDir(t)).filter((name) => name !== 'vault.json')
  t.match(dir, /^vault-[0-9a-f]{8}$/)
  t.same(others, [])
  const wrapped = readFileSync(join(stateDir(t), dir, 'data-key.json'), 'utf8')
  t.notMatch(wrapped, JSON.parse(old).sealed.key)

  await vault.close()
  const again = await open(t)
  t.match(again.describe(), { state: 'locked' })
  await t.rejects(again.get('key:a'), { code: 'vault_locked' })
  await t.rejects(again.move({ to: 'key-file' }, names), { code: 'vault_locked' }, 'a locked one stays')
  await again.unlock(PASSPHRASE)
  t.equal(await again.text('key:c'), 'gamma')
  t.equal(await again.move({ to: 'file' }, () => [...names(), 'key:c']), 3)
  t.match(again.describe(), { atRest: 'not protected', because: /systemd-creds cannot be used/ })
})

t.test('a new data key: no record opens with the old one', async (t) => {
  const vault = await start(t)
  const seals = () => {
    const [dir = ''] = readdirSync(stateDir(t)).filter((name) => /^vault(-|$)/.test(name))
    return [dir, JSON.parse(readFileSync(join(stateDir(t), dir, 'data-key.json'), 'utf8')).sealed.key]
  }
  const before = seals()
  t.equal(await vault.move({ to: 'rekey' }, names), 2)
  const after = seals()
  t.not(after[0], before[0])
  t.not(after[1], before[1])
  t.equal(await (await open(t)).text('key:b'), 'beta')
})

t.test('what is written during a move, and what only this run knows, comes along', async (t) => {
  const vault = await start(t)
  await vault.put('key:new', new Secret('of this run'))
  const moving = vault.move({ to: 'rekey' }, () => ['key:a'])
  const writes = Promise.all([
    vault.put('key:late', new Secret('late')),
    vault.put('key:a', new Secret('newer')),
    vault.delete('key:b'),
  ])
  const reads = await Promise.all(Array.from({ length: 20 }, () => vault.text('key:a')))
  for (const read of reads) t.match(read, /^(alpha|newer)$/)
  await Promise.all([moving, writes])
  const again = await open(t)
  t.equal(await again.text('key:a'), 'newer')
  t.equal(await again.text('key:late'), 'late')
  t.equal(await again.text('key:new'), 'of this run')
  t.equal(await again.text('key:b'), undefined)
})

t.test('the old vault stays until the choice of the new one is certainly on the disk', async (t) => {
  await (await start(t)).close()
  const probe = await openFile(import.meta.filename, 'r')
  const prototype: FileHandle = Object.getPrototypeOf(probe)
  await probe.close()
  const { sync } = prototype
  const heal = () => {
    prototype.sync = sync
  }
  t.teardown(heal)
  let isFailing = false
  prototype.sync = async function (this: FileHandle) {
    const isIt = readlinkSync(`/proc/self/fd/${this.fd}`) === stateDir(t)
    if (isIt && isFailing) throw Object.assign(new Error('EIO'), { code: 'EIO' })
    await sync.call(this)
  }
  const info = (facts: object) => {
    if ('step' in facts && facts.step === 'copied') isFailing = true
  }
  const vault = await open(t, { backend: 'auto' }, {}, { ...silentLog(), info })
  t.equal(await vault.move({ to: 'rekey' }, names), 2)
  t.ok(isFailing)
  t.equal(await vault.text('key:a'), 'alpha')
  const oldKey = join(stateDir(t), 'vault', 'data-key.json')
  t.ok(existsSync(oldKey), 'a power cut may bring back the old choice')
  await vault.close()
  heal()
  t.equal(await (await open(t)).text('key:b'), 'beta')
  t.notOk(existsSync(oldKey), 'the next start ends the move')
})

type Wanted = { readonly code: string; readonly message?: RegExp; readonly hint?: RegExp }
const REFUSED: readonly (readonly [string, VaultSettings, MoveRequest, Wanted])[] = [
  ['the same', { backend: 'auto' }, { to: 'key-file' }, { code: 'vault_not_movable' }],
  [
    'no passphrase',
    { backend: 'auto' },
    { to: 'passphrase' },
    { code: 'bad_request', message: /none was given/ },
  ],
  [
    'a weak one',
    { backend: 'auto' },
    { to: 'passphrase', passphrase: new Secret('aaaaaaaaaaaaaaaa') },
    { code: 'passphrase_weak', message: /at least 12 characters, 6 of them different/ },
  ],
  ['no systemd-creds', { backend: 'auto' }, { to: 'systemd-creds' }, { code: 'vault_unavailable' }],
  ['no keychain', { backend: 'auto' }, { to: 'keychain' }, { code: 'vault_unavailable' }],
  [
    'a setting that names the old one',
    { backend: 'file' },
    { to: 'keychain' },
    { code: 'setting_invalid', hint: /unset vault.backend/ },
  ],
  [
    'a wrap that the settings name',
    { backend: 'file', keyWrap: 'key-file' },
    { to: 'passphrase', passphrase: PASSPHRASE },
    { code: 'setting_invalid', hint: /unset vault.key_wrap/ },
  ],
]

for (const [name, settings, request, error] of REFUSED) {
  t.test(`refused, and nothing has changed: ${name}`, async (t) => {
    await (await start(t)).close()
    const vault = await open(t, settings)
    const before = readdirSync(stateDir(t))
    await t.rejects(vault.move(request, names), error)
    t.equal(await vault.text('key:a'), 'alpha')
    t.same(readdirSync(stateDir(t)), before)
    await vault.put('key:a', new Secret('still writable'))
    t.equal(await (await open(t)).text('key:a'), 'still writable')
  })
}

t.test('a record that cannot be read stops the move', async (t) => {
  const vault = await start(t)
  const dir = join(stateDir(t), 'vault')
  const [record = ''] = readdirSync(dir).filter((name) => /^[0-9a-f]{64}$/.test(name))
  writeFileSync(join(dir, record), '{}')
  await t.rejects(vault.move({ to: 'rekey' }, names), { code: 'vault_corrupt' })
  t.ok(existsSync(join(dir, 'data-key.json')))
  t.same(readdirSync(stateDir(t)).sort(), ['vault', 'vault.json'])
})

t.test('a journal that is damaged, or about other vaults, stops a move and no start', async (t) => {
  const vault = await start(t)
  const path = join(stateDir(t), 'vault-move.json')
  const store = (digit: string) => `${digit.repeat(8)}-1111-4111-8111-111111111111`
  const other = { backend: 'file', wrap: 'key-file', store: store('a'), because: '', dir: 'vault-aaaaaaaa' }
  mkdirSync(join(stateDir(t), 'vault-aaaaaaaa'), 0o700)
  for (const text of [
    '{',
    JSON.stringify({ version: 1, from: other, to: { ...other, store: store('b') }, items: [] }),
    JSON.stringify({ version: 1, from: other, to: { ...other, dir: '../..' }, items: [] }),
  ]) {
    writeFileSync(path, text, { mode: 0o600 })
    await t.rejects(vault.move({ to: 'rekey' }, names), {
      code: 'state_corrupt',
      hint: /remove .*vault-move/,
    })
    t.equal(await (await open(t)).text('key:a'), 'alpha')
    t.ok(existsSync(join(stateDir(t), 'vault-aaaaaaaa')), 'nothing is removed')
  }
})
