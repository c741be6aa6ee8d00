/** A daemon that commands start: only where setup allows it, one at a time, and it leaves when it is idle. */
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { startCloudSimulator } from '../../sim/simulator.js'
import { allGone, type BareHome, makeBareHome } from '../fixtures/bare-home.js'
import { runToEnd } from '../fixtures/run-to-end.js'
import { until } from '../fixtures/shipped.js'

t.setTimeout(900_000)
const skip = process.platform === 'linux' ? false : 'needs a machine without a service manager'
const SAID = /^prefect-auth: started prefect-authd, which exits when it is idle$/m

/** A home with a server profile, set up but for the shell. */
async function setUp(t: Test, env: Readonly<Record<string, string>> = {}): Promise<BareHome> {
  const at = makeBareHome(t, env)
  mkdirSync(join(at.home, '.prefect'), { mode: 0o700 })
  const profiles = 'active = "s"\n[profiles.s]\nPREFECT_API_URL = "http://127.0.0.1:4299/api"\n'
  writeFileSync(join(at.home, '.prefect', 'profiles.toml'), profiles, { mode: 0o600 })
  const { code, stderr } = await at.cli([
    'setup',
    '--yes',
    '--no-hook',
    '--no-completion',
    '--no-python',
    '--no-login',
  ])
  t.equal(code, 0, stderr)
  t.same(at.daemons(), [], 'setup itself needs none')
  return at
}

t.test('without setup no command starts a daemon', { skip }, async (t) => {
  const at = makeBareHome(t)
  t.match(await at.cli(['env']), { code: 4, stderr: /the daemon is not running/ })
  t.match(await at.cli(['exec', '--', 'true']), { code: 125 })
  t.match(await at.cli(['login', '--no-browser']), { code: 4 })
  t.same(at.daemons(), [])
  t.notOk(existsSync(at.stateDir))
})

t.test('env, exec and get start one and say so once; status does not', { skip }, async (t) => {
  for (const command of [['env'], ['get', 'url'], ['exec', '--', 'sh', '-c', 'echo $PREFECT_API_URL']]) {
    const at = await setUp(t)
    t.match(await at.cli(['status']), { code: 4 })
    t.match(await at.cli(['profile', 'ls']), { code: 4 })
    t.same(at.daemons(), [])
    const first = await at.cli(command)
    t.match(first, { code: 0, stdout: /127\.0\.0\.1:4299/, stderr: SAID }, command.join(' '))
    t.equal(first.stderr.trim().split('\n').length, 1, first.stderr)
    t.equal(at.daemons().length, 1)
    t.match(await at.cli(command), { code: 0, stderr: '' }, 'the next one finds it')
  }
})

t.test('it is no child of the job, and holds nothing of the caller open', { skip }, async (t) => {
  const at = await setUp(t)
  const line =
    "v=$(prefect-auth env 2>/dev/null); echo ok; exec prefect-auth exec -- sh -c 'echo $$; cat /proc/$$/task/$$/children'"
  const { stdout, code } = await runToEnd('bash', ['-c', line], {
    env: at.env,
    cwd: at.home,
    timeout: 120_000,
  })
  t.equal(code, 0)
  const [ok, , children = ''] = stdout.split('\n')
  t.equal(ok, 'ok')
  const [pid] = at.daemons()
  t.notOk(children.split(' ').includes(String(pid)))
  t.match(readFileSync(`/proc/${pid}/stat`, 'utf8'), /^\d+ \(.*\) \S (?!0 )/)
})

t.test('twenty at once start one daemon', { skip }, async (t) => {
  const at = await setUp(t)
  const ran = await Promise.all(Array.from({ length: 20 }, () => at.cli(['env'])))
  t.same(
    ran.map(({ code }) => code),
    Array.from({ length: 20 }, () => 0),
    ran.map(({ stderr }) => stderr).join(''),
  )
  t.equal(at.daemons().length, 1)
  t.equal(ran.filter(({ stderr }) => SAID.test(stderr)).length, 1, 'one of them says so')
})

t.test('a starter that was killed holds nobody up', { skip }, async (t) => {
  const at = await setUp(t)
  const script = `require('net').createServer().listen('${at.stateDir}/starting.sock', () => process.kill(process.pid, 9))`
  await runToEnd(process.execPath, ['-e', script], { env: at.env })
  t.ok(existsSync(join(at.stateDir, 'starting.sock')))
  t.match(await at.cli(['env']), { code: 0, stderr: SAID })
})

t.test('it exits when it is idle, and the next command starts another', { skip }, async (t) => {
  const at = await setUp(t, { PREFECT_AUTH_IDLE_EXIT: '10s' })
  t.match(await at.cli(['env']), { code: 0 })
  t.match(JSON.parse((await at.cli(['status', '--json'])).stdout), { daemon: { on_demand: true } })
  await allGone(at)
  t.match(readFileSync(join(at.stateDir, 'authd.log'), 'utf8'), /idle; exiting until the next request/)
  t.match(await at.cli(['env']), { code: 0, stderr: SAID })
})

t.test('it stays while a job has a token', { skip }, async (t) => {
  const at = await setUp(t, { PREFECT_AUTH_IDLE_EXIT: '10s', PREFECT_AUTH_LOG_LEVEL: 'debug' })
  t.match(await at.cli(['token', 'create', '--name', 'x']), { code: 4 })
  await at.cli(['env'])
  const made = await at.cli(['token', 'create', '--name', 'x', '--json'])
  t.equal(made.code, 0, made.stderr)
  const log = () => readFileSync(join(at.stateDir, 'authd.log'), 'utf8')
  await until(() => log().includes('there are tokens or files'), log)
  t.equal(at.daemons().length, 1)
  await at.cli(['token', 'revoke', JSON.parse(made.stdout).id])
  await allGone(at)
})

t.test('login starts one, and the key outlives it', { skip }, async (t) => {
  const cloud = await startCloudSimulator({
    accounts: [{ handle: 'prefect', workspaces: ['terry'] }],
    users: [{ handle: 'terry' }],
  })
  t.teardown(() => cloud.close())
  const at = await setUp(t, { PREFECT_CLOUD_API_URL: cloud.apiUrl, PREFECT_CLOUD_UI_URL: cloud.uiUrl })
  const ran = await at.cli(['login', '-p', 'c', '--key-stdin', '--workspace', 'prefect/terry'], {
    input: cloud.issueKey(),
  })
  t.match(ran, { code: 0, stderr: SAID })
  for (const pid of at.daemons()) process.kill(pid, 'SIGKILL')
  await allGone(at)
  t.match(await at.cli(['get', 'key', '-p', 'c']), { code: 0, stdout: /^pnu_/, stderr: SAID })
})

t.test('a daemon that cannot start is quoted', { skip }, async (t) => {
  const at = await setUp(t)
  mkdirSync(join(at.home, '.config', 'prefect-auth'), { recursive: true })
  writeFileSync(join(at.home, '.config', 'prefect-auth', 'config.toml'), 'nonsense = 1\n')
  t.match(await at.cli(['env']), {
    code: 4,
    stderr: /the daemon did not start: .*nonsense[\s\S]*try: prefect-authd/,
  })
  t.match(await at.cli(['exec', '--', 'true']), { code: 125, stderr: /nonsense/ })
  rmSync(join(at.home, '.config'), { recursive: true })
  t.match(await at.cli(['env']), { code: 0 })
})

t.test('a directory decides nothing about the daemon', { skip }, async (t) => {
  const at = await setUp(t)
  const evil = {
    HTTPS_PROXY: 'http://evil',
    PREFECT_CLOUD_API_URL: 'http://evil/api',
    NODE_OPTIONS: '--no-deprecation',
  }
  t.match(await at.cli(['env'], { env: evil }), { stderr: SAID })
  const [pid] = at.daemons()
  t.notMatch(readFileSync(`/proc/${pid}/environ`, 'latin1'), /evil|NODE_OPTIONS/)
  const elsewhere = { PREFECT_AUTH_SOCKET: join(at.home, 'other.sock') }
  t.match(await at.cli(['env'], { env: elsewhere }), { code: 4 }, 'nor is another one started')
  t.equal(at.daemons().length, 1)
})

t.test('setup --remove stops it, and takes the permission', { skip }, async (t) => {
  const at = await setUp(t)
  await at.cli(['env'])
  t.match(await at.cli(['setup', '--remove', '--yes']), { code: 0, stdout: /no command starts a daemon/ })
  t.same(at.daemons(), [])
  t.match(await at.cli(['env']), { code: 4 })
})
