import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { systemClock } from '../../src/std/clock.js'
import { type LogFacts, silentLog } from '../../src/std/log.js'
import { Secret } from '../../src/std/secret.js'
import type { VaultSettings } from '../../src/vault/choice.js'
import type { VaultDependencies } from '../../src/vault/open-chosen.js'
import { openVault } from '../../src/vault/open-vault.js'
import type { Vault } from '../../src/vault/vault.js'

interface Opened {
  readonly vault: Vault
  readonly lines: readonly { readonly facts: LogFacts; readonly message: string }[]
}

async function open(
  t: Test,
  settings: VaultSettings,
  more: Partial<VaultDependencies> = {},
): Promise<Opened> {
  const lines: { facts: LogFacts; message: string }[] = []
  const note = (facts: LogFacts, message: string) => void lines.push({ facts, message })
  const vault = await openVault({
    settings,
    stateDir: stateDir(t),
    childPath: '/nowhere/child.js',
    execPath: process.execPath,
    // No session bus: whatever runs on this machine, the keychain does not answer.
    env: { HOME: '/nowhere' },
    clock: systemClock(),
    log: { ...silentLog(), info: note, warn: note },
    platform: 'linux',
    systemdCreds: '/nowhere/systemd-creds',
    passphraseCost: 2 ** 12,
    ...more,
  })
  return { vault, lines }
}

const stateDir = (t: Test) => join(t.testdirName, 'state')
const fileOf = (t: Test, name: string) => join(stateDir(t), name)

t.test('auto without a keychain chooses a key file, records it and warns', async (t) => {
  t.testdir()
  const { vault, lines } = await open(t, { backend: 'auto' })
  t.match(vault.describe(), {
    backend: 'file',
    atRest: 'not protected',
    state: 'ready',
    because: /did not work/,
  })
  t.match(JSON.parse(readFileSync(fileOf(t, 'vault.json'), 'utf8')), { backend: 'file', wrap: 'key-file' })
  t.match(lines, [
    {
      message: 'vault chosen',
      facts: { because: /session bus.*systemd-creds cannot be used.*no passphrase/ },
    },
    { message: 'at rest: not protected' },
  ])
  const again = await open(t, { backend: 'auto' })
  t.same(again.vault.describe(), vault.describe(), 'the next start opens the same one')
  t.match(again.lines, [{ message: 'at rest: not protected' }], 'and chooses nothing')
  t.equal(again.lines.length, 1)
})

t.test('auto with a passphrase chooses the passphrase', async (t) => {
  const env = { CREDENTIALS_DIRECTORY: t.testdir({ passphrase: 'correct horse' }) }
  const { vault } = await open(t, { backend: 'auto' }, { env })
  t.match(vault.describe(), { backend: 'file', atRest: 'passphrase', state: 'ready' })
})

t.test('rejects a configured wrap that the machine does not support', async (t) => {
  t.testdir()
  await t.rejects(open(t, { backend: 'file', keyWrap: 'systemd-creds' }), {
    code: 'vault_unavailable',
    message: /systemd-creds does not work here.*ENOENT/,
  })
  t.same(readdirSync(stateDir(t)), [], 'nothing was written')
})

const CONTRADICTIONS: readonly (readonly [settings: VaultSettings, message: RegExp, hint: RegExp])[] = [
  [{ backend: 'keychain' }, /vault\.backend 'keychain'.*created with 'file'/, /vault\.backend = "file".*mv /],
  [
    { backend: 'file', keyWrap: 'passphrase' },
    /vault\.key_wrap 'passphrase'/,
    /vault\.key_wrap = "key-file"/,
  ],
  [{ backend: 'auto', keyWrap: 'systemd-creds' }, /vault\.key_wrap 'systemd-creds'/, /mv /],
]
t.test('rejects a setting that contradicts the choice, with a remedy', async (t) => {
  t.testdir()
  const { vault } = await open(t, { backend: 'file' })
  await vault.put('key:a', new Secret('precious'))
  for (const [settings, message, hint] of CONTRADICTIONS) {
    await t.rejects(open(t, settings), { code: 'setting_invalid', message, hint }, JSON.stringify(settings))
  }
  const same = await open(t, { backend: 'file', keyWrap: 'key-file' })
  t.equal((await same.vault.get('key:a'))?.reveal(), 'precious')
})

const DAMAGES = ['', '{', '{"version":1}', '{"version":2,"backend":"keychain"}', '[]']

t.test(
  'opens the file vault of the data key if vault.json is damaged, and keeps the damaged one',
  async (t) => {
    for (const damage of DAMAGES) {
      t.testdir()
      const { vault } = await open(t, { backend: 'file' })
      await vault.put('key:a', new Secret('precious'))
      writeFileSync(fileOf(t, 'vault.json'), damage)
      await t.rejects(open(t, { backend: 'keychain' }), { code: 'setting_invalid' })
      const again = await open(t, { backend: 'auto' })
      t.equal((await again.vault.get('key:a'))?.reveal(), 'precious', damage)
      t.match(again.vault.describe().because, /vault\.json was damaged/)
      const kept = readdirSync(stateDir(t)).filter((name) => name.startsWith('vault.json.corrupt-'))
      t.strictSame(
        kept.map((name) => readFileSync(fileOf(t, name), 'utf8')),
        [damage],
      )
    }
  },
)

t.test('without a data key, a damaged vault.json is not replaced by another choice', async (t) => {
  for (const damage of DAMAGES) {
    t.testdir({ state: { 'vault.json': damage } })
    chmodSync(stateDir(t), 0o700)
    chmodSync(fileOf(t, 'vault.json'), 0o600)
    for (const backend of ['auto', 'file', 'keychain'] as const) {
      await t.rejects(open(t, { backend }), { code: 'state_corrupt', message: /vault\.json/, hint: /mv / })
    }
    t.equal(readFileSync(fileOf(t, 'vault.json'), 'utf8'), damage)
  }
})

t.test('chooses no new vault while the ledger names keys of one that is not recorded', async (t) => {
  for (const backend of ['auto', 'file', 'keychain'] as const) {
    t.testdir()
    const opening = open(t, { backend }, { namedItems: 2 })
    const message = /vault\.json is missing, and a new vault would not have the 2 keys of ledger\.json/
    await t.rejects(opening, { code: 'state_corrupt', message, hint: /restore it from a backup; .*mv / })
    t.notOk(existsSync(fileOf(t, 'vault.json')))
  }
})

t.test('refuses files of a newer version by name, and changes nothing', async (t) => {
  t.testdir()
  await open(t, { backend: 'file' })
  for (const name of ['vault.json', 'vault/data-key.json']) {
    const path = fileOf(t, name)
    const good = readFileSync(path, 'utf8')
    const newer = good.replace(/"version": \d/, '"version": 9')
    writeFileSync(path, newer)
    const refused = {
      code: 'state_newer',
      message: new RegExp(`${path}.*format 9`),
      hint: /install the newer/,
    }
    await t.rejects(open(t, { backend: 'auto' }), refused)
    t.equal(readFileSync(path, 'utf8'), newer)
    writeFileSync(path, good)
  }
})

t.test('adopts a file vault without vault.json', async (t) => {
  t.testdir()
  const { vault } = await open(t, { backend: 'file' })
  await vault.put('key:a', new Secret('precious'))
  rmSync(fileOf(t, 'vault.json'))
  await t.rejects(open(t, { backend: 'keychain' }), { code: 'setting_invalid' })
  const again = await open(t, { backend: 'auto' })
  t.equal((await again.vault.get('key:a'))?.reveal(), 'precious')
  t.ok(existsSync(fileOf(t, 'vault.json')))
})

t.test(
  'killed between making the data key and writing down the choice: the next start finds the key',
  async (t) => {
    t.testdir()
    await open(t, { backend: 'auto' })
    const made = readFileSync(fileOf(t, 'vault/data-key.json'), 'utf8')
    rmSync(fileOf(t, 'vault.json'))
    await open(t, { backend: 'auto' })
    t.equal(readFileSync(fileOf(t, 'vault/data-key.json'), 'utf8'), made)
  },
)

t.test(
  'a data key that is gone, damaged or of another vault never gets a new one over old records',
  async (t) => {
    t.testdir()
    const { vault } = await open(t, { backend: 'file' })
    await vault.put('key:a', new Secret('precious'))
    const path = fileOf(t, 'vault/data-key.json')
    const good = readFileSync(path, 'utf8')
    const key: unknown = JSON.parse(good).sealed.key

    const damages: readonly (readonly [content: string, code: string])[] = [
      ['{', 'vault_corrupt'],
      [good.replace(String(key), Buffer.alloc(32).toString('base64')), 'vault_corrupt'],
      [good.replace(/"store": "[^"]*"/, '"store": "00000000-0000-4000-8000-000000000000"'), 'state_corrupt'],
    ]
    for (const [content, code] of damages) {
      writeFileSync(path, content)
      await t.rejects(open(t, { backend: 'auto' }), { code, message: /data-key\.json/ })
      t.equal(readFileSync(path, 'utf8'), content, 'it is left as it is')
    }
    renameSync(path, `${path}.away`)
    await t.rejects(open(t, { backend: 'auto' }), { code: 'vault_corrupt', message: /data key is missing/ })

    renameSync(`${path}.away`, path)
    writeFileSync(path, good)
    const again = await open(t, { backend: 'auto' })
    t.equal((await again.vault.get('key:a'))?.reveal(), 'precious')
  },
)

t.test('does not start with a state directory that others can reach', async (t) => {
  t.testdir()
  mkdirSync(stateDir(t), { mode: 0o755 })
  await t.rejects(open(t, { backend: 'auto' }), {
    code: 'state_dir_unsafe',
    hint: `chmod 700 ${stateDir(t)}`,
  })
})

t.test("does not open another vault's records", async (t) => {
  t.testdir()
  const one = await open(t, { backend: 'file' })
  await one.vault.put('key:a', new Secret('precious'))
  const other = join(t.testdirName, 'other')
  const two = await open(t, { backend: 'file' }, { stateDir: other })
  await two.vault.put('key:a', new Secret('theirs'))
  const [record = ''] = readdirSync(join(other, 'vault')).filter((name) => /^[0-9a-f]{64}$/.test(name))
  writeFileSync(fileOf(t, `vault/${record}`), readFileSync(join(other, 'vault', record)))
  await t.rejects(one.vault.get('key:a'), { code: 'vault_corrupt' })
})
