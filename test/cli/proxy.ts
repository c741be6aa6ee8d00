/** `exec --proxy` and `env --proxy` as real processes: their requests, the job's environment, and failures. */
import { spawnSync } from 'node:child_process'
import t from 'tap'
import { jobName } from '../../src/cli/fast/env.js'
import { buildCli } from '../fixtures/built-cli.js'
import { problem, startScriptedDaemon } from '../fixtures/scripted-daemon.js'

const cli = await buildCli(t)
const TOKEN = `pab_${'t'.repeat(43)}`
const base = 'http://127.0.0.1:4280/proxy/cloud/api'
const job = {
  profile: 'cloud',
  env: {
    PREFECT_API_URL: `${base}/accounts/a/workspaces/w`,
    PREFECT_CLOUD_API_URL: base,
    PREFECT_API_KEY: TOKEN,
    PREFECT_SILENCE_API_URL_MISCONFIGURATION: 'true',
    NO_PROXY: 'corp,127.0.0.1,localhost',
    no_proxy: 'corp,127.0.0.1,localhost',
  },
}

t.test('gives a job a token and our address, and none of the caller’s credentials', async (t) => {
  const daemon = await startScriptedDaemon(t, { 'POST /v1/env': { json: job } })
  const outcome = await cli.run(
    [
      'exec',
      '--proxy',
      '-p',
      'cloud',
      '--',
      'sh',
      '-c',
      'echo $$; env | grep -i "prefect_\\|no_proxy" | sort',
    ],
    { env: { ...daemon.env, NO_PROXY: 'corp', PREFECT_API_KEY: 'pnu_old', PREFECT_API_AUTH_STRING: 'a:b' } },
  )
  const [pid, ...lines] = outcome.stdout.trim().split('\n')
  t.equal(outcome.code, 0)
  t.same(
    lines.filter((line) => !line.startsWith('PREFECT_AUTH_')),
    Object.entries({ ...job.env, PREFECT_API_AUTH_STRING: '' })
      .map(([name, value]) => `${name}=${value}`)
      .sort((one, other) => (one < other ? -1 : 1)),
  )
  const { body } = daemon.asked[0] ?? {}
  t.match(body, { mode: 'proxy', format: 'json', name: 'sh', profile: 'cloud', no_proxy: 'corp' })
  const said = typeof body === 'object' && body !== null && 'pid' in body ? Number(body.pid) : 0
  t.ok(said > 0 && said <= Number(pid), 'the pid of the job, or of the process that waits for it')
  t.equal(daemon.asked.length, 1, 'the key itself is never requested')
  t.notMatch(outcome.stderr, TOKEN)
})

t.test('prints the variables for a shell unchanged', async (t) => {
  const text = `export PREFECT_API_KEY='${TOKEN}';\nexport NO_PROXY='127.0.0.1';\n`
  const daemon = await startScriptedDaemon(t, { 'POST /v1/env': { text } })
  const outcome = await cli.run(['env', '--proxy', '--format', 'fish'], { env: daemon.env })
  t.match(outcome, { code: 0, stdout: text, stderr: '' })
  t.match(daemon.asked[0]?.body, { mode: 'proxy', format: 'fish', name: 'env' })
})

t.test('keeps where the caller says that the pages are, and nothing that an earlier job left', async (t) => {
  const pages = 'https://pages.example'
  const text = `export PREFECT_API_KEY='${TOKEN}';\n`
  const daemon = await startScriptedDaemon(t, { 'POST /v1/env': { text } })
  const own = await cli.run(['env', '--proxy'], { env: { ...daemon.env, PREFECT_UI_URL: pages } })
  t.match(daemon.asked.at(-1)?.body, { ui_url: pages })
  t.equal(own.stdout, text)
  const left = { ...daemon.env, PREFECT_API_KEY: TOKEN, PREFECT_UI_URL: pages }
  const next = await cli.run(['env', '--proxy'], { env: left })
  t.notMatch(JSON.stringify(daemon.asked.at(-1)?.body), 'ui_url')
  t.equal(next.stdout, `${text}unset PREFECT_UI_URL;\n`, 'a Cloud profile has no use for it')
})

t.test('fails with the reason and starts nothing if the loopback port is closed', async (t) => {
  const reason = problem(
    'tcp_unavailable',
    'unavailable',
    503,
    'port 4280 is taken by nginx',
    'PREFECT_AUTH_PORT=0',
  )
  const daemon = await startScriptedDaemon(t, {
    'POST /v1/env': reason,
  })
  const exec = await cli.run(['exec', '--proxy', 'echo', 'ran'], { env: daemon.env })
  t.match(exec, {
    code: 125,
    stdout: '',
    stderr: /taken by nginx \(tcp_unavailable\)\ntry: PREFECT_AUTH_PORT=0/,
  })
  const env = await cli.run(['env', '--proxy'], { env: daemon.env })
  t.match(env, { code: 1, stderr: /taken by nginx/ })
  t.equal(spawnSync('sh', ['-c', env.stdout]).status, 1, 'and fails when evaluated')
})

t.test('a failed request is not sent again, because the second one might make a token', async (t) => {
  const reason = problem('vault_locked', 'unavailable', 503, 'the vault is locked', 'prefect-auth unlock')
  for (const command of [
    ['env', '--proxy'],
    ['env', '--proxy', '--format', 'fish'],
    ['env', '--proxy', '--json'],
    ['exec', '--proxy', 'echo', 'ran'],
  ]) {
    let isFirst = true
    const daemon = await startScriptedDaemon(t, {
      'POST /v1/env': () => {
        const reply = isFirst ? reason : { json: job }
        isFirst = false
        return reply
      },
    })
    const outcome = await cli.run(command, { env: daemon.env })
    t.equal(daemon.asked.length, 1, command.join(' '))
    t.match(daemon.asked[0]?.headers.accept, 'application/problem+json')
    t.match(outcome.stderr, /the vault is locked \(vault_locked\)\ntry: prefect-auth unlock/)
    t.notMatch(outcome.stdout, 'ran')
  }
})

t.test('names a job after its command, without anything that may be a secret', async (t) => {
  const table = [
    ['/usr/bin/prefect', ['worker', 'start', '--pool', 'p'], 'prefect worker start'],
    ['python', ['flow.py', 'hush'], 'python'],
    ['python', ['-c', 'print("hush")'], 'python'],
    ['curl', ['https://u:p@host/'], 'curl'],
    ['a\u0000b\u001b[1m', [], 'a?b?[1m'],
    ['/', [], 'job'],
  ] as const
  for (const [command, args, name] of table) t.equal(jobName(command, args), name)
})
