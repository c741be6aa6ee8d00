/**
 * Prefect's tutorial behind the shipped programs, with every Prefect: a flow run by a script, a deployment that `serve` runs, one that a
 * worker runs, and for 2.20 one that an agent runs; behind `exec --proxy` and behind plain `exec`. How each ended is read at the server.
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { startCloudSimulator } from '../../sim/simulator.js'
import {
  findPrefect,
  type PrefectClient,
  prefectEnv,
  QUIET,
  startPrefectServer,
} from '../fixtures/real-prefect.js'
import { REAL_KEY, startJob } from '../fixtures/real-worker.js'
import { startShipped, until } from '../fixtures/shipped.js'

t.setTimeout(880_000)

const FLOW = `from prefect import flow, task

@task
def greet(name):
    return f"hello {name}"

@flow(log_prints=True)
def hello(name: str = "you"):
    print(greet(name))

if __name__ == "__main__":
    hello()
`
const SERVE = `import sys
from hello import hello

if __name__ == "__main__":
    hello.serve(name=sys.argv[1])
`
const MODES = { proxy: ['exec', '--proxy'], plain: ['exec'] } as const
type Mode = keyof typeof MODES

for (const which of ['3', '34', '2'] as const) {
  t.test(`Prefect ${which}`, { timeout: 880_000 }, async (t) => {
    const prefect = findPrefect(which, t)
    if (prefect === undefined) return
    const stage = await setStage(t, prefect)
    await stage.prefect('proxy', ['work-pool', 'create', '--type', 'process', 'pool'])
    await stage.prefect('proxy', ['--no-prompt', 'deploy', './hello.py:hello', '-n', 'worked', '-p', 'pool'])
    if (which === '2') {
      const build = ['deployment', 'build', './hello.py:hello', '-n', 'agented', '-q', 'queue', '-a']
      await stage.prefect('proxy', build)
    }
    for (const mode of ['proxy', 'plain'] as const) {
      await t.test(mode === 'proxy' ? 'exec --proxy' : 'exec', async (t) => {
        await Promise.all([runScript(t, stage, mode), serve(t, stage, mode)])
        await Promise.all([
          work(t, stage, mode, 'worked', ['worker', 'start', '--pool', 'pool']),
          ...(which === '2' ? [work(t, stage, mode, 'agented', ['agent', 'start', '-q', 'queue'])] : []),
        ])
      })
    }
    t.same([...new Set(await stage.states())], ['Completed'], 'every run of all')
    t.equal((await stage.states()).length, which === '2' ? 8 : 6)
  })
}

type Stage = Awaited<ReturnType<typeof setStage>>

/** A login at a simulated Cloud, whose workspaces a real server answers for. */
async function setStage(t: Test, prefect: PrefectClient) {
  const server = await startPrefectServer(t, prefect, QUIET)
  const cloud = await startCloudSimulator({ workspaceBackend: server.apiUrl })
  t.teardown(() => cloud.close())
  const broker = await startShipped(t, {
    PREFECT_CLOUD_API_URL: cloud.apiUrl,
    PREFECT_CLOUD_UI_URL: cloud.uiUrl,
  })
  const login = await broker.cli(['login', '--key-stdin', '--exchange', '--workspace', 'prefect/terry'], {
    input: cloud.issueKey(),
  })
  t.equal(login.code, 0, login.stderr)
  const dir = join(broker.home, 'work')
  mkdirSync(dir)
  writeFileSync(join(dir, 'hello.py'), FLOW)
  writeFileSync(join(dir, 'serve.py'), SERVE)
  const env = {
    ...prefectEnv(broker.home),
    PREFECT_HOME: join(broker.home, '.prefect'),
    PYTHONUNBUFFERED: '1',
    // Nobody waits for a poll.
    PREFECT_RUNNER_POLL_FREQUENCY: '1',
    PREFECT_WORKER_QUERY_SECONDS: '1',
    PREFECT_AGENT_QUERY_INTERVAL: '1',
    // Behind plain `exec` nothing waits for a busy server on their behalf.
    PREFECT_CLIENT_MAX_RETRIES: '20',
  }
  const ask = async (path: string, body: object): Promise<readonly Record<string, unknown>[]> => {
    let last = ''
    await until(
      async () => {
        // A busy server, whose database is one file, is asked again.
        try {
          const answer = await fetch(`${server.apiUrl}${path}`, {
            method: 'POST',
            headers: { 'content-type': 'application/json' },
            body: JSON.stringify(body),
          })
          last = await answer.text()
          if (answer.ok) return true
        } catch (error) {
          last = String(error)
        }
        await sleep(1_000)
        return false
      },
      () => `${path}: ${last}`,
    )
    const found: unknown = JSON.parse(last)
    return (Array.isArray(found) ? found : [found]).map((one: object) => ({ ...one }))
  }
  return {
    client: prefect,
    broker,
    work: dir,
    env,
    ask,
    states: async () => (await ask('/flow_runs/filter', {})).map(({ state_name }) => String(state_name)),
    async prefect(mode: Mode, args: readonly string[]) {
      const ran = await broker.cli([...MODES[mode], '--', prefect.bin, ...args], { env, cwd: dir })
      t.equal(ran.code, 0, `${args.join(' ')}: ${ran.stdout}${ran.stderr}`)
      return ran.stdout + ran.stderr
    },
  }
}

async function runScript(t: Test, { client, broker, env, work }: Stage, mode: Mode): Promise<void> {
  const ran = await broker.cli([...MODES[mode], '--', client.python, 'hello.py'], { env, cwd: work })
  t.equal(ran.code, 0, ran.stdout + ran.stderr)
  t.match(ran.stdout + ran.stderr, 'hello you')
  if (mode === 'proxy') t.notMatch(ran.stdout + ran.stderr, REAL_KEY)
}

/** `flow.serve`: a deployment of its own, and who runs it. */
async function serve(t: Test, stage: Stage, mode: Mode): Promise<void> {
  const name = `served-${mode}`
  const { client } = stage
  const job = startJob(t, [client.python, 'serve.py', name], stage, MODES[mode])
  await until(async () => (await deployment(stage, name)) !== undefined, job.said)
  await complete(t, stage, name, job.said)
  await job.end()
}

/** Runs the deployment once, by the command that works for it. */
async function work(t: Test, stage: Stage, mode: Mode, name: string, command: readonly string[]) {
  const id = await schedule(stage, name)
  const job = startJob(t, [stage.client.bin, ...command], stage, MODES[mode])
  await ends(t, stage, name, id, job.said)
  await job.end()
}

async function complete(t: Test, stage: Stage, name: string, said: () => string): Promise<void> {
  await ends(t, stage, name, await schedule(stage, name), said)
}

async function deployment({ ask }: Stage, name: string): Promise<string | undefined> {
  const [found] = await ask('/deployments/filter', { deployments: { name: { any_: [name] } } })
  return found?.id === undefined ? undefined : String(found.id)
}

/** Behind the back of whoever runs it. Returns the id of the run. */
async function schedule(stage: Stage, name: string): Promise<string> {
  const id = await deployment(stage, name)
  const state = { type: 'SCHEDULED' }
  const [run] = await stage.ask(`/deployments/${id}/create_flow_run`, { state, parameters: { name } })
  return String(run?.id)
}

async function ends(t: Test, { ask }: Stage, name: string, id: string, said: () => string): Promise<void> {
  let state = ''
  await until(
    async () => {
      const [run] = await ask('/flow_runs/filter', { flow_runs: { id: { any_: [id] } } })
      state = String(run?.state_name)
      return ['Completed', 'Failed', 'Crashed', 'Cancelled'].includes(state)
    },
    () => `${name} is ${state}: ${said().slice(-4_000)}`,
  )
  t.equal(state, 'Completed', `${name}: ${state === 'Completed' ? '' : said().slice(-4_000)}`)
}
