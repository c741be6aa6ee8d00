/** Transcripts: what each command requests, prints and exits with. */
import t from 'tap'
import { buildCli } from '../fixtures/built-cli.js'
import { problem, type Reply, type Script, startScriptedDaemon } from '../fixtures/scripted-daemon.js'
import {
  API_URL,
  FINGERPRINT,
  KEY,
  OWNER,
  sampleProfileStatus,
  sampleStatus,
  WORKSPACE,
} from '../fixtures/wire-samples.js'

const cli = await buildCli(t)
const view = {
  name: 'cloud',
  active: true,
  source: 'file',
  kind: 'cloud',
  because: "profile 'cloud' is active in profiles.toml",
  api_url: API_URL,
  workspace: WORKSPACE,
  key: 'vault',
  auth_string: 'none',
  login_required: false,
  settings: { PREFECT_API_URL: API_URL },
  warnings: ['the URL is odd'],
}
const server = {
  ...view,
  name: 'local',
  active: false,
  kind: 'server',
  workspace: undefined,
  api_url: 'http://h/api',
  key: 'none',
  auth_string: 'file',
}
const workspaces = [
  { ...WORKSPACE, name: 'terry', current: true },
  { ...WORKSPACE, handle: 'acme/b', workspace_id: 'b', current: false },
]
const vault = { vault: { backend: 'file', at_rest: 'passphrase', because: 'x', state: 'ready' } }
const token = {
  id: 't1',
  name: 'ci',
  power: 'use',
  profiles: ['cloud', 'dev'],
  created_at: '2026-11-20T10:00:00Z',
  expires_at: '2026-11-20T18:00:00Z',
}
const entry = {
  at: '2026-11-20T10:00:00Z',
  action: 'env',
  outcome: 'given',
  door: 'socket',
  profile: 'cloud',
  fingerprint: FINGERPRINT,
  agent: 'curl\u001b[2J/8',
  count: 3,
}

const script: Script = {
  'GET /v1/status': { json: sampleStatus() },
  'GET /v1/profiles': {
    json: { file: { path: '/p', state: 'good' }, active: 'cloud', profiles: [view, server] },
  },
  'GET /v1/profiles/cloud': { json: view },
  'POST /v1/profiles': { status: 201, json: view },
  'PATCH /v1/profiles/cloud': { json: view },
  'PUT /v1/profiles/active': { json: view },
  'POST /v1/profiles/cloud/rename': { json: view },
  'DELETE /v1/profiles/cloud': { json: {} },
  'POST /v1/profiles/cloud/adopt': {
    json: { profile: 'cloud', fingerprint: FINGERPRINT, message: 'the key is in the vault now' },
  },
  'POST /v1/profiles/cloud/logout': {
    json: {
      profile: 'cloud',
      forgotten: [FINGERPRINT],
      revoked: [],
      not_revoked: [{ fingerprint: FINGERPRINT, reason: 'its id is not known' }],
    },
  },
  'GET /v1/profiles/cloud/workspaces': { json: { profile: 'cloud', workspaces } },
  'PUT /v1/profiles/cloud/workspace': {
    json: { profile: 'cloud', workspace: workspaces[1], api_url: API_URL },
  },
  'GET /v1/keys': {
    json: {
      keys: [
        { ...KEY, profile: 'cloud', state: 'current' },
        { profile: 'cloud', state: 'at_prefect', id: 'k2', name: 'x y' },
      ],
      notices: ['only half can be listed'],
    },
  },
  'POST /v1/keys': { status: 201, json: { profile: 'cloud', id: 'k1', name: 'ci', key: 'pnu_made' } },
  'DELETE /v1/keys/k1': { json: { id: 'k1', outcome: 'deleted' } },
  'POST /v1/tokens': { status: 201, json: { ...token, token: 'pab_made' } },
  'GET /v1/tokens': { json: { tokens: [token] } },
  'DELETE /v1/tokens/t1': { json: {} },
  'GET /v1/audit': { json: { entries: [entry] } },
  'GET /metrics': { text: '# TYPE prefect_auth_up gauge\nprefect_auth_up 1\n' },
  'POST /v1/vault/unlock': { json: vault },
  'POST /v1/vault/lock': { json: vault },
}

interface Row {
  readonly args: readonly string[]
  readonly input?: string
  /** The last request, and its body if that matters. */
  readonly asks?: readonly [string, unknown?]
  readonly query?: Readonly<Record<string, string>>
  readonly code?: number
  readonly stdout: string | RegExp
  readonly stderr?: string | RegExp
}

const table: readonly Row[] = [
  { args: ['adopt'], asks: ['POST /v1/profiles/cloud/adopt'], stdout: 'the key is in the vault now\n' },
  {
    args: ['logout'],
    asks: ['POST /v1/profiles/cloud/logout', { revoke: false }],
    stdout: `Logged out of profile cloud\n  forgotten here: ${FINGERPRINT}\n`,
  },
  {
    args: ['logout', '--revoke', '-p', 'cloud'],
    asks: ['POST /v1/profiles/cloud/logout', { revoke: true }],
    code: 1,
    stdout: /not deleted at Prefect: .*: its id is not known\n$/,
  },
  {
    args: ['workspace', 'ls'],
    stdout: /^ {3}WORKSPACE .*\n\* {2}prefect\/terry +terry +2{8}.*\n {3}acme\/b +- +b\n$/,
  },
  {
    args: ['workspace', 'set', 'acme/b'],
    asks: ['PUT /v1/profiles/cloud/workspace', { workspace: 'acme/b' }],
    stdout: 'Workspace acme/b, profile cloud\n',
  },
  {
    args: ['workspace', 'set', '-w', 'https://app/x'],
    asks: ['PUT /v1/profiles/cloud/workspace', { workspace: 'https://app/x' }],
    stdout: /^Workspace/,
  },
  {
    args: ['workspace', 'set'],
    code: 2,
    stdout: '',
    stderr: /there is no terminal to ask on\ntry: prefect-auth workspace set/,
  },
  {
    args: ['profile', 'ls'],
    stdout:
      /^ {3}PROFILE +KIND +KEY +WORKSPACE OR URL\n\* {2}cloud +cloud +in the vault +prefect\/terry\n {3}local +server +plain text in the file +http:\/\/h\/api\n$/,
  },
  { args: ['profile', 'ls', '--names'], stdout: 'cloud\nlocal\n' },
  {
    args: ['profile', 'inspect'],
    stdout:
      /^Profile cloud \(active\)\n[\s\S]*In profiles.toml:\n {2}PREFECT_API_URL[\s\S]*! the URL is odd\n$/,
  },
  {
    args: ['profile', 'use', 'cloud'],
    asks: ['PUT /v1/profiles/active', { name: 'cloud' }],
    stdout: 'Profile cloud is now active\n',
  },
  {
    args: ['profile', 'create', 'new', '--api-url', 'http://x'],
    asks: ['POST /v1/profiles', { name: 'new', api_url: 'http://x' }],
    stdout: 'Profile new created\n',
  },
  {
    args: ['profile', 'create', 'new', '--auth-string-stdin'],
    input: 'me:pass word\n',
    asks: ['POST /v1/profiles', { name: 'new', auth_string: 'me:pass word' }],
    stdout: 'Profile new created\n',
  },
  {
    args: ['profile', 'set', 'cloud', '--no-api-url', '--no-auth-string'],
    asks: ['PATCH /v1/profiles/cloud', { api_url: null, auth_string: null }],
    stdout: 'Profile cloud changed\n',
  },
  { args: ['profile', 'set', 'cloud'], code: 2, stdout: '', stderr: /no change was given/ },
  {
    args: ['profile', 'rename', 'cloud', 'c2'],
    asks: ['POST /v1/profiles/cloud/rename', { to: 'c2' }],
    stdout: 'Profile cloud is now called c2\n',
  },
  {
    args: ['profile', 'delete', 'cloud'],
    asks: ['DELETE /v1/profiles/cloud'],
    stdout: 'Profile cloud deleted\n',
  },
  {
    args: ['keys', 'ls'],
    stdout:
      /cloud +current +sha256:1f2e3d4c5b6a +2099-12-20 +2026-11-20 +minted +- +-\ncloud +at prefect +- +never +- +- +k2 +x y\n$/,
    stderr: 'note: only half can be listed\n',
  },
  {
    args: ['keys', 'create', 'ci', '--expires-in', 'never'],
    asks: ['POST /v1/keys', { name: 'ci' }],
    stdout: 'pnu_made\n',
    stderr: 'Key ci (k1): not shown again; it never expires\n',
  },
  {
    args: ['keys', 'create', '--name', 'ci', '--expires', '2099-01-31'],
    asks: ['POST /v1/keys', { name: 'ci', expires_at: '2099-01-31T00:00:00.000Z' }],
    stdout: 'pnu_made\n',
    stderr: /not shown again/,
  },
  {
    args: ['keys', 'create', '--name', 'ci', '--expires', '2099-01-31T18:00:00+02:00'],
    asks: ['POST /v1/keys', { name: 'ci', expires_at: '2099-01-31T16:00:00.000Z' }],
    stdout: 'pnu_made\n',
    stderr: /not shown again/,
  },
  {
    args: ['keys', 'create', 'ci', '--expires', 'soon'],
    code: 2,
    stdout: '',
    stderr: /8h or 90d, a date like/,
  },
  { args: ['keys', 'create', 'ci', '--expires', '2099-02-30'], code: 2, stdout: '', stderr: /a date like/ },
  { args: ['keys', 'create', 'ci', '--expires', '2020-01-31'], code: 2, stdout: '', stderr: /is past/ },
  {
    args: ['keys', 'create', '--expires', '8h'],
    code: 2,
    stdout: '',
    stderr: 'prefect-auth: the key has no name\ntry: prefect-auth keys create --name NAME\n',
  },
  { args: ['keys', 'create', 'ci', '--expires-in', 'soon'], code: 2, stdout: '', stderr: /30m, 8h or 90d/ },
  { args: ['keys', 'delete', 'k1'], asks: ['DELETE /v1/keys/k1'], stdout: 'Key k1 deleted\n' },
  {
    args: ['keys', 'delete', 'k1', '--yes', '-p', 'cloud'],
    asks: ['DELETE /v1/keys/k1'],
    query: { profile: 'cloud', sure: 'true' },
    stdout: 'Key k1 deleted\n',
  },
  {
    args: ['token', 'create', '--name', 'ci', '--power', 'use', '-p', 'cloud', '-p', 'dev'],
    asks: ['POST /v1/tokens', { name: 'ci', power: 'use', expires_in: '8h', profiles: ['cloud', 'dev'] }],
    stdout: 'pab_made\n',
    stderr: /^Token t1: not shown again; power use, profiles cloud, dev, until 2026-11-20 18:00:00 UTC\n$/,
  },
  {
    args: ['token', 'create', '--name', 'ci', '--power', 'admin'],
    code: 2,
    stdout: '',
    stderr: /inspect, proxy, use/,
  },
  {
    args: ['token', 'create', '--name', 'ci', '--expires-in', 'soon'],
    code: 2,
    stdout: '',
    stderr: /--expires-in.*like 30m, 8h or 7d/,
  },
  { args: ['token', 'ls'], stdout: /t1 +ci +use +- +cloud,dev +2026-11-20 18:00:00 +never\n$/ },
  { args: ['token', 'revoke', 't1'], asks: ['DELETE /v1/tokens/t1'], stdout: 'Token t1 revoked\n' },
  {
    args: ['audit', '--since', '2026-11-20T08:00Z'],
    stdout: /env x3 +given +cloud +socket +curl\[2J\/8 +sha256:/,
  },
  { args: ['audit', '-p', 'other'], stdout: 'No entries\n' },
  { args: ['metrics'], stdout: '# TYPE prefect_auth_up gauge\nprefect_auth_up 1\n' },
  {
    args: ['unlock', '--passphrase-stdin'],
    input: ' open sesame \n',
    asks: ['POST /v1/vault/unlock', { passphrase: ' open sesame ' }],
    stdout: 'The vault (file, at rest: passphrase) is ready\n',
  },
  { args: ['unlock'], code: 2, stdout: '', stderr: /--passphrase-stdin/ },
  { args: ['lock'], asks: ['POST /v1/vault/lock', {}], stdout: /^The vault/ },
  { args: ['status', '--url'], stdout: 'http://127.0.0.1:4280\n' },
  { args: ['version'], stdout: /^prefect-auth \d+\.\d+\.\d+\nprefect-authd 0\.1\.0\n$/ },
  {
    args: ['logs', '-'],
    input: '{"level":30,"time":0,"msg":"hi","a":1}\nplain\n',
    stdout: '1970-01-01 00:00:00Z INFO  hi  a=1\nplain\n',
  },
]

t.test('requests, prints and exits as in the transcript', { jobs: 4 }, async (t) => {
  for (const { args, input, asks, query, code = 0, stdout, stderr = '' } of table) {
    void t.test(args.join(' '), async (t) => {
      const daemon = await startScriptedDaemon(t, script)
      const outcome = await cli.run(args, { env: daemon.env, ...(input === undefined ? {} : { input }) })
      t.match(outcome, { code, stdout, stderr })
      if (typeof stdout === 'string') t.equal(outcome.stdout, stdout)
      if (typeof stderr === 'string') t.equal(outcome.stderr, stderr)
      const last = daemon.asked.at(-1)
      if (query !== undefined) t.same(last?.query, query)
      if (asks === undefined) return
      t.same([`${last?.method} ${last?.path}`, last?.body], asks.length === 1 ? [asks[0], last?.body] : asks)
    })
  }
})

t.test('prints the response of the daemon with --json', async (t) => {
  const daemon = await startScriptedDaemon(t, script)
  for (const [args, expected] of [
    [['profile', 'ls'], { active: 'cloud' }],
    [['token', 'create', '--name', 'ci'], { token: 'pab_made' }],
    [['workspace', 'ls'], { workspaces }],
    [['status'], { active: 'cloud', profiles: [{ owner: OWNER }] }],
    [[], { active: 'cloud' }],
  ] as const) {
    const { code, stdout } = await cli.run([...args, '--json'], { env: daemon.env })
    t.equal(code, 0)
    t.match(JSON.parse(stdout), expected)
  }
})

t.test('reports a failure with exit code, reason and remedy, and with --json as a document', async (t) => {
  const rows: readonly [Reply, number, RegExp][] = [
    [
      problem('login_required', 'login', 401, 'no key', 'prefect-auth login'),
      3,
      /^prefect-auth: no key \(login_required\)\ntry: prefect-auth login\n$/,
    ],
    [problem('prefect_unreachable', 'upstream', 502, 'no route'), 5, /no route \(prefect_unreachable\)\n$/],
    [problem('prefect_failed', 'upstream', 502, 'it said 500'), 1, /it said 500/],
    [problem('internal', 'internal', 500, 'evil\u001b[2J'), 1, /evil\[2J/],
    [{ status: 500, text: 'oops' }, 1, /answered 500 without a reason/],
  ]
  for (const [reply, code, stderr] of rows) {
    const daemon = await startScriptedDaemon(t, { 'GET /v1/status': reply })
    t.match(await cli.run([], { env: daemon.env }), { code, stdout: '', stderr })
    const json = await cli.run(['status', '--json'], { env: daemon.env })
    t.equal(json.code, code)
    t.ok(JSON.parse(json.stdout).code)
  }
})

t.test('prefers --profile to PREFECT_PROFILE, and status says where the profile was named', async (t) => {
  const profiles = [sampleProfileStatus(), sampleProfileStatus({ name: 'dev', active: false })]
  const daemon = await startScriptedDaemon(t, { 'GET /v1/status': { json: sampleStatus({ profiles }) } })

  const named = { ...daemon.env, PREFECT_PROFILE: 'dev' }
  t.match((await cli.run([], { env: named })).stdout, 'dev (named by PREFECT_PROFILE)')
  t.match((await cli.run(['-p', 'cloud'], { env: named })).stdout, 'cloud (named by --profile)')
  t.match((await cli.run([], { env: daemon.env })).stdout, 'cloud (active in profiles.toml)')
})

t.test('doctor prints remedies and fails only for problems', async (t) => {
  const ok = { name: 'clock', verdict: 'ok', finding: 'agrees' }
  const warning = { name: 'vault', verdict: 'warning', finding: 'no lock', remedy: 'set a passphrase' }
  const bad = { name: 'key', verdict: 'problem', finding: 'gone', remedy: 'prefect-auth login' }
  for (const [checks, code, problems] of [
    [[ok], 0, '0 problems'],
    [[ok, warning], 0, '0 problems'],
    [[ok, bad], 1, '1 problem'],
  ] as const) {
    const script = { 'GET /v1/status': { json: sampleStatus() }, 'GET /v1/doctor': { json: { checks } } }
    const daemon = await startScriptedDaemon(t, script)
    const outcome = await cli.run(['doctor'], { env: daemon.env })
    // The checks of the session differ from machine to machine, but none is a problem here.
    t.match(outcome, { code, stdout: new RegExp(`\n${problems}, \\d+ warnings?, \\d unknown\\.\n$`) })
    for (const check of checks) if ('remedy' in check) t.match(outcome.stdout, check.remedy)
  }
})

t.test('exits with 2 on wrong usage and suggests what is valid', async (t) => {
  for (const [args, stderr] of [
    [['bogus'], /unknown command 'bogus'/],
    [['statsu'], /Did you mean status/],
    [['login', '--bogus'], /unknown option '--bogus'/],
    [['profile', 'use'], /missing required argument 'name'/],
    [['renew', '--bogus'], /unknown option '--bogus'/],
    [['service', 'bogus'], /unknown command 'bogus'/],
  ] as const) {
    t.match(await cli.run(args, { env: {} }), { code: 2, stdout: '', stderr })
  }
})

t.test('prints help for every command, and no colours into a pipe', async (t) => {
  const { stdout } = await cli.run(['--help'], { env: { FORCE_COLOR: '1' } })
  const names = [...stdout.matchAll(/^ {2}([a-z]+) /gm)].map(([, name]) => name ?? '')

  t.ok(names.includes('renew'))
  t.ok(names.length >= 21)
  t.notOk(stdout.includes('\u001b'))
  const helps = await Promise.all(names.map((name) => cli.run([name, '--help'], { env: {} })))
  for (const help of helps) t.match(help, { code: 0, stdout: /^Usage: prefect-auth/ })
})
