/** The files of a service: hostile paths stay one word, and no foreign line gets in. */
import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { carriedEnv } from '../../../src/cli/service/facts.js'
import { parsePrinted } from '../../../src/cli/service/launchd.js'
import {
  planLaunchd,
  planSystemd,
  resolveServicePlaces,
  type ServiceFacts,
} from '../../../src/cli/service/plan.js'
import { parseShown } from '../../../src/cli/service/systemd.js'
import { fillTemplate } from '../../../src/cli/service/templates.js'

const root = fileURLToPath(new URL('../../../', import.meta.url))
const template = (folder: string) => (name: string) => readFileSync(join(root, folder, name), 'utf8')

function facts(home: string, platform: string, change: Partial<ServiceFacts> = {}): ServiceFacts {
  const places = resolveServicePlaces({ env: {}, home, platform, uid: 501 })
  const launch = { node: '/usr/bin/node', program: `${home}/p/dist/authd.js`, flags: [], path: ['/usr/bin'] }
  return {
    places,
    launch,
    env: {},
    port: 4280,
    writable: [join(home, '.prefect')],
    folders: [],
    hasNamespaces: true,
    ...change,
  }
}

function unit(files: ReturnType<typeof planSystemd>, name: string): string {
  return files.find(({ path }) => path.endsWith(`/${name}`))?.text ?? ''
}

t.test('escapes every special character of a home directory in units', async (t) => {
  const home = `/home/a b%h$HOME"q'\\n`
  const files = planSystemd(
    facts(home, 'linux', { env: { HTTPS_PROXY: 'http://u:p%40$x"@h' } }),
    template('systemd'),
  )
  const service = unit(files, 'prefect-authd.service')
  t.match(
    service,
    `ExecStart=/bin/sh "/home/a b%%h$$HOME\\"q'\\\\n/.local/share/prefect-auth-broker/start-daemon"\n`,
  )
  t.match(service, `Environment="HTTPS_PROXY=http://u:p%%40$x\\"@h"\n`)
  t.match(service, `"-/home/a b%%h$HOME\\"q'\\\\n/.prefect" -%t/prefect-auth\n`)
})

t.test('writes units that systemd verifies', { skip: noAnalyze() }, async (t) => {
  const home = makeHome(t, `a b%h$HOME"q'`)
  // As everywhere below this home, of which every character is special.
  const files = planSystemd(facts(home, 'linux', { folders: [join(home, 'app')] }), template('systemd'))
  for (const { path, text, mode } of files) {
    mkdirSync(join(path, '..'), { recursive: true })
    writeFileSync(path, text, { mode })
  }
  const units = files
    .filter(({ path }) => /systemd.*(service|socket|timer)$/.test(path))
    .map(({ path }) => path)
  const env = { PATH: process.env.PATH, HOME: home, XDG_RUNTIME_DIR: home }
  const said = execFileSync('systemd-analyze', ['verify', '--user', ...units], {
    env,
    encoding: 'utf8',
    stdio: 'pipe',
  })
  t.equal(said, '')
})

t.test('opens the sandbox for the directories of kept files, where there is one', async (t) => {
  const dropIn = (change: Partial<ServiceFacts>) =>
    planSystemd(facts('/h', 'linux', change), template('systemd')).find(({ path }) => path.endsWith('.conf'))
  const folders = ['/h/app', `/h/it's 100% "a" $b\\c`]
  const path = '/h/.config/systemd/user/prefect-authd.service.d/files.conf'
  t.match(dropIn({ folders }), { path, mode: 0o600 })
  t.match(
    dropIn({ folders })?.text,
    `[Service]\nReadWritePaths=-/h/app\nReadWritePaths="-/h/it's 100%% \\"a\\" $b\\\\c"\n`,
  )
  t.equal(dropIn({}), undefined, 'no file, no drop-in')
  t.equal(dropIn({ folders, hasNamespaces: false }), undefined, 'it would ask for a namespace')
})

function noAnalyze(): string | false {
  if (process.platform !== 'linux') return 'systemd is for Linux'
  try {
    execFileSync('systemd-analyze', ['--version'], { stdio: 'ignore' })
    return false
  } catch (error) {
    if (process.env.PAB_REQUIRE_REAL === '1') throw error
    return 'systemd-analyze is not installed'
  }
}

function makeHome(t: Test, name: string): string {
  const dir = mkdtempSync(join(tmpdir(), 'pab-plan-'))
  t.teardown(() => rmSync(dir, { recursive: true, force: true }))
  mkdirSync(join(dir, name))
  return join(dir, name)
}

for (const bad of ['\n', '\r', '\0', '\u001b']) {
  t.test(`rejects ${JSON.stringify(bad)} in a value, which would start a new line`, async (t) => {
    const env = { HTTPS_PROXY: `http://h${bad}ExecStartPre=/bin/evil` }
    t.throws(() => planSystemd(facts('/h', 'linux', { env }), template('systemd')), /line break/)
    t.throws(() => planLaunchd(facts('/h', 'darwin', { env }), template('launchd')), /line break/)
  })
}

t.test('omits the TCP unit without a port, and settings that need namespaces without those', async (t) => {
  const files = planSystemd(facts('/h', 'linux', { port: 'off', hasNamespaces: false }), template('systemd'))
  t.same(
    files.map(({ path }) => path.split('/').at(-1)),
    [
      'start-daemon',
      'prefect-authd.service',
      'prefect-authd.socket',
      'prefect-authd.timer',
      'prefect-authd-callers.socket',
      'prefect-authd-peers.socket',
      'prefect-authd-wake.service',
      'prefect-authd-callers@.service',
      'prefect-authd-peers@.service',
    ],
  )
  const service = unit(files, 'prefect-authd.service')
  t.notMatch(service, /PrivateUsers|ProtectHome|CapabilityBoundingSet|\[\/?namespaces\]/)
  t.match(service, /NoNewPrivileges=yes[\s\S]*left out[\s\S]*\[Install\]/)
})

t.test('puts the socket where the caller says', async (t) => {
  const env = { PREFECT_AUTH_SOCKET: '/run/my%s/a b' }
  const places = resolveServicePlaces({ env, home: '/h', platform: 'linux', uid: 1 })
  const files = planSystemd(facts('/h', 'linux', { env, places }), template('systemd'))
  t.match(unit(files, 'prefect-authd.socket'), '\nListenStream=/run/my%%s/a b\n')
  t.match(unit(files, 'prefect-authd.service'), ' -/run/my%%s\n')
})

t.test(
  'passes paths, network and settings of the environment to the service, but no key or profile',
  async (t) => {
    const env = {
      PREFECT_API_KEY: 'pnu_x',
      PREFECT_API_URL: 'u',
      PREFECT_PROFILE: 'p',
      PREFECT_API_AUTH_STRING: 'a:b',
      HOME: '/h',
      PREFECT_HOME: 'rel',
      PREFECT_AUTH_CONFIG: 'c.toml',
      XDG_CONFIG_HOME: 'rel',
      no_proxy: 'x',
      PREFECT_AUTH_PORT: '1',
      HTTPS_PROXY: '',
    }
    t.same(
      carriedEnv(env, (path) => `/here/${path}`),
      {
        PREFECT_AUTH_CONFIG: '/here/c.toml',
        PREFECT_AUTH_PORT: '1',
        PREFECT_HOME: '/here/rel',
        XDG_CONFIG_HOME: 'rel',
        no_proxy: 'x',
      },
    )
  },
)

t.test('throws for a template name without a value', async (t) => {
  t.throws(() => fillTemplate('@WHO@', {}), /no value for WHO/)
  t.equal(fillTemplate('@A@@B@', { A: '@B@', B: '$&' }), '@B@$&')
})

t.test('writes an agent with exactly the keys that launchd knows', async (t) => {
  const env = { HTTPS_PROXY: 'http://a&b<c>"d' }
  const files = planLaunchd(facts('/Users/a&b <c>', 'darwin', { env }), template('launchd'))
  t.equal(files[1]?.path, '/Users/a&b <c>/Library/LaunchAgents/io.github.prefect-auth-broker.plist')
  const script = 'import json,plistlib,sys; print(json.dumps(plistlib.loads(sys.stdin.buffer.read())))'
  const parsed = JSON.parse(
    execFileSync('python3', ['-c', script], { input: files[1]?.text, encoding: 'utf8' }),
  )
  const support = '/Users/a&b <c>/Library/Application Support'
  // launchd ignores a misspelt key silently: these and their types are from its manual.
  t.strictSame(parsed, {
    Label: 'io.github.prefect-auth-broker',
    ProgramArguments: ['/bin/sh', `${support}/prefect-auth-broker/start-daemon`],
    RunAtLoad: true,
    KeepAlive: { SuccessfulExit: false },
    ThrottleInterval: 10,
    ExitTimeOut: 20,
    Umask: 0o77,
    HardResourceLimits: { Core: 0 },
    EnvironmentVariables: { PREFECT_AUTHD_STARTED_BY: 'launchd', ...env },
    StandardOutPath: '/dev/null',
    StandardErrorPath: `${support}/prefect-auth/authd.log`,
  })
})

t.test('parses systemctl show into units', async (t) => {
  t.same(
    [...parseShown('Id=a.service\nActiveState=active\nResult=x=y\n\nId=b.socket\nActiveState=failed')],
    [
      ['a.service', { Id: 'a.service', ActiveState: 'active', Result: 'x=y' }],
      ['b.socket', { Id: 'b.socket', ActiveState: 'failed' }],
    ],
  )
})

for (const [text, expected] of [
  ['\tstate = running\n\tpid = 12\n', { state: 'running', pid: 12 }],
  ['\tstate = not running\n\tlast exit code = 0\n', { state: 'stopped' }],
  ['\tstate = not running\n\tlast exit code = (never exited)\n', { state: 'stopped' }],
  [
    '\tlast exit code = 78: EX_CONFIG\n',
    { state: 'failed', problem: 'the daemon exited with 78: EX_CONFIG' },
  ],
] as const) {
  t.test(`parses launchctl print: ${JSON.stringify(text)}`, async (t) => {
    t.same(parsePrinted(text), expected)
  })
}
