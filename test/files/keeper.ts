/** Kept files, by the shipped programs: at every generation whole, gone at a log-out, and never in place of another's. */
import {
  chmodSync,
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { startCloudSimulator } from '../../sim/simulator.js'
import { findPrefect, runPrefect } from '../fixtures/real-prefect.js'
import { startShipped, until } from '../fixtures/shipped.js'
import { makeReadOnly, mountSmallDisk, whyNoSmallDisk } from '../fixtures/small-disk.js'

t.setTimeout(900_000)
/** Not below /tmp, where everybody may write. */
const CACHE = new URL('../../.cache/', import.meta.url).pathname

async function setStage(t: Test) {
  const cloud = await startCloudSimulator({
    accounts: [{ handle: 'prefect', workspaces: ['terry'] }],
    users: [{ handle: 'terry' }],
  })
  t.teardown(() => cloud.close())
  mkdirSync(CACHE, { recursive: true })
  const folder = mkdtempSync(join(CACHE, 'files-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const broker = await startShipped(t, {
    PREFECT_CLOUD_API_URL: cloud.apiUrl,
    PREFECT_CLOUD_UI_URL: cloud.uiUrl,
  })
  const logIn = async () => {
    const args = ['login', '-p', 'cloud', '--key-stdin', '--exchange', '--workspace', 'prefect/terry']
    t.match(await broker.cli(args, { input: cloud.issueKey() }), { code: 0 })
    return (await broker.cli(['get', 'key', '-p', 'cloud'])).stdout
  }
  const key = await logIn()
  t.match(await broker.cli(['profile', 'use', 'cloud']), { code: 0 })
  const read = (name: string) => {
    try {
      return readFileSync(join(folder, name), 'utf8')
    } catch {
      return undefined
    }
  }
  const becomes = (name: string, text: string | undefined) =>
    until(
      () => read(name) === text,
      () => `${name} is ${read(name)}`,
    )
  const add = (name: string, what: string, ...more: readonly string[]) =>
    broker.cli(['file', 'add', join(folder, name), '--what', what, ...more])
  return { cloud, folder, broker, key, logIn, read, becomes, add }
}

t.test('a file follows every generation, is 0600, and is gone after a log-out', async (t) => {
  const { folder, broker, key, read, becomes, add, logIn } = await setStage(t)
  t.match(await add('key', 'key'), { code: 0, stdout: /is kept up to date/ })
  t.equal(read('key'), key)
  t.equal(lstatSync(join(folder, 'key')).mode & 0o777, 0o600)
  t.match(await broker.cli(['renew', '--now', '-p', 'cloud']), { code: 0 })
  const next = (await broker.cli(['get', 'key', '-p', 'cloud'])).stdout
  t.not(next, key)
  await becomes('key', next)
  t.match(await broker.cli(['status']), { stdout: /files +.*\/key \(key\)/ })
  t.match(
    (await broker.cli(['audit', '--json'])).stdout,
    /"action": "file",\s+"outcome": "given",\s+"door": "daemon",\s+"profile": "cloud"/,
  )
  await broker.cli(['logout', '-p', 'cloud'])
  await becomes('key', undefined)
  t.match(await broker.cli(['file', 'ls']), { stdout: /\/key +key +the active one +absent/ })
  const again = await logIn()
  await becomes('key', again)
  await broker.crash()
  await broker.startAgain()
  t.match(
    await broker.cli(['file', 'ls', '--json']),
    { stdout: /"state": "current"/ },
    'after a crash it is still ours',
  )
  t.match(await broker.cli(['file', 'rm', join(folder, 'key')]), { code: 0, stdout: /^Removed/ })
  t.same(readdirSync(folder), [])
  t.match(await broker.cli(['file', 'rm', join(folder, 'key')]), { code: 1, stderr: /file_not_found/ })
})

t.test('env is read by a shell, toml by a real Prefect', async (t) => {
  const { folder, broker, key, read, add, cloud } = await setStage(t)
  t.match(await add('env', 'env'), { code: 0 })
  t.match(await broker.shell(`. ${folder}/env; echo "$PREFECT_API_KEY"`), { stdout: key })
  t.match(await add('toml', 'toml', '-p', 'cloud'), { code: 0 })
  t.match(read('toml'), /^active = "cloud"\n/)
  for (const which of ['3', '2'] as const) {
    const prefect = findPrefect(which, t)
    if (prefect === undefined) continue
    const home = join(folder, `home${which}`)
    mkdirSync(home)
    const { output } = await runPrefect(prefect, ['config', 'view', '--show-secrets'], {
      home,
      env: { PREFECT_PROFILES_PATH: join(folder, 'toml'), COLUMNS: '300' },
    })
    t.match(output, `PREFECT_API_KEY='${key.trim()}'`)
    t.match(output, cloud.workspaceUrl('prefect/terry'))
  }
})

t.test("nobody else's file is overwritten", async (t) => {
  const { folder, broker, key, read, add, becomes } = await setStage(t)
  writeFileSync(join(folder, 'key'), 'mine')
  t.match(await add('key', 'key'), { code: 1, stderr: /file_exists[\s\S]*--replace/ })
  t.equal(read('key'), 'mine')
  t.match(await broker.cli(['file', 'ls']), { stdout: 'No files\n' }, 'nor is it listed')
  t.match(await add('key', 'key', '--replace'), { code: 0 })
  t.equal(read('key'), key)
  writeFileSync(join(folder, 'key'), 'changed')
  t.match(await broker.cli(['renew', '--now', '-p', 'cloud']), { code: 0 })
  await until(
    async () => /is not as prefect-authd left it/.test((await broker.cli(['status'])).stdout),
    () => 'status does not say so',
  )
  t.equal(read('key'), 'changed')
  await broker.cli(['logout', '-p', 'cloud'])
  t.match(await broker.cli(['file', 'rm', join(folder, 'key')]), { stdout: /it is left/ })
  t.equal(read('key'), 'changed')
  await becomes('key', 'changed')
  t.match(await add('other', 'key', '-p', 'cloud'), { code: 0, stdout: /is listed/ })
  writeFileSync(join(folder, 'other'), 'mine')
  await broker.startAgain()
  await until(
    async () => /other +key +cloud +problem/.test((await broker.cli(['file', 'ls'])).stdout),
    () => 'a file that is there is said to be absent',
  )
  t.equal(read('other'), 'mine')
})

t.test(
  'a file that could not be written, however often, is still ours',
  { skip: whyNoSmallDisk() },
  async (t) => {
    const { folder, broker, key, read, add, becomes } = await setStage(t)
    const disk = join(folder, 'disk')
    mkdirSync(disk)
    const unmount = mountSmallDisk(disk)
    try {
      t.match(await add('disk/key', 'key'), { code: 0 })
      const mend = makeReadOnly(disk)
      t.match(await broker.cli(['renew', '--now', '-p', 'cloud']), { code: 0 })
      for (let round = 0; round < 4; round += 1)
        t.match(await add('disk/key', 'key'), { code: 1, stderr: /file_path_read_only/ }, `attempt ${round}`)
      t.equal(read('disk/key'), key)
      mend()
      t.match(await broker.cli(['renew', '--now', '-p', 'cloud']), { code: 0 })
      await becomes('disk/key', (await broker.cli(['get', 'key', '-p', 'cloud'])).stdout)
    } finally {
      unmount()
    }
  },
)

t.test('a temporary file that a killed daemon left with a key goes at the next look', async (t) => {
  const { folder, broker, add } = await setStage(t)
  t.match(await add('key', 'key'), { code: 0 })
  const left = join(folder, 'key.0123456789ab.tmp')
  const others = join(folder, 'other.0123456789ab.tmp')
  await broker.crash()
  for (const path of [left, others]) writeFileSync(path, 'pnu_left', { mode: 0o600 })
  await broker.startAgain()
  await until(
    () => !existsSync(left),
    () => 'it is still there',
  )
  t.ok(existsSync(others))
  writeFileSync(left, 'pnu_left', { mode: 0o600 })
  t.match(await broker.cli(['file', 'rm', join(folder, 'key')]), { code: 0 })
  t.notOk(existsSync(left))
})

t.test('links and shared directories are refused, and nothing is written', async (t) => {
  const { folder, broker, add } = await setStage(t)
  writeFileSync(join(folder, 'target'), 'x')
  symlinkSync('target', join(folder, 'link'))
  mkdirSync(join(folder, 'shared'))
  chmodSync(join(folder, 'shared'), 0o777)
  mkdirSync(join(folder, 'shared', 'below'))
  mkdirSync(join(folder, 'sticky'))
  chmodSync(join(folder, 'sticky'), 0o1777)
  const table = [
    ['link', /it is a link/],
    ['shared/key', /every user can write there/],
    ['shared/below/key', /every user can write there/],
    ['sticky/key', /every user can write there/],
    ['nowhere/key', /nowhere: ENOENT[\s\S]*mkdir/],
    ['shared', /no plain file/],
  ] as const
  for (const [name, why] of table) {
    t.match(await add(name, 'key', '--replace'), { code: 1, stderr: why }, name)
  }
  const profiles = join(broker.home, '.prefect', 'profiles.toml')
  t.match(await broker.cli(['file', 'add', profiles, '--what', 'toml', '--replace']), { code: 1 })
  t.equal(readFileSync(join(folder, 'target'), 'utf8'), 'x')
  t.notOk(existsSync(join(folder, 'shared', 'key')))
  t.match(await broker.cli(['file', 'ls']), { stdout: 'No files\n' })
  mkdirSync(join(folder, 'real'))
  symlinkSync('real', join(folder, 'alias'))
  t.match(
    await add('alias/key', 'key'),
    { code: 0, stdout: /real\/key is kept/ },
    'a link above it is followed once',
  )
  mkdirSync(join(folder, 'sticky', 'ours'), { mode: 0o700 })
  t.match(
    await add('sticky/ours/key', 'key'),
    { code: 0 },
    'nobody else can exchange what is ours below /tmp',
  )
  t.match(await add('other', 'key', '-p', 'nobody'), { code: 1, stderr: /profile_not_found/ })
})

const notRoot = process.getuid?.() === 0 ? false : 'only root can make one'
t.test('a directory that another user owns is refused', { skip: notRoot }, async (t) => {
  const { folder, add } = await setStage(t)
  mkdirSync(join(folder, 'theirs'))
  chownSync(join(folder, 'theirs'), 12_345, 12_345)
  t.match(await add('theirs/key', 'key'), { code: 1, stderr: /it belongs to user 12345/ })
  writeFileSync(join(folder, 'foreign'), 'x')
  chownSync(join(folder, 'foreign'), 12_345, 12_345)
  t.match(await add('foreign', 'key', '--replace'), { code: 1, stderr: /it belongs to user 12345/ })
})

t.test('a reader sees one whole key or another, never a part', async (t) => {
  const { broker, read, add, key } = await setStage(t)
  await add('key', 'key')
  const seen = new Set<string | undefined>()
  let isOver = false
  const reading = (async () => {
    while (!isOver) {
      seen.add(read('key'))
      await new Promise((resolve) => setImmediate(resolve))
    }
  })()
  for (let round = 0; round < 3; round += 1) await broker.cli(['renew', '--now', '-p', 'cloud'])
  isOver = true
  await reading
  for (const text of seen) t.match(text, /^pnu_\w+\n$/)
  t.ok(seen.has(key))
})
