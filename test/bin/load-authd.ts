/** The compiled form of the daemon that is kept between starts: it saves time, and can do no harm. */
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process'
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Script } from 'node:vm'
import t from 'tap'
import { ask } from '../fixtures/api-under-test.js'
import { until } from '../fixtures/shipped.js'

const program = fileURLToPath(new URL('../../dist/authd.js', import.meta.url))
const home = mkdtempSync(join(tmpdir(), 'pab-load-'))
t.after(() => rmSync(home, { recursive: true, force: true }))
const state = join(home, 'state')
const kept = join(state, 'code-cache')

/** Until it has greeted. */
async function start(...flags: readonly string[]): Promise<ChildProcess> {
  const child = spawn(process.execPath, [...flags, program, '--vault-backend=file', '--port=off'], {
    env: { HOME: home, PREFECT_AUTH_STATE_DIR: state, PREFECT_AUTH_SOCKET: join(home, 'authd.sock') },
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  let said = ''
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    said += text
  })
  const isDone = () => said.includes('listens on') || child.exitCode !== null || child.signalCode !== null
  await until(isDone, () => `no greeting: ${said}`)
  return child
}

async function stop(child: ChildProcess): Promise<void> {
  const ended = new Promise((resolve) => child.once('exit', resolve))
  child.kill('SIGTERM')
  await ended
}

const caches = () => readdirSync(state).filter((name) => name.startsWith('code-cache'))
const look = () => ask({ socketPath: join(home, 'authd.sock') }, '/v1/status')

t.test(
  'writes the code caches once the daemon has settled, for its owner alone, and uses them',
  async (t) => {
    const first = await start()
    t.same(caches(), [], 'a start does not wait for it')
    // Needs the second script.
    t.match(await look(), { status: 200 })
    await until(
      () => caches().includes('code-cache') && caches().includes('code-cache-late'),
      () => `not kept: ${caches()}`,
    )
    await stop(first)
    t.equal(statSync(kept).mode & 0o777, 0o600)
    const before = readFileSync(kept)
    const source = readFileSync(join(program, '..', 'authd.cjs'), 'latin1')
    const { cachedDataRejected } = new Script(source, { cachedData: before.subarray(32) })
    t.equal(cachedDataRejected, false, 'a V8 without flags takes it, as that of a start')
    const late = readFileSync(`${kept}-late`)
    t.equal(statSync(`${kept}-late`).mode & 0o777, 0o600)
    const lateSource = readFileSync(join(program, '..', 'authd-late.cjs'), 'latin1')
    t.equal(new Script(lateSource, { cachedData: late.subarray(32) }).cachedDataRejected, false)
    const second = await start()
    t.match(await look(), { status: 200 })
    t.same(caches().sort(), ['code-cache', 'code-cache-late'], 'they have their names again')
    await stop(second)
    t.ok(before.equals(readFileSync(kept)))
    t.ok(late.equals(readFileSync(`${kept}-late`)))
  },
)

t.test('gives V8 no cache that is damaged, foreign or open to others', async (t) => {
  const good = readFileSync(kept)
  const damaged = Buffer.from(good)
  const middle = good.length >> 1
  damaged.writeUInt8(damaged.readUInt8(middle) ^ 0x55, middle)
  const cases: readonly (readonly [string, () => void])[] = [
    ['a byte is another', () => writeFileSync(kept, damaged)],
    ['cut short', () => writeFileSync(kept, good.subarray(0, good.length - 1000))],
    ['empty', () => writeFileSync(kept, '')],
    ['a directory', () => mkdirSync(kept)],
    ['a pipe that nobody writes to', () => void execFileSync('mkfifo', ['-m', '600', kept])],
    [
      'others may write it',
      () => {
        writeFileSync(kept, damaged)
        chmodSync(kept, 0o666)
      },
    ],
  ]
  for (const [name, prepare] of cases) {
    rmSync(kept, { recursive: true, force: true })
    prepare()
    const child = await start()
    t.equal(child.exitCode ?? child.signalCode, null, name)
    await stop(child)
  }
  rmSync(kept, { recursive: true, force: true })
  writeFileSync(kept, good, { mode: 0o600 })
  const other = await start('--optimize-for-size')
  t.equal(other.exitCode ?? other.signalCode, null, 'other flags')
  await stop(other)
})

t.test('notices another program of the same length and age', async (t) => {
  const copy = mkdtempSync(join(tmpdir(), 'pab-load-copy-'))
  t.after(() => rmSync(copy, { recursive: true, force: true }))
  chmodSync(copy, 0o700)
  // Without the second script, which a start does not need.
  for (const name of ['authd.js', 'authd.cjs', 'keychain-child.js', 'package.json'])
    copyFileSync(join(program, '..', name), join(copy, name))
  const cjs = join(copy, 'authd.cjs')
  const { atime, mtime } = statSync(cjs)
  const env = {
    HOME: copy,
    PREFECT_AUTH_STATE_DIR: join(copy, 'state'),
    PREFECT_AUTH_SOCKET: join(copy, 's'),
  }
  const run = (...args: readonly string[]) =>
    spawnSync(process.execPath, [join(copy, 'authd.js'), ...args], { env, encoding: 'utf8', timeout: 60_000 })
  const child = spawn(process.execPath, [join(copy, 'authd.js'), '--vault-backend=file', '--port=off'], {
    env,
    stdio: 'ignore',
  })
  await until(
    () => existsSync(join(copy, 'state', 'code-cache')),
    () => 'nothing was kept',
  )
  t.match(await ask({ socketPath: env.PREFECT_AUTH_SOCKET }, '/livez'), { status: 200 })
  t.match(await ask({ socketPath: env.PREFECT_AUTH_SOCKET }, '/v1/status'), { status: 500 })
  await stop(child)
  const [, version = ''] = /^(\d+\.\d+\.\d+)\n$/.exec(run('--version').stdout) ?? []
  const other = version.replace(/\d/g, '7')
  writeFileSync(cjs, readFileSync(cjs, 'latin1').replaceAll(`"${version}"`, `"${other}"`), 'latin1')
  utimesSync(cjs, atime, mtime)
  t.equal(run('--version').stdout, `${other}\n`)
  t.match(run('--version'), { status: 0, stderr: '' })
})

t.test(
  'without a home, and in a directory of everybody, it starts as far as the program lets it',
  async (t) => {
    const open = mkdtempSync(join(tmpdir(), 'pab-load-open-'))
    t.after(() => rmSync(open, { recursive: true, force: true }))
    chmodSync(open, 0o777)
    execFileSync('mkfifo', ['-m', '600', join(open, 'code-cache')])
    const run = (env: Record<string, string>, ...args: readonly string[]) =>
      spawnSync(process.execPath, [program, ...args], { env, encoding: 'utf8', timeout: 60_000 })
    t.match(run({ PREFECT_AUTH_STATE_DIR: open }, '--vault-backend=file'), {
      status: 1,
      stderr: /mode 777 lets other users reach it/,
    })
    t.match(readdirSync(open), ['code-cache'], 'and nothing was touched in it')
    t.match(run({}, '--version'), { status: 0, stdout: /^\d/ })
  },
)

t.test('survives a cache that is removed in the middle of a start', async (t) => {
  rmSync(kept, { recursive: true, force: true })
  const first = await start()
  await until(
    () => existsSync(kept),
    () => 'nothing was kept',
  )
  await stop(first)
  const cleaner = spawn('sh', ['-c', 'while :; do rm -f "$0.reading"; done', kept], { stdio: 'ignore' })
  t.after(() => void cleaner.kill('SIGKILL'))
  for (let round = 0; round < 3; round += 1) {
    const child = await start()
    t.equal(child.exitCode ?? child.signalCode, null)
    await stop(child)
  }
})
