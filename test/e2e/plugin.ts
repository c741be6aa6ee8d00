/** What the plugin gives to a real Prefect, what wins over it, and what it says; and which environments `integrate` cannot use. */
import { once } from 'node:events'
import { mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { integrate, setPluginStage, snapshot } from '../fixtures/plugin-stage.js'
import { type Environment, makeEnvironment, offerHostilePlugin } from '../fixtures/python-environment.js'
import { findPrefect, type PrefectClient, runPython } from '../fixtures/real-prefect.js'
import { startShipped } from '../fixtures/shipped.js'
import { findWheels, whyNoWheels } from '../fixtures/wheels.js'

t.setTimeout(900_000)
const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'))

/** What Prefect uses: printed as JSON; the key by its kind. Arguments are those of the program that it plays. */
const PROBE = `import json, os, sys
if sys.argv[1:]: sys.argv = sys.argv[1:]
import prefect
from prefect.settings import get_current_settings
s = get_current_settings()
key = s.api.key.get_secret_value() if s.api.key else ""
print(json.dumps({"url": s.api.url, "key": key[:4], "did": os.environ.get("PREFECT_AUTH_PLUGIN_DID"),
    "ephemeral": s.server.ephemeral.enabled, "profile": os.environ.get("PREFECT_PROFILE")}))
`

t.test('what wins over it, what it says, and what it does where there are no credentials', async (t) => {
  const prefect = findPrefect('3', t)
  if (prefect === undefined) return
  const { broker, work, options } = await setPluginStage(t)
  const venv = makeEnvironment(t, prefect)
  await integrate(t, broker, venv)
  writeFileSync(join(work, 'probe.py'), PROBE)
  const probe = async (env: Record<string, string> = {}, ...argv: readonly string[]) => {
    const ran = await runPython(venv, ['probe.py', ...argv], { ...options, env: { ...options.env, ...env } })
    const text = ran.stdout.trim().split('\n').at(-1) ?? ''
    const said = ran.stderr.split('\n').filter((line) => line.startsWith('prefect-auth:'))
    return { code: ran.code, ...(text.startsWith('{') ? JSON.parse(text) : { output: ran.output }), said }
  }
  const server = 'http://127.0.0.1:9/api'
  const [PROXY, RAW] = [/\/proxy\/cloud\/api\/accounts\//, /\/api\/accounts\//]
  t.match(await probe(), { url: PROXY, key: 'pab_', did: 'proxy', said: [] })
  t.match(await probe({ PREFECT_AUTH_PLUGIN: 'key' }), { url: RAW, key: 'pnu_', did: 'key', said: [] })
  t.match(await probe({ PREFECT_AUTH_PLUGIN: 'off' }), { key: '', said: [] })
  t.match(await probe({ PREFECT_AUTH_PLUGIN: 'of' }), { key: '', said: [/must be proxy, key or off/] })
  const named = await probe({ PREFECT_API_URL: server })
  t.match(named, { url: server, did: 'left', said: [/PREFECT_API_URL in the environment wins/] })
  t.same(
    (await probe({ PREFECT_API_URL: server, PREFECT_AUTH_PLUGIN_DID: 'left' })).said,
    [],
    'not again in a child',
  )
  for (const [file, text] of [
    ['.env', `PREFECT_API_URL=${server}\n`],
    ['prefect.toml', `[api]\nurl = "${server}"\n`],
    ['pyproject.toml', `[tool.prefect.api]\nurl = "${server}"\n`],
  ] as const) {
    writeFileSync(join(work, file), text)
    t.match(
      await probe(),
      { url: server, said: [new RegExp(`${file.replace('.', '\\.')} in this directory wins`)] },
      file,
    )
    rmSync(join(work, file))
  }

  const play = (...words: readonly string[]) => [venv.bin, ...words]
  const start = ['worker', 'start', '--pool', 'p', '--type']
  t.match(await probe({}, ...play(...start, 'docker')), {
    url: RAW,
    key: 'pnu_',
    said: [/type docker starts its jobs elsewhere/],
  })
  t.match(await probe({}, ...play(...start, 'process')), { key: 'pab_', said: [] })
  t.match(
    await probe({}, ...play('cloud', 'login')),
    { key: '', said: [] },
    "a command on Prefect's own settings",
  )
  for (const way of [['--profile', 'cloud'], ['--profile=cloud'], ['-p', 'cloud']])
    t.match(
      await probe({}, ...play(...way, 'flow', 'ls')),
      { url: PROXY, profile: 'cloud', said: [] },
      way.join(' '),
    )
  t.match(await probe({}, ...play('-p', 'nope', 'flow', 'ls')), { key: '', said: [/nope/] })

  const nowhere = { PREFECT_AUTH_SOCKET: join(work, 'nowhere') }
  t.match(await probe(nowhere), {
    url: RAW,
    key: '',
    said: [/its daemon does not answer .*run: prefect-auth service install/],
  })
  t.same((await probe({ ...nowhere, PREFECT_AUTH_PLUGIN_DID: 'failed' })).said, [])
  const fresh = { ...nowhere, PREFECT_PROFILES_PATH: join(work, 'none.toml') }
  t.match(
    await probe(fresh),
    { url: null, ephemeral: false, said: [/Prefect gets no API/] },
    'no temporary server in silence',
  )
  t.match(await probe({ ...fresh, PREFECT_SERVER_ALLOW_EPHEMERAL_MODE: 'true' }), { ephemeral: true })
  const silent = createServer(() => undefined).listen(join(work, 'silent'))
  await once(silent, 'listening')
  t.teardown(() => silent.close())
  t.match(await probe({ PREFECT_AUTH_SOCKET: join(work, 'silent') }), {
    code: 0,
    said: [/no answer within 3 s|timed out/],
  })
  await broker.cli(['logout', '--profile', 'cloud'])
  t.match(await probe(), { url: RAW, key: '', said: [/run: prefect-auth login/] })
})

t.test(
  'integrate names what it cannot use, and asks uv where an environment has no pip',
  { skip: whyNoWheels() ?? false },
  async (t) => {
    const prefect = findPrefect('3', t)
    const old = findPrefect('2', t)
    if (prefect === undefined || old === undefined) return
    const broker = await startShipped(t)
    const uv = findWheels(t).tool('uv')
    const venv = makeEnvironment(t, prefect, { uv })
    const run = (args: readonly string[], env: Record<string, string> = {}) =>
      broker.cli(['integrate', ...args], { env })
    const without = await run(['--python', venv.prefix], { PATH: '/usr/bin:/bin' })
    t.match(without, { code: 1, stdout: /it has no pip, and uv is not on the PATH/ })
    const hostile = offerHostilePlugin(t, broker.home)
    const led = { UV_FIND_LINKS: hostile, UV_NO_INDEX: '1', PIP_FIND_LINKS: hostile }
    t.match(await run(['--python', venv.prefix], { PATH: `${join(uv, '..')}:/usr/bin:/bin`, ...led }), {
      code: 0,
    })
    t.match(readdirSync(venv.packages).join(), `prefect_auth_plugin-${version}.dist-info`, 'ours, not theirs')
    t.ok(readdirSync(venv.packages).includes('prefect_auth_plugin.pth'))
    const here = await broker.cli(['integrate', '--remove'], {
      env: { VIRTUAL_ENV: venv.prefix, PATH: `${join(uv, '..')}:/usr/bin:/bin` },
    })
    t.match(here, { code: 0, stdout: /the plugin is removed/ })
    t.notOk(readdirSync(venv.packages).some((name) => name.startsWith('prefect_auth_plugin')))

    t.match(await run(['--python', broker.home]), { code: 2, stderr: /neither a virtual environment/ })
    t.match(await run([]), { code: 2, stderr: /no Python environment is active here/ })
    t.match(await run(['--python', '/usr/bin/true']), { code: 1, stdout: /cannot use \/usr\/bin\/true/ })
    const older = makeEnvironment(t, old)
    t.match(await run(['--python', older.prefix]), {
      code: 1,
      stdout: /Prefect 2\.20.* calls no plugins in time[\s\S]*--early/,
    })
    t.match(await run(['--python', older.prefix, '--early']), { code: 0 })
    const said = await runPython(
      older,
      ['-c', 'import prefect.settings as s; print(s.PREFECT_API_KEY.value())'],
      {
        home: broker.home,
        env: {
          PREFECT_AUTH_SOCKET: broker.socket,
          PREFECT_PROFILES_PATH: join(broker.home, '.prefect', 'profiles.toml'),
        },
      },
    )
    t.match(said, { code: 0, stderr: /prefect-auth: no credentials: .*run: prefect-auth login/ })
  },
)

t.test(
  '--all finds the environments of the usual places, and takes the plugin out of all of them',
  async (t) => {
    const [newest, older] = [findPrefect('3', t), findPrefect('2', t)]
    if (newest === undefined || older === undefined) return
    const { broker } = await setPluginStage(t)
    const places = ['.virtualenvs/flows', '.local/share/uv/tools/prefect', 'project/.venv'].map((path) =>
      join(broker.home, path),
    )
    const venvs = places.map((path) => placeEnvironment(t, newest, path))
    const old = placeEnvironment(t, older, join(broker.home, '.pyenv/versions/old'))
    const without = join(broker.home, '.virtualenvs/without')
    mkdirSync(join(without, 'bin'), { recursive: true })
    const all = [...venvs, old]
    const before = all.map(({ prefix }) => snapshot(prefix))
    const cwd = join(broker.home, 'project')

    const ran = await broker.cli(['integrate', '--all', '--json'], { cwd })
    t.equal(ran.code, 1, 'the one that needs --early is named')
    const states = (stdout: string) =>
      JSON.parse(stdout)
        .environments.map(({ environment, state }: Record<string, string>) => [environment, state])
        .sort()
    const [first = '', second = '', third = ''] = places
    t.same(
      states(ran.stdout),
      [
        [first, 'integrated'],
        [second, 'integrated'],
        [third, 'integrated'],
        [join(old.prefix, 'bin/python'), 'failed'],
      ].sort(),
    )
    t.same(snapshot(old.prefix), before.at(-1), 'what is refused is unchanged')
    const early = await broker.cli(['integrate', '--all', '--early', '--json'], { cwd })
    t.same(states(early.stdout), all.map(({ prefix }) => [prefix, 'integrated']).sort(), early.stderr)
    const removed = await broker.cli(['integrate', '--all', '--remove', '--json'], { cwd })
    t.same(states(removed.stdout), all.map(({ prefix }) => [prefix, 'removed']).sort(), removed.stderr)
    t.same(
      all.map(({ prefix }) => snapshot(prefix)),
      before,
    )
  },
)

/** An environment at a path, with Prefect's own record in it, by which `--all` finds it. */
function placeEnvironment(t: Test, prefect: PrefectClient, prefix: string): Environment {
  const venv = makeEnvironment(t, prefect, { prefix })
  const base = readFileSync(join(venv.packages, 'base.pth'), 'utf8').trim()
  for (const name of readdirSync(base).filter((name) => /^prefect-.*\.dist-info$/.test(name)))
    symlinkSync(join(base, name), join(venv.packages, name))
  return venv
}
