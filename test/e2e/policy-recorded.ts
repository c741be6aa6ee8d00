/**
 * What real clients of Prefect ask for, recorded under the policy that is meant for them: nothing is refused, and the recording is
 * what `test/policy/recorded.ts` holds the table against. PAB_RECORD=1 adds what is new to it.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { z } from 'zod'
import { startCloudSimulator } from '../../sim/simulator.js'
import type { PolicyName } from '../../src/wire/kinds.js'
import { ask as askApi } from '../fixtures/api-under-test.js'
import { BACKGROUND_TASK } from '../fixtures/background-task.js'
import {
  findPrefect,
  type PrefectClient,
  prefectEnv,
  QUIET,
  runPython,
  startPrefectServer,
} from '../fixtures/real-prefect.js'
import { startJob } from '../fixtures/real-worker.js'
import { startShipped, until } from '../fixtures/shipped.js'
import { startRecorder } from './fixtures/recorder.js'

t.setTimeout(880_000)

const RECORDED = new URL('../policy/fixtures/recorded.txt', import.meta.url)
const COMMANDS = fileURLToPath(new URL('./fixtures/prefect_commands.py', import.meta.url))

/** What flows do, all of it. */
const FLOW = `from prefect import flow, task, get_run_logger
from prefect.artifacts import create_markdown_artifact
from prefect.blocks.system import Secret
from prefect.concurrency.sync import concurrency
from prefect.events import emit_event
from prefect.variables import Variable

@task(tags=["few"])
def greet(name):
    return f"hello {name}"

@flow
def inner():
    return greet("inner")

@flow(log_prints=True)
def hello(name: str = "you"):
    print(greet(name))
    greet.submit("them").result()
    inner()
    get_run_logger().info("logged")
    create_markdown_artifact("# Report", key="report")
    emit_event(event="recorded", resource={"prefect.resource.id": "recorded"})
    assert Secret.load("mine").get() == "hidden"
    Variable.get("colour")
    with concurrency("slots", occupy=1):
        pass

if __name__ == "__main__":
    hello()
`
const SERVE = `from hello import hello

if __name__ == "__main__":
    hello.serve(name="served")
`
/** What is there before: for this, no policy is asked. */
const SEED = `from prefect.blocks.system import Secret
from prefect.variables import Variable

Secret(value="hidden").save("mine")
Variable.set("colour", "blue")
`

for (const which of ['3', '2'] as const) {
  t.test(`Prefect ${which}`, { timeout: 600_000 }, async (t) => {
    const prefect = findPrefect(which, t)
    if (prefect === undefined) return
    const stage = await setStage(t, prefect)
    await t.test('deploy', (t) => deploys(t, stage))
    await t.test('work', (t) => works(t, stage, which === '3' ? 20 : 3))
    await t.test('run', (t) => runs(t, stage))
    if (which === '3') await t.test('read', (t) => reads(t, stage))
  })
}

type Stage = Awaited<ReturnType<typeof setStage>>

async function deploys(t: Test, stage: Stage) {
  const { prefect } = stage
  await stage.run(t, 'deploy', 'cloud', ['work-pool', 'create', '--type', 'process', 'pool'])
  const deploy = ['--no-prompt', 'deploy', './hello.py:hello', '-p', 'pool']
  await stage.run(t, 'deploy', 'cloud', [...deploy, '-n', 'worked', '--interval', '86400'])
  await stage.run(t, 'deploy', 'srv', [...deploy, '-n', 'worked', '--cron', '0 0 1 1 *'])
  await stage.run(t, 'deploy', 'srv', [...deploy, '-n', 'idle', '-q', 'other'])
  if (prefect.which === '2') {
    await stage.run(t, 'deploy', 'srv', [
      'deployment',
      'build',
      './hello.py:hello',
      '-n',
      'agented',
      '-q',
      'queue',
      '-a',
    ])
  }
  const served = stage.start(t, 'deploy', 'srv', [prefect.python, 'serve.py'])
  await stage.deployment('served', served)
  await stage.complete(t, [await stage.schedule('served')], served)
  await served.end()
  stage.record(t, 'deploy')
  t.same(await stage.refused(), [], 'nothing was refused')
}

async function works(t: Test, stage: Stage, count: number) {
  const { prefect } = stage
  const start = ['worker', 'start', '--pool', 'pool', '--limit', '3']
  const worker = stage.start(t, 'work', 'cloud', [prefect.bin, ...start])
  const ids: string[] = []
  for (let made = 0; made < count; made += 1) ids.push(await stage.schedule('worked'))
  if (prefect.which === '2') {
    const agent = stage.start(t, 'work', 'srv', [prefect.bin, 'agent', 'start', '-q', 'queue'])
    await stage.complete(t, [await stage.schedule('agented')], agent)
    await agent.end()
  } else {
    const tasks = stage.start(t, 'work', 'srv', [prefect.python, 'later.py', 'serve'])
    await stage.python(t, 'work', 'srv', ['later.py'])
    await until(
      () => tasks.said().includes('LATER 2'),
      () => `the task did not run: ${tasks.said()}`,
    )
    await tasks.end()
  }
  await stage.python(t, 'work', 'srv', ['hello.py'])
  await stage.complete(t, ids, worker)
  t.equal(ids.length, count, 'flow runs of one worker')
  await worker.end()
  stage.record(t, 'work')
  t.same(await stage.refused(), [], 'nothing was refused')
}

async function runs(t: Test, stage: Stage) {
  const said = await stage.run(t, 'run', 'srv', ['deployment', 'run', 'hello/idle', '--param', 'name=me'])
  const [id = ''] = /[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}/.exec(said) ?? []
  await stage.run(t, 'run', 'srv', ['flow-run', 'inspect', id])
  await stage.run(t, 'run', 'srv', ['flow-run', 'cancel', id])
  await stage.run(t, 'run', 'cloud', ['deployment', 'run', 'hello/idle', '--start-in', '2 hours'])
  stage.record(t, 'run')
  t.same(await stage.refused(), [], 'nothing was refused')
}

/** Commands that read; all of these people use to look around. */
const READING = [
  ...['flow ls', 'flow-run ls', 'flow-run inspect RUN', 'flow-run logs RUN', 'deployment ls'],
  ...['deployment inspect hello/worked', 'deployment schedule ls hello/worked', 'work-pool ls'],
  ...[
    'work-pool inspect pool',
    'work-queue ls --pool pool',
    'work-queue inspect default --pool pool',
    'block ls',
  ],
  ...[
    'block inspect secret/mine',
    'block type ls',
    'variable ls',
    'variable inspect colour',
    'automation ls',
  ],
  ...['concurrency-limit ls', 'concurrency-limit inspect few', 'gcl ls', 'gcl inspect slots', 'artifact ls'],
  ...['artifact inspect report', 'task-run ls'],
]
const WRITING = [
  ...[
    'variable set colour red --overwrite',
    'work-pool create --type process another',
    'work-pool pause pool',
  ],
  ...['deployment run hello/idle', 'deployment delete hello/idle', 'concurrency-limit create many 9'],
  ...['gcl create more --limit 9', 'flow-run cancel RUN', 'block delete secret/mine'],
]

async function reads(t: Test, stage: Stage) {
  const id = await stage.schedule('idle')
  const linesOf = (commands: readonly string[]) =>
    commands.map((line) => ['--no-prompt', ...line.replace('RUN', id).split(' ')])
  for (const profile of ['srv', 'cloud'] as const) {
    for (const { args, code, output } of await stage.commands('read', profile, linesOf(READING))) {
      t.equal(code, 0, `${args.join(' ')}: ${output}`)
      t.notMatch(output, /may not/, 'which is what a refusal says')
    }
    stage.record(t, 'read')
    t.same(await stage.refused(), [], 'nothing was refused')
  }
  const writing = await stage.commands('read', 'srv', linesOf(WRITING))
  for (const { args, code, output } of writing) {
    t.not(code, 0, `${args.join(' ')}: ${output}`)
    t.match(output.replace(/\s+/g, ' '), /403|may not/, `${args.join(' ')} says why`)
  }
  t.ok((await stage.refused()).length >= 7, 'each was refused')
  const left = await stage.commands('read', 'srv', linesOf(['variable inspect colour', 'work-pool ls']))
  t.match(left[0]?.output, 'blue')
  t.notMatch(left[1]?.output, 'another')
}

async function setStage(t: Test, prefect: PrefectClient) {
  // As for the clients below: a worker of 2.20 whose events nobody takes crashes a flow run that comes at the wrong moment.
  const events = { PREFECT_EXPERIMENTAL_EVENTS: 'true' }
  const server = await startPrefectServer(t, prefect, { ...QUIET, ...events })
  const recorder = await startRecorder(t, server.apiUrl)
  const cloud = await startCloudSimulator({
    accounts: [{ handle: 'prefect', workspaces: ['terry'] }],
    workspaceBackend: recorder.apiUrl,
  })
  t.teardown(() => cloud.close())
  const broker = await startShipped(t, {
    PREFECT_CLOUD_API_URL: cloud.apiUrl,
    PREFECT_CLOUD_UI_URL: cloud.uiUrl,
  })
  const login = ['login', '-p', 'cloud', '--key-stdin', '--exchange', '--workspace', 'prefect/terry']
  t.equal((await broker.cli(login, { input: cloud.issueKey() })).code, 0)
  t.equal((await broker.cli(['profile', 'create', 'srv', '--api-url', recorder.apiUrl])).code, 0)
  const work = join(broker.home, 'work')
  mkdirSync(work)
  for (const [name, text] of Object.entries({ hello: FLOW, serve: SERVE, later: BACKGROUND_TASK })) {
    writeFileSync(join(work, `${name}.py`), text)
  }
  const env = {
    ...prefectEnv(broker.home),
    PREFECT_HOME: join(broker.home, '.prefect'),
    PYTHONUNBUFFERED: '1',
    ...events,
    PREFECT_RUNNER_POLL_FREQUENCY: '1',
    PREFECT_WORKER_QUERY_SECONDS: '1',
    PREFECT_WORKER_HEARTBEAT_SECONDS: '5',
    PREFECT_AGENT_QUERY_INTERVAL: '1',
  }
  const seeded = await runPython(prefect, ['-c', SEED], {
    home: join(broker.home, 'seed'),
    cwd: work,
    env: { PREFECT_API_URL: server.apiUrl, HOME: broker.home, PREFECT_HOME: join(broker.home, 'seed') },
  })
  t.equal(seeded.code, 0, seeded.output)
  const post = async (path: string, body: object): Promise<unknown> => {
    let last = ''
    for (let tries = 0; tries < 20; tries += 1) {
      const answer = await fetch(`${server.apiUrl}${path}`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(body),
      })
      last = await answer.text()
      if (answer.ok) return JSON.parse(last)
      await sleep(500)
    }
    throw new Error(`${path}: ${last}`)
  }
  await post('/concurrency_limits/', { tag: 'few', concurrency_limit: 5 })
  await post('/v2/concurrency_limits/', { name: 'slots', limit: 9 })
  recorder.take()
  const exec = (may: PolicyName, profile: string) => ['exec', '--proxy', '--may', may, '-p', profile]
  const deployments = async () => named.parse(await post('/deployments/filter', {}))
  const asked = { prefect, broker, recorder, work, env, post, exec }
  return {
    ...asked,
    ...commander(asked),
    async deployment(name: string, runner: { said(): string }) {
      await until(
        async () => (await deployments()).some((one) => one.name === name),
        () => `no deployment ${name}: ${runner.said()}`,
      )
    },
    async schedule(name: string): Promise<string> {
      const id = (await deployments()).find((one) => one.name === name)?.id ?? ''
      return z
        .object({ id: z.string() })
        .parse(await post(`/deployments/${id}/create_flow_run`, { state: { type: 'SCHEDULED' } })).id
    },
    async complete(t: Test, ids: readonly string[], runner: { said(): string }) {
      let states: readonly string[] = []
      await until(
        async () => {
          const found = await post('/flow_runs/filter', { flow_runs: { id: { any_: ids } } })
          states = z
            .array(z.object({ state_name: z.string() }))
            .parse(found)
            .map((one) => one.state_name)
          await sleep(500)
          return states.every((state) => OVER.includes(state))
        },
        () => `flow runs do not end: ${states.join(', ')}: ${runner.said().slice(-6_000)}`,
        300_000,
      )
      t.same([...new Set(states)], ['Completed'], runner.said().slice(-6_000))
    },
    /** What was refused since the last time, to any token. */
    async refused(): Promise<readonly string[]> {
      const { text } = await askApi({ socketPath: broker.socket }, '/v1/tokens')
      const all = tokens.parse(JSON.parse(text)).tokens.flatMap(({ refused = [] }) => refused)
      return all.map(({ operation }) => operation)
    },
    /** Compares what was asked since the last time with the recording, and adds to it if that is wanted. */
    record(t: Test, policy: PolicyName) {
      const lines = recorder.take().map((operation) => `${policy} ${operation}`)
      for (const operation of ESSENTIAL[policy]) {
        t.ok(lines.includes(`${policy} ${operation}`), `${policy}: ${operation} was asked for`)
      }
      const known = new Set(readFileSync(RECORDED, 'utf8').split('\n').filter(Boolean))
      const added = lines.filter((line) => !known.has(line))
      if (added.length === 0) return
      // Clients do not ask the same every time; what counts is that it was not refused.
      t.comment(`not in the recording: ${added.join(', ')}`)
      if (process.env.PAB_RECORD !== '1') return
      writeFileSync(RECORDED, `${[...known, ...added].sort().join('\n')}\n`)
    },
  }
}

/** Without these, nothing was recorded. */
const ESSENTIAL: Readonly<Record<PolicyName, readonly string[]>> = {
  read: ['POST /flow_runs/filter', 'POST /block_documents/filter', 'GET /work_pools/{name}'],
  run: ['POST /deployments/{id}/create_flow_run', 'POST /flow_runs/{id}/set_state'],
  work: [
    'POST /work_pools/{name}/get_scheduled_flow_runs',
    'POST /flow_runs/{id}/set_state',
    'POST /logs/',
    'POST /artifacts/',
    'GET /events/in',
  ],
  deploy: ['POST /flows/', 'POST /deployments/', 'POST /deployments/get_scheduled_flow_runs'],
  all: [],
}
const OVER = ['Completed', 'Failed', 'Crashed', 'Cancelled']
const named = z.array(z.object({ id: z.string(), name: z.string() }))
const tokens = z.object({
  tokens: z.array(z.object({ refused: z.array(z.object({ operation: z.string() })).optional() })),
})
const outcome = z.object({ args: z.array(z.string()), code: z.number(), output: z.string() })

/** The ways to run a client through the proxy, with a token that has a policy. */
function commander({
  prefect,
  broker,
  work,
  env,
  exec,
}: {
  readonly prefect: PrefectClient
  readonly broker: Awaited<ReturnType<typeof startShipped>>
  readonly work: string
  readonly env: Readonly<Record<string, string>>
  readonly exec: (may: PolicyName, profile: string) => readonly string[]
}) {
  const finish = async (t: Test, words: readonly string[]) => {
    const ran = await broker.cli(words, { env, cwd: work })
    t.equal(ran.code, 0, `${words.join(' ')}: ${ran.stdout}${ran.stderr}`)
    return ran.stdout + ran.stderr
  }
  return {
    run: (t: Test, may: PolicyName, profile: string, args: readonly string[]) =>
      finish(t, [...exec(may, profile), '--', prefect.bin, ...args]),
    python: (t: Test, may: PolicyName, profile: string, args: readonly string[]) =>
      finish(t, [...exec(may, profile), '--', prefect.python, ...args]),
    start: (t: Test, may: PolicyName, profile: string, command: readonly string[]) =>
      startJob(t, command, { broker, work, env }, exec(may, profile)),
    /** Many commands in one interpreter. */
    async commands(may: PolicyName, profile: string, lines: readonly (readonly string[])[]) {
      const words = [...exec(may, profile), '--', prefect.python, COMMANDS]
      const input = lines.map((line) => `${JSON.stringify(line)}\n`).join('')
      const { stdout, stderr } = await broker.cli(words, { env, cwd: work, input })
      const found = stdout.split('\n').filter((line) => line.startsWith('{'))
      if (found.length !== lines.length) throw new Error(`${stdout}${stderr}`)
      return found.map((line) => outcome.parse(JSON.parse(line)))
    },
  }
}
