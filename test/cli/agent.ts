/** `agent run` as a real process: the token that it makes and ends, the environment, the exit code and signals, and what it says. */
import t from 'tap'
import { parseAgentArguments } from '../../src/cli/fast/options.js'
import { buildCli } from '../fixtures/built-cli.js'
import { problem, type Script, startScriptedDaemon } from '../fixtures/scripted-daemon.js'

const cli = await buildCli(t)
const ID = '0123456789ab'
const TOKEN = `pab_${'t'.repeat(43)}`
const base = 'http://127.0.0.1:4280/proxy/cloud/api'
const job = {
  profile: 'cloud',
  is_watched: true,
  env: { PREFECT_API_URL: base, PREFECT_API_KEY: TOKEN, PREFECT_AUTH_JOB: ID },
}
const SCRIPT: Script = { 'POST /v1/env': { json: job }, [`DELETE /v1/tokens/${ID}`]: { json: {} } }

const DEFAULTS = { may: 'read', ask: 'write', writes_per_hour: 30, requests_per_minute: 120 }
const LIMITS: readonly (readonly [args: readonly string[], limits: object])[] = [
  [[], DEFAULTS],
  [['--may', 'run'], { may: 'run', writes_per_hour: 30, requests_per_minute: 120 }],
  [['--may', 'read'], { may: 'read', writes_per_hour: 30, requests_per_minute: 120 }],
  [['--may', 'deploy', '--ask', 'write'], { ...DEFAULTS, may: 'deploy' }],
  [['--ask', 'all'], { ...DEFAULTS, ask: 'all' }],
  [
    ['--writes-per-hour', '5', '--requests-per-minute=9'],
    { ...DEFAULTS, writes_per_hour: 5, requests_per_minute: 9 },
  ],
  [['--deny', 'DELETE /flows/{id}'], { ...DEFAULTS, deny: ['DELETE /flows/{id}'] }],
]
for (const [args, limits] of LIMITS) {
  t.test(`agent run ${args.join(' ')}`, async (t) => {
    const plan = parseAgentArguments(['run', ...args, '--', 'claude', '--may', 'x'])
    t.same(plan.kind === 'exec' && plan.limits, limits)
    t.match(plan, { isProxied: true, isAgent: true, command: 'claude', args: ['--may', 'x'] })
  })
}

const WRONG: readonly (readonly [args: readonly string[], message: RegExp])[] = [
  [['run'], /agent run needs a command/],
  [['run', '--allow-none', '--', 'sh'], /--allow-none/],
  [['run', '--writes-per-hour', '0', '--', 'sh'], /take a number from 1 to 100000/],
  [['run', '--writes-per-hour', 'many', '--', 'sh'], /take a number from 1 to 100000/],
  [['run', '--requests-per-minute', '1e3', '--', 'sh'], /take a number/],
  [['run', '--ask', 'never', '--', 'sh'], /--ask must be one of/],
  [['run', '--nothing', '--', 'sh'], /unknown option/],
]
t.test('what cannot be meant is wrong usage', async (t) => {
  for (const [args, message] of WRONG)
    t.match(parseAgentArguments(args), { kind: 'usage', message }, args.join(' '))
  for (const args of [[], ['--help'], ['run', '--help']]) t.equal(parseAgentArguments(args).kind, 'help')
})

t.test('the token is made for this command, is in its environment, and ends with it', async (t) => {
  const daemon = await startScriptedDaemon(t, SCRIPT)
  const script = 'echo "$PREFECT_API_KEY $PREFECT_AUTH_JOB"; exit 7'
  const outcome = await cli.run(['-p', 'cloud', 'agent', 'run', '--', 'sh', '-c', script], {
    env: { ...daemon.env, PREFECT_API_KEY: 'pnu_old' },
  })
  t.equal(outcome.code, 7)
  t.equal(outcome.stdout, `${TOKEN} ${ID}\n`)
  t.match(daemon.asked[0]?.body, { mode: 'proxy', agent: true, name: 'sh', profile: 'cloud', ...DEFAULTS })
  t.equal(daemon.asked.at(-1)?.method, 'DELETE')
  t.equal(daemon.asked.length, 2)
  t.match(
    outcome.stderr,
    `token ${ID}: may read; what changes something waits for your yes (prefect-auth asks); at most 30 writes an hour, 120 requests a minute`,
  )
  t.match(outcome.stderr, /there is no systemd user manager here/)
  t.notMatch(outcome.stderr, /does not refuse this command/)
})

t.test('it says if the daemon cannot see what comes from inside', async (t) => {
  const daemon = await startScriptedDaemon(t, {
    ...SCRIPT,
    'POST /v1/env': { json: { ...job, is_watched: false } },
  })
  const outcome = await cli.run(['agent', 'run', 'true'], { env: daemon.env })
  t.match(outcome, { code: 0, stderr: /the owner's socket does not refuse this command/ })
})

t.test('a command that is killed, or cannot be started, leaves no token behind', async (t) => {
  const daemon = await startScriptedDaemon(t, SCRIPT)
  const killed = await cli.run(['agent', 'run', '--', 'sh', '-c', 'kill -9 $$'], { env: daemon.env })
  t.equal(killed.code, 137)
  t.equal(daemon.asked.at(-1)?.method, 'DELETE')
  const asked = daemon.asked.length
  t.equal((await cli.run(['agent', 'run', '--', 'no-such-command-here'], { env: daemon.env })).code, 127)
  t.equal((await cli.run(['agent', 'run', '--', '/etc/passwd'], { env: daemon.env })).code, 126)
  t.equal(daemon.asked.length, asked, 'none was made')
})

t.test('a signal goes to the command, and the token ends after it', async (t) => {
  const daemon = await startScriptedDaemon(t, SCRIPT)
  const script = 'trap "echo heard; exit 3" TERM; kill -TERM $PPID; while :; do sleep 0.1; done'
  const outcome = await cli.run(['agent', 'run', '--', 'sh', '-c', script], { env: daemon.env })
  t.match(outcome, { code: 3, stdout: 'heard\n' })
  t.equal(daemon.asked.at(-1)?.method, 'DELETE')
})

t.test('a token that could not be revoked is named, with the command', async (t) => {
  for (const [reply, isSaid] of [
    [problem('disk_failed', 'unavailable', 503, 'the disk is full'), true],
    [problem('token_not_found', 'not_found', 404, 'gone'), false],
  ] as const) {
    const daemon = await startScriptedDaemon(t, { ...SCRIPT, [`DELETE /v1/tokens/${ID}`]: reply })
    const outcome = await cli.run(['agent', 'run', 'true'], { env: daemon.env })
    t.equal(outcome.code, 0)
    t.equal(outcome.stderr.includes(`the disk is full; run: prefect-auth token revoke ${ID}`), isSaid)
  }
})

t.test('a daemon that refuses starts nothing', async (t) => {
  const refusal = problem('agent_refused', 'denied', 403, "this program runs inside the agent 'claude'")
  const daemon = await startScriptedDaemon(t, { 'POST /v1/env': refusal })
  const outcome = await cli.run(['agent', 'run', '--', 'echo', 'started'], { env: daemon.env })
  t.match(outcome, { code: 125, stdout: '', stderr: /runs inside the agent 'claude'.*\(agent_refused\)/s })
})

t.test('help is shown by the full program', async (t) => {
  const outcome = await cli.run(['agent', 'run', '--help'])
  t.match(outcome, { code: 0, stdout: /--writes-per-hour <n>[\s\S]*Without --may: --may read --ask write/ })
})
