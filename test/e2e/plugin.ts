/** The plugin in a real Prefect: plain `prefect` and `python flow.py` reach Prefect Cloud, and nobody wraps them. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { startCloudSimulator } from '../../sim/simulator.js'
import { createFlowRuns } from '../fixtures/flow-runs.js'
import { readProcessTree, watchProcessTree } from '../fixtures/process-tree.js'
import { type Environment, hostileIndex, makeEnvironment } from '../fixtures/python-environment.js'
import {
  findPrefect,
  prefectEnv,
  runPrefect,
  runPython,
  startPrefectServer,
} from '../fixtures/real-prefect.js'
import { REAL_KEY } from '../fixtures/real-worker.js'
import { type Shipped, startShipped } from '../fixtures/shipped.js'
import { findWheels, whyNoWheels } from '../fixtures/wheels.js'

t.setTimeout(900_000)

const FLOW = `from prefect import flow

@flow
def hello():
    return 1

if __name__ == "__main__":
    hello()
`
const DEPLOY = `from pathlib import Path
from prefect import flow
flow.from_source(source=str(Path(__file__).parent), entrypoint="hello.py:hello").deploy(
    name="d", work_pool_name="p", build=False, push=False, print_next_steps=False)
`
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
const manifest = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'))

async function setStage(t: Test, backend?: string) {
  const sim = await startCloudSimulator({
    accounts: [{ handle: 'prefect', workspaces: ['terry'] }],
    ...(backend === undefined ? {} : { workspaceBackend: backend }),
  })
  t.teardown(() => sim.close())
  const broker = await startShipped(t, { PREFECT_CLOUD_API_URL: sim.apiUrl, PREFECT_CLOUD_UI_URL: sim.uiUrl })
  const login = ['login', '--key-stdin', '--exchange', '--workspace', 'prefect/terry']
  const { code, stderr } = await broker.cli(login, { input: sim.issueKey({ name: 'pasted' }) })
  t.equal(code, 0, stderr)
  const work = join(broker.home, 'work')
  mkdirSync(work)
  const env = {
    PREFECT_PROFILES_PATH: join(broker.home, '.prefect', 'profiles.toml'),
    PREFECT_AUTH_SOCKET: broker.socket,
  }
  return { sim, broker, work, env, options: { home: work, env } }
}

async function integrate(t: Test, broker: Shipped, { prefix }: Environment, ...more: readonly string[]) {
  const ran = await broker.cli(['integrate', '--python', prefix, ...more])
  t.equal(ran.code, 0, `${ran.stdout}${ran.stderr}`)
  return ran
}

t.test(
  'a flow, the command line and a worker with its runs need no wrapper, and never hold the key',
  async (t) => {
    const prefect = findPrefect('3', t)
    if (prefect === undefined) return
    const server = await startPrefectServer(t, prefect)
    const { broker, work, env, options } = await setStage(t, server.apiUrl)
    const venv = makeEnvironment(t, prefect)
    const before = readdirSync(venv.packages)
    // Whoever registers the name first must not get in.
    mkdirSync(join(broker.home, '.config', 'pip'), { recursive: true })
    const hostile = hostileIndex(t)
    writeFileSync(
      join(broker.home, '.config', 'pip', 'pip.conf'),
      `[global]\nfind-links = ${hostile}\nindex-url = file://${hostile}\n`,
    )
    await integrate(t, broker, venv)
    t.ok(readdirSync(venv.packages).includes(`prefect_auth_plugin-${manifest.version}.dist-info`))
    writeFileSync(join(work, 'hello.py'), FLOW)
    writeFileSync(join(work, 'deploy.py'), DEPLOY)

    const made = await runPrefect(venv, ['work-pool', 'create', '--type', 'process', 'p'], options)
    t.equal(made.code, 0, made.output)
    t.match(await runPrefect(venv, ['work-pool', 'ls'], options), { code: 0, stdout: / p /, stderr: '' })
    const flow = await runPython(venv, ['hello.py'], options)
    t.equal(flow.code, 0, flow.output)
    t.notMatch(flow.output, /prefect-auth:/, 'nothing is said where all is well')
    const runs = createFlowRuns(t, server.apiUrl)
    t.same(await runs.states(), ['Completed'])
    t.equal((await runPython(venv, ['deploy.py'], options)).code, 0)

    const worker = spawn(venv.bin, ['worker', 'start', '--pool', 'p', '--name', 'w'], {
      cwd: work,
      env: prefectEnv(work, { ...env, PREFECT_WORKER_QUERY_SECONDS: '2' }),
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    let said = ''
    for (const stream of [worker.stdout, worker.stderr])
      stream.setEncoding('utf8').on('data', (text: string) => {
        said += text
      })
    t.teardown(async () => {
      const tree = readProcessTree(worker.pid ?? 0).map(({ pid }) => pid)
      const ended = once(worker, 'exit')
      for (const pid of tree) process.kill(pid, 'SIGKILL')
      await ended
    })
    const leaks = new Set<string>()
    let sawJob = false
    const watch = watchProcessTree(
      worker.pid ?? 0,
      (tree) => {
        for (const { command, environment } of tree) {
          if (REAL_KEY.test(environment)) leaks.add(command)
          if (/PREFECT__FLOW_RUN_ID=/.test(environment) && /PREFECT_API_KEY=pab_/.test(environment))
            sawJob = true
        }
      },
      200,
    )
    t.teardown(watch.stop)
    await runs.scheduleOne()
    await runs.complete(2, { said: () => said })
    t.ok(sawJob, 'the process of the flow run was seen, with the token')
    t.same([...leaks], [])
    const tokens = JSON.parse((await broker.cli(['token', 'ls', '--json'])).stdout).tokens
    t.equal(tokens.length, 1, 'all of them share one token')

    await integrate(t, broker, venv, '--remove')
    t.same(readdirSync(venv.packages), before)
  },
)

t.test('what wins over it, what it says, and what it does where there are no credentials', async (t) => {
  const prefect = findPrefect('3', t)
  if (prefect === undefined) return
  const { broker, work, options } = await setStage(t)
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
    const venv = makeEnvironment(t, prefect, uv)
    const run = (args: readonly string[], env: Record<string, string> = {}) =>
      broker.cli(['integrate', ...args], { env })
    const without = await run(['--python', venv.prefix], { PATH: '/usr/bin:/bin' })
    t.match(without, { code: 1, stdout: /it has no pip, and uv is not on the PATH/ })
    t.match(await run(['--python', venv.prefix], { PATH: `${join(uv, '..')}:/usr/bin:/bin` }), { code: 0 })
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
