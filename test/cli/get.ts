/** `prefect-auth get`: one value for other tools, or a reason and a code. */
import t from 'tap'
import { parseGetArguments } from '../../src/cli/fast/options.js'
import { bareEnv, buildCli } from '../fixtures/built-cli.js'
import { problem, startScriptedDaemon } from '../fixtures/scripted-daemon.js'

const KEY = `pnu_${'k'.repeat(36)}`
const answer = {
  profile: 'prod',
  kind: 'cloud',
  env: { PREFECT_API_URL: 'https://u', PREFECT_API_KEY: KEY },
  generation: 3,
}

const cli = await buildCli(t)

t.test('prints the value alone', async (t) => {
  const daemon = await startScriptedDaemon(t, { 'GET /v1/credentials': { json: answer } })
  for (const [args, stdout, query] of [
    [['key'], `${KEY}\n`, {}],
    [['url', '-p', 'prod'], 'https://u\n', { profile: 'prod' }],
    [['-p', 'key', 'url'], 'https://u\n', { profile: 'key' }],
    [['json'], `${JSON.stringify(answer)}\n`, {}],
  ] as const) {
    t.same(await cli.run(['get', ...args], { env: daemon.env }), {
      code: 0,
      signal: null,
      stdout,
      stderr: '',
    })
    t.same(daemon.asked.at(-1)?.query, query)
  }
})

t.test('prints nothing but the reason otherwise', async (t) => {
  const { PREFECT_API_KEY: _, ...env } = answer.env
  const keyless = await startScriptedDaemon(t, { 'GET /v1/credentials': { json: { ...answer, env } } })
  const missing = await startScriptedDaemon(t, {
    'GET /v1/credentials': problem(
      'profile_not_found',
      'not_found',
      404,
      "no profile 'x'",
      'prefect-auth profile ls',
    ),
  })
  const bundled = await startScriptedDaemon(t, {
    'GET /v1/credentials': { json: { ...answer, profile: 'ephemeral', env: {} } },
  })
  for (const [args, where, code, stderr] of [
    [['key'], bundled.env, 3, /\ntry: prefect-auth login\n/],
    [['key'], keyless.env, 3, /has no API key \(login_required\)\ntry: prefect-auth login --profile prod/],
    [['key', '-p', 'x'], missing.env, 3, /profile_not_found/],
    [['key'], bareEnv(t.testdir()), 4, /not running/],
    [['secret'], keyless.env, 2, /one of key, url, json/],
    [['key', 'url'], keyless.env, 2, /one of key, url, json/],
    [['key', '-p', KEY], keyless.env, 2, /looks like a key/],
  ] as const) {
    const outcome = await cli.run(['get', ...args], { env: where })
    t.match(outcome, { code, stdout: '', stderr }, args.join(' '))
    t.notMatch(outcome.stderr, KEY)
  }
})

t.test('has help', async (t) => {
  t.match(parseGetArguments(['--help']), { kind: 'help' })
  t.match(await cli.run(['get', '--help'], { env: bareEnv(t.testdir()) }), { code: 0, stdout: /one value/ })
})
