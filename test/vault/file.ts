import { chmodSync, copyFileSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { systemClock } from '../../src/std/clock.js'
import { silentLog } from '../../src/std/log.js'
import { Secret } from '../../src/std/secret.js'
import type { KeyWrapKind } from '../../src/vault/data-key.js'
import type { VaultDependencies } from '../../src/vault/open-chosen.js'
import { openVault } from '../../src/vault/open-vault.js'
import type { Vault } from '../../src/vault/vault.js'
import { vaultContract } from '../fixtures/vault-contract.js'

const PASSPHRASE = 'correct horse battery'

function open(
  t: Test,
  keyWrap: KeyWrapKind,
  more: Partial<VaultDependencies> = {},
  passphraseFile?: string,
): Promise<Vault> {
  return openVault({
    settings: { backend: 'file', keyWrap, ...(passphraseFile !== undefined && { passphraseFile }) },
    stateDir: join(t.testdirName, 'state'),
    childPath: '/nowhere/child.js',
    execPath: process.execPath,
    env: {},
    clock: systemClock(),
    log: silentLog(),
    passphraseCost: 2 ** 12,
    ...more,
  })
}

/** The records of a vault, as paths. */
function recordsOf(t: Test): string[] {
  const dir = join(t.testdirName, 'state', 'vault')
  return readdirSync(dir)
    .filter((name) => /^[0-9a-f]{64}$/.test(name))
    .map((name) => join(dir, name))
}

function onlyRecordOf(t: Test): string {
  const [path] = recordsOf(t)
  if (path === undefined) throw new Error('the vault has no record')
  return path
}

t.test('with a key file', async (t) => {
  t.testdir()
  await vaultContract(t, { open: () => open(t, 'key-file') })
})

t.test('with a passphrase from a file', async (t) => {
  const file = join(t.testdir({ passphrase: `${PASSPHRASE}\nsecond line\n` }), 'passphrase')
  chmodSync(file, 0o600)
  await vaultContract(t, { open: () => open(t, 'passphrase', {}, file) })
})

t.test('with a passphrase from a systemd credential', async (t) => {
  const dir = t.testdir({ passphrase: PASSPHRASE })
  const vault = await open(t, 'passphrase', { env: { CREDENTIALS_DIRECTORY: dir } })
  t.match(vault.describe(), { state: 'ready', atRest: 'passphrase' })
})

t.test('writes no secret and no item content in plain text', async (t) => {
  t.testdir()
  const vault = await open(t, 'key-file')
  await vault.put('key:a', new Secret('pnu_verysecret'))
  const dir = join(t.testdirName, 'state', 'vault')
  for (const name of readdirSync(dir)) t.notMatch(readFileSync(join(dir, name), 'utf8'), /verysecret/, name)
  t.equal(statSync(dir).mode & 0o777, 0o700)
  for (const name of readdirSync(dir)) t.equal(statSync(join(dir, name)).mode & 0o777, 0o600, name)
})

const DAMAGES: readonly (readonly [name: string, damage: (content: string) => string])[] = [
  ['truncated', (content) => content.slice(0, 40)],
  ['emptied', () => ''],
  ['no JSON', () => 'hello'],
  ['with one bit of the sealed text changed', (content) => flip(content, 'sealed')],
  ['with one bit of the nonce changed', (content) => flip(content, 'nonce')],
  ['with another tag', (content) => flip(content, 'tag')],
  ['with a tag of four bytes', (content) => content.replace(/"tag":"[^"]*"/, '"tag":"AAAAAA=="')],
  ['of version 0', (content) => content.replace('"version":1', '"version":0')],
  ['with a field that we do not know', (content) => content.replace('{', '{"more":1,')],
]
for (const [name, damage] of DAMAGES) {
  t.test(`a record ${name} is corrupt: named, kept, never taken for missing`, async (t) => {
    t.testdir()
    const vault = await open(t, 'key-file')
    await vault.put('key:a', new Secret('precious'))
    const path = onlyRecordOf(t)
    const damaged = damage(readFileSync(path, 'utf8'))
    writeFileSync(path, damaged)
    await t.rejects(vault.get('key:a'), { code: 'vault_corrupt', message: new RegExp(path) })
    t.equal(readFileSync(path, 'utf8'), damaged, 'reading changes nothing')

    await vault.put('key:a', new Secret('new'))
    t.equal((await vault.get('key:a'))?.reveal(), 'new')
    const kept = readdirSync(join(path, '..')).filter((file) => file.includes('.corrupt-'))
    t.equal(kept.length, 1)
    t.equal(readFileSync(join(path, '..', kept[0] ?? ''), 'utf8'), damaged, 'the damaged one is kept aside')
  })
}

t.test('a record of a newer version is refused by name and never overwritten', async (t) => {
  t.testdir()
  const vault = await open(t, 'key-file')
  await vault.put('key:a', new Secret('precious'))
  const path = onlyRecordOf(t)
  const newer = readFileSync(path, 'utf8').replace('"version":1', '"version":2')
  writeFileSync(path, newer)
  const refused = { code: 'state_newer', message: new RegExp(path) }
  await t.rejects(vault.get('key:a'), refused)
  await t.rejects(vault.put('key:a', new Secret('new')), refused)
  t.equal(readFileSync(path, 'utf8'), newer)
})

t.test("one item's record under another item's name does not open", async (t) => {
  t.testdir()
  const vault = await open(t, 'key-file')
  await vault.put('key:mine', new Secret('mine'))
  const mine = onlyRecordOf(t)
  await vault.put('key:theirs', new Secret('theirs'))
  const theirs = recordsOf(t).find((path) => path !== mine) ?? ''
  copyFileSync(theirs, mine)
  await t.rejects(vault.get('key:mine'), { code: 'vault_corrupt' })
  writeFileSync(mine, readFileSync(theirs, 'utf8').replace('key:theirs', 'key:mine'))
  await t.rejects(vault.get('key:mine'), { code: 'vault_corrupt' }, 'also when its text is adapted')
})

t.test('rejects a record that others can reach, with the command that repairs it', async (t) => {
  t.testdir()
  const vault = await open(t, 'key-file')
  t.equal(vault.describe().opensAlone, true)
  await vault.put('key:a', new Secret('precious'))
  const path = onlyRecordOf(t)
  chmodSync(path, 0o644)
  const refused = { code: 'state_dir_unsafe', hint: `chmod 600 ${path}` }
  await t.rejects(vault.get('key:a'), refused)
  await t.rejects(vault.put('key:a', new Secret('x')), refused)
  chmodSync(path, 0o600)
  t.equal((await vault.get('key:a'))?.reveal(), 'precious')
})

t.test('a passphrase vault: locked until the first passphrase, which sets it', async (t) => {
  t.testdir()
  const vault = await open(t, 'passphrase')
  t.match(vault.describe(), {
    state: 'locked',
    problem: { message: /no passphrase yet/, hint: 'prefect-auth unlock' },
  })
  const locked = { code: 'vault_locked', hint: 'prefect-auth unlock' }
  await t.rejects(vault.get('key:a'), locked)
  await t.rejects(vault.put('key:a', new Secret('x')), locked)
  await t.rejects(vault.delete('key:a'), locked)
  await t.rejects(vault.unlock(new Secret('')), { code: 'bad_request' })
  await vault.unlock(new Secret(PASSPHRASE))
  await vault.put('key:a', new Secret('precious'))
  await vault.close()

  const again = await open(t, 'passphrase')
  t.match(again.describe(), { state: 'locked', atRest: 'passphrase' })
  await t.rejects(again.get('key:a'), locked, 'locked is not missing')
  await t.rejects(again.unlock(new Secret('wrong')), { code: 'vault_passphrase_wrong' })
  t.match(again.describe(), { state: 'locked', problem: { message: /passphrase is wrong/ } })
  await again.unlock(new Secret(PASSPHRASE))
  t.equal((await again.get('key:a'))?.reveal(), 'precious')

  await again.lock()
  t.match(again.describe(), { state: 'locked' })
  await t.rejects(again.get('key:a'), locked)
  await again.unlock(new Secret(PASSPHRASE))
  await t.rejects(again.unlock(new Secret('wrong')), { code: 'vault_passphrase_wrong' })
  t.match(again.describe(), { state: 'ready', problem: undefined }, 'a slip of the finger does not lock it')
  t.equal(again.describe().opensAlone, undefined, 'the next start needs that person again')
})

t.test('an accent typed on another system is the same passphrase', async (t) => {
  t.testdir()
  const vault = await open(t, 'passphrase')
  await vault.unlock(new Secret('caf\u00e9'))
  await vault.lock()
  await vault.unlock(new Secret('cafe\u0301'))
  t.match(vault.describe(), { state: 'ready' })
})

t.test('stays locked after lock(), even if a passphrase file could open it', async (t) => {
  const file = join(t.testdir({ passphrase: PASSPHRASE }), 'passphrase')
  chmodSync(file, 0o600)
  const vault = await open(t, 'passphrase', {}, file)
  await vault.lock()
  await t.rejects(vault.get('key:a'), { code: 'vault_locked' })
})

t.test('a passphrase file that is wrong, missing or open to others', async (t) => {
  const file = join(t.testdir({ passphrase: PASSPHRASE }), 'passphrase')
  await t.rejects(open(t, 'passphrase', {}, file), { code: 'state_dir_unsafe', hint: `chmod 600 ${file}` })
  chmodSync(file, 0o600)
  await (await open(t, 'passphrase', {}, file)).close()

  const missing = await open(t, 'passphrase', {}, `${file}.missing`)
  t.match(missing.describe(), { state: 'locked', problem: { message: /is missing/ } })
  writeFileSync(file, 'another one')
  const wrong = await open(t, 'passphrase', {}, file)
  t.match(wrong.describe(), { state: 'locked', problem: { message: /passphrase is wrong/ } })
  await wrong.unlock(new Secret(PASSPHRASE))
  t.match(wrong.describe(), { state: 'ready' })
})

t.test('a vault without passphrase cannot be locked', async (t) => {
  t.testdir()
  const vault = await open(t, 'key-file')
  t.match(vault.describe(), { state: 'ready', atRest: 'not protected' })
  await t.rejects(vault.lock(), { code: 'vault_not_lockable' })
  await t.rejects(vault.unlock(new Secret('x')), { code: 'vault_not_lockable' })
})

/** The base64 text of one field with its first bit turned. */
function flip(content: string, field: string): string {
  return content.replace(new RegExp(`("${field}":")([^"]*)`), (_, head: string, text: string) => {
    const bytes = Buffer.from(text, 'base64')
    bytes[0] = (bytes[0] ?? 0) ^ 0x80
    return head + bytes.toString('base64')
  })
}
