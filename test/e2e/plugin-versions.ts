/**
 * The plugin in every line of Prefect: a flow, the command line, a worker with its runs, a notebook and tests, which nobody wraps.
 * Whoever registers the plugin's name at an index does not get in, and what `integrate` put in is taken out to the last byte.
 */
import { chmodSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import t, { type Test } from 'tap'
import { createFlowRuns } from '../fixtures/flow-runs.js'
import {
  integrate,
  type PluginStage,
  setPluginStage,
  snapshot,
  startPlainWorker,
} from '../fixtures/plugin-stage.js'
import { type Environment, makeEnvironment, offerHostilePlugin } from '../fixtures/python-environment.js'
import {
  findPrefect,
  type PrefectClient,
  runPrefect,
  runPython,
  startPrefectServer,
  type Which,
} from '../fixtures/real-prefect.js'

t.setTimeout(900_000)
const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'))

const FLOW = `from prefect import flow

@flow
def hello():
    return 1

if __name__ == "__main__":
    hello()
`
/** As Prefect's documentation shows it, and nothing of ours in it. */
const TESTS = `import pytest
from prefect.client.orchestration import get_client
from prefect.testing.utilities import prefect_test_harness
from hello import hello

@pytest.fixture(autouse=True, scope="session")
def harness():
    with prefect_test_harness():
        yield

def test_hello():
    assert hello() == 1
    print("API", get_client().api_url)
`
const HARNESS = `from prefect.testing.utilities import prefect_test_harness
from hello import hello
with prefect_test_harness():
    assert hello() == 1
print("HARNESS DONE")
`
/** Some programs import Prefect inside an event loop, where it can call no plugin. */
const IN_LOOP = `import asyncio
async def main():
    from hello import hello
    from prefect.client.orchestration import get_client
    async with get_client() as client:
        print("HELLO", (await client.hello()).status_code, len(await client.read_flows()))
asyncio.run(main())
`
const cell = (source: string) => ({
  cell_type: 'code',
  metadata: {},
  outputs: [],
  execution_count: null,
  source,
})
const NOTEBOOK = {
  ...{ nbformat: 4, nbformat_minor: 4, metadata: {} },
  cells: [
    cell('from hello import hello\nassert hello() == 1'),
    cell('import os\nassert os.environ["PREFECT_API_KEY"].startswith("pab_")'),
  ],
}

/** `early`: before 3.6.14 plugins are called too late, and a line in a `.pth` file does the same if it is asked for. */
const LINES: readonly { readonly which: Which; readonly early: boolean }[] = [
  { which: '3', early: false },
  { which: '36', early: false },
  { which: '34', early: true },
  { which: '2', early: true },
]

for (const { which, early } of LINES) {
  t.test(`Prefect ${which}`, async (t) => {
    const prefect = findPrefect(which, t)
    if (prefect === undefined) return
    const server = await startPrefectServer(t, prefect)
    const stage = await setPluginStage(t, server.apiUrl)
    const { broker, work, options } = stage
    const venv = makeEnvironment(t, prefect)
    const before = snapshot(venv.prefix)
    offerHostilePlugin(t, broker.home)
    const option = early ? ['--early'] : []
    await integrate(t, broker, venv, ...option)
    t.ok(readdirSync(venv.packages).includes(`prefect_auth_plugin-${version}.dist-info`), 'ours is installed')
    const after = snapshot(venv.prefix)
    await integrate(t, broker, venv, ...option)
    t.same(snapshot(venv.prefix), after, 'a second time changes nothing')

    writeFileSync(join(work, 'hello.py'), FLOW)
    const runs = createFlowRuns(t, server.apiUrl)
    const flow = await runPython(venv, ['hello.py'], options)
    t.equal(flow.code, 0, flow.output)
    t.notMatch(flow.output, /prefect-auth:/, 'nothing is said where all is well')
    t.same(await runs.states(), ['Completed'])
    writeFileSync(join(work, 'in_loop.py'), IN_LOOP)
    const inLoop = await runPython(venv, ['in_loop.py'], options)
    t.match(inLoop, { code: 0, stdout: /^HELLO 200 1$/m, stderr: '' }, inLoop.output)
    await testsKeepTheirServer(t, venv, stage)
    if (which === '3') await notebook(t, prefect, venv, stage)
    const done = (await runs.states()).length
    t.equal(done, which === '3' ? 2 : 1, 'the runs of the tests went to the server of the tests')
    await workerRuns(t, venv, stage, runs, done)
    const tokens = JSON.parse((await broker.cli(['token', 'ls', '--json'])).stdout).tokens
    t.equal(tokens.length, 1, 'all of them share one token')

    const removed = await integrate(t, broker, venv, '--remove')
    t.match(removed.stdout, /the plugin is removed/)
    t.same(snapshot(venv.prefix), before, 'byte for byte as before')
    const plain = await runPython(
      venv,
      ['-c', 'import prefect, os; print(os.environ.get("PREFECT_API_KEY"))'],
      options,
    )
    t.match(plain, { code: 0, stdout: /^None$/m }, 'and a plain Prefect is a plain Prefect again')
  })
}

/** `prefect_test_harness` starts a server for the tests alone; they see that one and nothing of Cloud. */
async function testsKeepTheirServer(t: Test, venv: Environment, { work, options }: PluginStage) {
  const slow = { ...options, timeout: 300_000 }
  if (venv.which !== '3') {
    writeFileSync(join(work, 'harness.py'), HARNESS)
    const ran = await runPython(venv, ['harness.py'], slow)
    t.match(ran, { code: 0, stdout: /HARNESS DONE/ }, ran.output)
    return
  }
  writeFileSync(join(work, 'test_hello.py'), TESTS)
  const ran = await runPython(
    venv,
    ['-m', 'pytest', '-q', '-s', '-p', 'no:cacheprovider', 'test_hello.py'],
    slow,
  )
  t.match(ran, { code: 0, stdout: /1 passed/ }, ran.output)
  t.match(ran.stdout, /^API http:\/\/127\.0\.0\.1:\d+\/api\/?$/m)
  t.notMatch(ran.stdout, /\/proxy\//)
}

/** A real kernel, started as Jupyter starts it. */
async function notebook(t: Test, prefect: PrefectClient, venv: Environment, { work, options }: PluginStage) {
  const bin = join(venv.prefix, 'bin')
  for (const name of ['jupyter', 'jupyter-execute']) {
    const script = readFileSync(join(dirname(prefect.bin), name), 'utf8')
    writeFileSync(join(bin, name), script.replace(/^#!.*/, `#!${venv.python}`))
    chmodSync(join(bin, name), 0o755)
  }
  writeFileSync(join(work, 'hello.ipynb'), JSON.stringify(NOTEBOOK))
  const ran = await runPython(venv, [join(bin, 'jupyter'), 'execute', 'hello.ipynb'], {
    ...options,
    timeout: 300_000,
  })
  t.equal(ran.code, 0, ran.output)
  for (const name of ['jupyter', 'jupyter-execute']) rmSync(join(bin, name))
}

async function workerRuns(
  t: Test,
  venv: Environment,
  stage: PluginStage,
  runs: ReturnType<typeof createFlowRuns>,
  done: number,
) {
  const { options } = stage
  const prefect = (line: string) => runPrefect(venv, line.split(' '), { ...options, timeout: 200_000 })
  const made = await prefect('work-pool create --type process p')
  t.equal(made.code, 0, made.output)
  t.match(await prefect('work-pool ls'), { code: 0, stdout: / p /, stderr: '' })
  const deployed = await prefect('--no-prompt deploy ./hello.py:hello -n d -p p')
  t.equal(deployed.code, 0, deployed.output)
  const worker = startPlainWorker(t, venv, stage)
  await runs.scheduleOne()
  await runs.complete(done + 1, worker)
  t.ok(worker.sawJob(), 'the process of the flow run was seen, with the token')
  t.same(worker.leaks(), [], 'the key itself is in no process')
}
