/** `prefect-auth login` without a terminal. */
import t from 'tap'
import { buildCli } from '../fixtures/built-cli.js'
import { problem, startScriptedDaemon } from '../fixtures/scripted-daemon.js'
import { startScriptedLogin } from '../fixtures/scripted-login.js'
import { API_KEY, KEY, OWNER, sampleLogin, WORKSPACE } from '../fixtures/wire-samples.js'

const workspace = { ...WORKSPACE, current: true }
const verified = { state: 'verified', owner: OWNER, owner_known: true, workspace, workspaces: [workspace] }
const key = { ...KEY, expires_at: '2026-12-20T10:00:00.000Z' }
const stored = { state: 'stored', owner: OWNER, workspace, key }

const cli = await buildCli(t)

t.test('logs in with a key from stdin: the result on stdout, how to use it on stderr', async (t) => {
  const login = await startScriptedLogin(t, {
    onKey: [verified],
    onConfirm: [{ state: 'confirmed' }, stored],
  })

  const outcome = await cli.run(
    ['login', '--key-stdin', '--exchange', '-w', 'prefect/terry', '-p', 'cloud'],
    {
      env: login.daemon.env,
      input: `${API_KEY}\n`,
    },
  )

  t.equal(outcome.code, 0)
  t.equal(
    outcome.stdout,
    'Logged in as terry (terry@example.com), workspace prefect/terry, profile cloud; key expires 2026-12-20\n',
  )
  t.match(outcome.stderr, /^To use it: prefect-auth exec -- prefect/)
  t.notMatch(outcome.stderr, 'http')
  t.match(login.bodies('POST /v1/logins'), [{ profile: 'cloud', workspace: 'prefect/terry' }])
  t.same(login.bodies('POST /v1/logins/login-1/key'), [{ api_key: API_KEY, exchange: true }])
  t.same(login.bodies('POST /v1/logins/login-1/confirm'), [{ accept: true }])
})

t.test('asks nothing if the owner is known, and prints the page on its own line', async (t) => {
  const exchange = { done: false, message: 'the delivered key is kept: minting was refused' }
  const login = await startScriptedLogin(t, {
    onBegin: [{ state: 'received' }, verified],
    onConfirm: [{ ...stored, exchange, key: { ...key, expiry_assumed: true } }],
  })

  const outcome = await cli.run(['login', '--owner', 'terry', '--switch-owner'], { env: login.daemon.env })

  t.match(outcome, { code: 0, stdout: /; key expires about 2026-12-20\n$/ })
  t.ok(outcome.stderr.split('\n').includes(sampleLogin().url ?? ''))
  t.match(outcome.stderr, /may access apps on this device/)
  t.match(outcome.stderr, /note: the delivered key is kept: minting was refused\n/)
  t.match(login.bodies('POST /v1/logins'), [{ owner: 'terry', switch_owner: true }])
})

t.test(
  'fails with the option to use, and cancels the login, if a question would have to be asked',
  async (t) => {
    const foreign = { kind: 'user', id: 'x', handle: 'x; rm -rf ~', email: undefined }
    const others = [workspace, { ...workspace, handle: 'acme/b', workspace_id: 'b', current: false }]
    const table = [
      [{ ...verified, owner_known: false }, /try: prefect-auth login --owner terry@example\.com\n/],
      [
        { ...verified, owner: foreign, owner_known: false },
        /try: prefect-auth login --owner 'x; rm -rf ~'\n/,
      ],
      [
        { ...verified, workspace: undefined, workspaces: others },
        /prefect\/terry, acme\/b[\s\S]*--workspace prefect\/terry\n/,
      ],
    ] as const

    for (const [state, stderr] of table) {
      const login = await startScriptedLogin(t, { onBegin: [state] })
      t.match(await cli.run(['login'], { env: login.daemon.env }), { code: 2, stdout: '', stderr })
      t.equal(login.bodies('DELETE /v1/logins/login-1').length, 1)
      const { daemon } = await startScriptedLogin(t, { onBegin: [state] })
      const named = await cli.run(['login', '-p', 'team'], { env: daemon.env })
      t.match(named.stderr, /try: prefect-auth login --(?:owner|workspace) .* --profile team\n/)
    }
  },
)

t.test('ends with the reason that ended the login', async (t) => {
  const error = {
    type: 'urn:x',
    title: 't',
    status: 409,
    detail: 'no key came',
    code: 'login_expired',
    kind: 'conflict',
    hint: 'prefect-auth login',
  }
  const table = [
    [{ state: 'expired', error }, /no key came \(login_expired\)\ntry: prefect-auth login\n/],
    [{ state: 'failed', error: { ...error, code: 'key_rejected', kind: 'login' } }, /key_rejected/],
    [{ state: 'cancelled' }, /cancelled by another program/],
  ] as const

  for (const [state, stderr] of table) {
    const login = await startScriptedLogin(t, { onBegin: [state] })
    const code = state.state === 'failed' ? 3 : 1
    t.match(await cli.run(['login'], { env: login.daemon.env }), { code, stderr })
  }
})

t.test('fails on a refused key from stdin, and cancels only a login of its own', async (t) => {
  for (const isJoined of [false, true]) {
    const login = await startScriptedLogin(t, { isJoined })
    login.daemon.script['POST /v1/logins/login-1/key'] = problem(
      'key_rejected',
      'login',
      401,
      'Prefect refused it',
    )
    const outcome = await cli.run(['login', '--key-stdin'], { env: login.daemon.env, input: 'junk' })
    t.match(outcome, { code: 3, stderr: /Prefect refused it \(key_rejected\)/ })
    t.notMatch(outcome.stderr, 'junk')
    t.equal(login.bodies('DELETE /v1/logins/login-1').length, isJoined ? 0 : 1)
  }
})

t.test('cancels the login on Ctrl-C and SIGTERM', async (t) => {
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    const login = await startScriptedLogin(t, {})
    const outcome = await cli.run(['login'], {
      env: login.daemon.env,
      onSpawn: (_pid, kill) => void login.whenWaiting.then(() => kill(signal)),
    })
    t.match(outcome, { code: 130, stderr: /Login cancelled\.\n$/ })
    t.equal(login.bodies('DELETE /v1/logins/login-1').length, 1)
  }
})

t.test('rejects an empty stdin, and a key among the arguments without repeating it', async (t) => {
  const daemon = await startScriptedDaemon(t, {})

  t.match(await cli.run(['login', '--key-stdin'], { env: daemon.env }), {
    code: 2,
    stderr: /no API key was given/,
  })
  for (const args of [
    ['login', API_KEY],
    ['login', `--key=${API_KEY}`],
    ['status', '-p', API_KEY],
  ]) {
    const outcome = await cli.run(args, { env: daemon.env })
    t.match(outcome, { code: 2, stdout: '', stderr: /looks like a key[\s\S]*--key-stdin/ })
    t.notMatch(outcome.stderr, API_KEY)
  }
  t.equal(daemon.asked.length, 0)
})

t.test('prints the login as the daemon reports it with --json', async (t) => {
  const login = await startScriptedLogin(t, { onBegin: [verified], onConfirm: [stored] })

  const { code, stdout } = await cli.run(['login', '--json'], { env: login.daemon.env })

  t.equal(code, 0)
  t.match(JSON.parse(stdout), { state: 'stored', owner: OWNER, profile: 'cloud' })
})
