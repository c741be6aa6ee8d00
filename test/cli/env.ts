/** `prefect-auth env` as a real process, evaluated by real shells. */
import { spawnSync } from 'node:child_process'
import t from 'tap'
import { bareEnv, buildCli } from '../fixtures/built-cli.js'
import { problem, startScriptedDaemon } from '../fixtures/scripted-daemon.js'

const TEXT = "export PREFECT_API_URL='https://u';\nunset PREFECT_API_KEY;\n"
const LOGIN = problem(
  'login_required',
  'login',
  401,
  "profile 'prod' needs a login",
  'prefect-auth login -p prod',
)

const cli = await buildCli(t)

t.test("prints the daemon's text unchanged, for the profile and format requested", async (t) => {
  const daemon = await startScriptedDaemon(t, { 'GET /v1/env': { text: TEXT } })
  const table = [
    [[], {}, { format: 'sh' }],
    [['--format', 'fish', '-p', 'a b'], {}, { profile: 'a b', format: 'fish' }],
    [[], { PREFECT_PROFILE: 'prod' }, { profile: 'prod', format: 'sh' }],
    [['-p', 'dev'], { PREFECT_PROFILE: 'prod' }, { profile: 'dev', format: 'sh' }],
    [[], { PREFECT_PROFILE: '' }, { format: 'sh' }],
    [['--json'], {}, { format: 'json' }],
  ] as const

  for (const [args, env, query] of table) {
    const outcome = await cli.run(['env', ...args], { env: { ...daemon.env, ...env } })
    t.same(outcome, { code: 0, signal: null, stdout: TEXT, stderr: '' })
    t.same(daemon.asked.at(-1)?.query, query)
  }
})

t.test('unsets what the proxy alone needed when a shell leaves the proxy', async (t) => {
  const daemon = await startScriptedDaemon(t, { 'GET /v1/env': { text: TEXT } })
  const name = 'PREFECT_SILENCE_API_URL_MISCONFIGURATION'
  const proxied = { ...daemon.env, [name]: 'true', PREFECT_API_KEY: `pab_${'t'.repeat(43)}` }
  const table = [
    ['sh', `unset ${name};\n`],
    ['fish', `set -e ${name}; or true;\n`],
    ['powershell', `Remove-Item Env:${name} -ErrorAction SilentlyContinue\n`],
    ['dotenv', ''],
    ['json', ''],
  ] as const
  for (const [format, more] of table) {
    const { stdout } = await cli.run(['env', '--format', format], { env: proxied })
    t.equal(stdout, `${TEXT}${more}`, format)
  }
  const { stdout } = await cli.run(['env'], {
    env: { ...daemon.env, [name]: 'true', PREFECT_API_KEY: 'pnu_x' },
  })
  t.equal(stdout, TEXT, 'but keeps what the user set')
})

t.test('prints nothing that would run more than setting and removing the variables of Prefect', async (t) => {
  for (const text of [
    'touch x\n',
    "export PATH='/x';\n",
    "export PREFECT_API_URL='x'; touch x;\n",
    '<html>\n',
  ]) {
    const daemon = await startScriptedDaemon(t, { 'GET /v1/env': { text } })
    t.match(await cli.run(['env'], { env: daemon.env }), {
      code: 1,
      stdout: "echo 'prefect-auth: not_understood' >&2; false\n",
      stderr: /version/,
    })
  }
})

t.test('prints a line that fails in the shell, the reason on stderr, and exits with a code', async (t) => {
  const daemon = await startScriptedDaemon(t, {
    'GET /v1/env': LOGIN,
  })
  const line = "echo 'prefect-auth: login_required' >&2; false\n"
  const table = [
    [['-p', 'prod'], 3, line],
    [['-p', 'prod', '--format', 'fish'], 3, line],
    [['-p', 'prod', '--format', 'powershell'], 3, "throw 'prefect-auth: login_required'\n"],
    [['-p', 'prod', '--json'], 3, ''],
    [['--bogus'], 2, "echo 'prefect-auth: usage' >&2; false\n"],
  ] as const

  for (const [args, code, stdout] of table) {
    t.match(await cli.run(['env', ...args], { env: daemon.env }), { code, stdout })
  }
  const before = daemon.asked.length
  const { stderr } = await cli.run(['env', '-p', 'prod'], { env: daemon.env })
  t.equal(daemon.asked.length - before, 1, 'the reason comes with the one answer')
  t.equal(
    stderr,
    "prefect-auth: profile 'prod' needs a login (login_required)\ntry: prefect-auth login -p prod\n",
  )
})

t.test('stops a script under set -e if there is no daemon', async (t) => {
  const env = bareEnv(t.testdir())
  const script = `set -e; eval "$(${process.execPath} ${cli.program} env)"; echo went on`

  const direct = await cli.run(['env'], { env })
  const inShell = spawnSync('sh', ['-c', script], { env, encoding: 'utf8' })

  t.match(direct, { code: 4, stderr: /the daemon is not running[\s\S]*try: prefect-auth service install/ })
  t.not(inShell.status, 0)
  t.notMatch(inShell.stdout, 'went on')
})

t.test('leaves --help to the full program', async (t) => {
  for (const command of ['env', 'exec']) {
    t.match(await cli.run([command, '--help'], { env: {} }), {
      code: 0,
      stdout: new RegExp(`Usage: prefect-auth ${command}`),
    })
  }
})
