/** Commands that show or choose a profile say what is wrong with its self-hosted server, and do what they were asked to. */
import t from 'tap'
import { buildCli } from '../fixtures/built-cli.js'
import { problem, startScriptedDaemon } from '../fixtures/scripted-daemon.js'
import { sampleProfileStatus, sampleStatus } from '../fixtures/wire-samples.js'

const cli = await buildCli(t)

const URL = 'http://127.0.0.1:4200'
const DEAD = 'cannot reach the server at 127.0.0.1:4200: the connection was refused'
const dead = { name: 'prefect', verdict: 'problem', finding: DEAD, remedy: 'prefect server start' }
const fine = { name: 'prefect', verdict: 'ok', finding: 'the server answers' }
const view = {
  ...{ name: 'srv', active: true, source: 'file', because: 'x', kind: 'server', api_url: URL },
  ...{ key: 'none', auth_string: 'none', login_required: false, settings: {}, warnings: [] },
}

function scriptOf(check: object) {
  const { owner: _, workspace: __, key: ___, ...bare } = sampleProfileStatus()
  const srv = { ...bare, name: 'srv', kind: 'server', api_url: URL, key_source: 'none' }
  const profiles = [srv, sampleProfileStatus({ active: false })]
  return {
    'GET /v1/status': { json: sampleStatus({ active: 'srv', profiles }) },
    'GET /v1/doctor': { json: { checks: [check] } },
    'POST /v1/profiles': { status: 201, json: view },
    'PATCH /v1/profiles/srv': { json: view },
    'PUT /v1/profiles/active': { json: view },
    'POST /v1/logins': problem(
      'profile_not_cloud',
      'conflict',
      409,
      'srv uses no API keys',
      'prefect-auth login -p c',
    ),
  }
}

t.test('beside its result', async (t) => {
  for (const [args, code] of [
    [['status', '-p', 'srv'], 0],
    [['profile', 'create', 'srv', '--api-url', URL], 0],
    [['profile', 'set', 'srv', '--api-url', URL], 0],
    [['profile', 'use', 'srv'], 0],
    [['login', '-p', 'srv', '--no-browser'], 1],
  ] as const) {
    const daemon = await startScriptedDaemon(t, scriptOf(dead))
    const outcome = await cli.run(args, { env: daemon.env })
    t.equal(outcome.code, code, args.join(' '))
    t.match(outcome.stdout + outcome.stderr, new RegExp(`${DEAD}\\n.*prefect server start`))
    const asked = daemon.asked.filter(({ path }) => path === '/v1/doctor')
    t.match(asked, [{ query: { profile: 'srv', check: 'prefect' } }])
    const well = await startScriptedDaemon(t, scriptOf(fine))
    const quiet = await cli.run(args, { env: well.env })
    t.notMatch(quiet.stdout + quiet.stderr, /server answers|4200: /)
  }
})

t.test('but not for JSON, not for a prompt, and not if the daemon cannot ask', async (t) => {
  const daemon = await startScriptedDaemon(t, scriptOf(dead))
  for (const args of [
    ['status', '--json'],
    ['status', '--short'],
    ['profile', 'ls'],
  ]) {
    await cli.run(args, { env: daemon.env })
  }
  t.same(
    daemon.asked.filter(({ path }) => path === '/v1/doctor'),
    [],
  )
  const old = await startScriptedDaemon(t, {
    ...scriptOf(dead),
    'GET /v1/doctor': problem('bad_request', 'bad_request', 400, 'unknown query'),
  })
  t.match(await cli.run(['status'], { env: old.env }), { code: 0, stderr: '' })
})

t.test('doctor looks at the profile that was named, and says if there is none', async (t) => {
  const checks = [{ name: 'profile', verdict: 'ok', finding: 'fine' }, fine]
  const daemon = await startScriptedDaemon(t, {
    ...scriptOf(dead),
    'GET /v1/doctor': ({ query }) =>
      query.profile === 'gone'
        ? problem(
            'profile_not_found',
            'not_found',
            404,
            "there is no profile 'gone'",
            'prefect-auth profile ls',
          )
        : { json: { checks } },
  })
  t.match(await cli.run(['doctor', '-p', 'srv'], { env: daemon.env }), { stdout: /^ok +profile +fine$/m })
  t.match(daemon.asked.at(-1)?.query, { profile: 'srv' })
  for (const named of [['-p', 'gone'], []]) {
    const env = { ...daemon.env, ...(named.length === 0 ? { PREFECT_PROFILE: 'gone' } : {}) }
    t.match(await cli.run(['doctor', ...named], { env }), {
      code: 1,
      stdout: /^problem +profile +there is no profile 'gone'\n +prefect-auth profile ls$/m,
    })
  }
})
