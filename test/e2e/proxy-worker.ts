/**
 * A real worker behind the proxy, everything as shipped: its key is renewed, revoked and replaced by a new login, Prefect goes
 * down and comes back, and every flow run ends as Completed under one and the same worker, in whose tree of processes no
 * environment ever held the key.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { type Simulator, startCloudSimulator } from '../../sim/simulator.js'
import { status } from '../../src/wire/status.js'
import { readProcessTree, watchProcessTree } from '../fixtures/process-tree.js'
import {
  findPrefect,
  type PrefectClient,
  prefectEnv,
  startPrefectServer,
  type Which,
} from '../fixtures/real-prefect.js'
import { type Shipped, startShipped, until } from '../fixtures/shipped.js'
import { openTcpGate } from '../fixtures/tcp-gate.js'

t.setTimeout(600_000)

const CLI = fileURLToPath(new URL('../../dist/auth.js', import.meta.url))
const REAL_KEY = /pn[ub]_[A-Za-z0-9]{36}/
const FLOW = `from prefect import flow

@flow(log_prints=True)
def hello():
    print("hello from the job")
`
const DEPLOY = `from prefect import flow
from pathlib import Path
flow.from_source(source=str(Path(__file__).parent), entrypoint="hello.py:hello").deploy(
    name="d", work_pool_name="p", build=False, push=False, print_next_steps=False)
`

/**
 * How long the worker is without a key, and without Prefect. Prefect 2 knows no maintenance and gives up after five answers of
 * 503, unless it is told to have more patience.
 */
const PLANS = {
  '3': { scheduleMs: 6_000, withoutMs: 15_000, settings: {} },
  '2': { scheduleMs: 8_000, withoutMs: 8_000, settings: { PREFECT_CLIENT_MAX_RETRIES: '50' } },
} as const

// Prefect 2 gives up after its own retries where the machine is slow: by PAB_LONG=1, on two idle cores.
const clients: readonly Which[] = process.env.PAB_LONG === '1' ? ['3', '2'] : ['3']

for (const which of clients) {
  t.test(`a worker of Prefect ${which} outlives its keys`, async (t) => {
    const prefect = findPrefect(which, t)
    if (prefect === undefined) return
    const { scheduleMs, withoutMs } = PLANS[which]
    const stage = await setStage(t, prefect)
    const { broker, sim, runs } = stage
    const worker = await startWorker(t, prefect, stage)
    runs.scheduleEvery(scheduleMs)
    await runs.complete(1, worker)

    const renewed = await broker.cli(['renew', '--now'])
    t.equal(renewed.code, 0, renewed.stderr)
    const first = stage.keys.at(-1) ?? ''
    const second = await stage.currentKey()
    t.not(second, first, 'the key is another one')
    sim.keys.revoke(first)
    await runs.completeMore(1, worker)
    t.pass('runs complete after the key was renewed and the old one has died')

    sim.keys.revoke(second)
    await until(
      async () => (await traffic(broker)).parked > 0,
      () => `nothing was told to wait: ${worker.said()}`,
    )
    await sleep(withoutMs)
    await stage.logIn()
    const third = await stage.currentKey()
    t.not(third, second)
    await runs.completeMore(1, worker)
    t.pass('runs complete after the key was revoked and another login')

    const { parked } = await traffic(broker)
    await stage.gate.shut()
    await sleep(withoutMs)
    await stage.gate.reopen()
    t.ok((await traffic(broker)).parked > parked, 'it was told to wait while Prefect was away')
    await runs.completeMore(1, worker)

    await runs.completeAll(worker)
    t.same([...new Set(await runs.states())], ['Completed'], 'every run of all of them')
    t.ok((await runs.states()).length >= 4)
    if (which === '3') await eventsArrive(stage.serverUrl)
    worker.stillRuns(t)
    t.ok(worker.looks() > 50, 'somebody looked often')
    t.ok(worker.sawJobs(), 'and saw the processes of flow runs, with a token of ours')
    t.same(worker.leaks(), [], 'no environment ever held a key')
    t.notMatch(worker.said(), REAL_KEY)
  })
}

type Stage = Awaited<ReturnType<typeof setStage>>

async function setStage(t: Test, prefect: PrefectClient) {
  const server = await startPrefectServer(t, prefect)
  const sim = await startCloudSimulator({
    accounts: [{ handle: 'prefect', workspaces: ['terry'] }],
    workspaceBackend: server.apiUrl,
  })
  t.teardown(() => sim.close())
  const gate = await openTcpGate(t, Number(new URL(sim.apiUrl).port))
  const broker = await startShipped(t, {
    PREFECT_CLOUD_API_URL: `http://127.0.0.1:${gate.port}/api`,
    PREFECT_CLOUD_UI_URL: sim.uiUrl,
  })
  const work = join(broker.home, 'work')
  mkdirSync(work)
  writeFileSync(join(work, 'hello.py'), FLOW)
  writeFileSync(join(work, 'deploy.py'), DEPLOY)
  const keys: string[] = []
  const currentKey = async () => {
    const { stdout } = await broker.cli(['env', '--format', 'dotenv'])
    const key = REAL_KEY.exec(stdout)?.[0]
    if (key === undefined) throw new Error('there is no key')
    keys.push(key)
    return key
  }
  const logIn = async () => {
    const args = ['login', '--key-stdin', '--exchange', '--workspace', 'prefect/terry']
    const { code, stderr } = await broker.cli(args, { input: issueKey(sim) })
    t.equal(code, 0, stderr)
  }
  await logIn()
  await currentKey()
  const env = prefectEnv(work, {
    PREFECT_WORKER_QUERY_SECONDS: '2',
    PREFECT_WORKER_HEARTBEAT_SECONDS: '5',
    ...PLANS[prefect.which].settings,
  })
  for (const command of [
    [prefect.bin, 'work-pool', 'create', '--type', 'process', 'p'],
    [prefect.python, join(work, 'deploy.py')],
  ]) {
    const ran = await broker.cli(['exec', '--proxy', '--', ...command], { env })
    t.equal(ran.code, 0, `${command.join(' ')}: ${ran.stdout}${ran.stderr}`)
  }
  const runs = createRuns(t, server.apiUrl)
  return { sim, gate, broker, keys, currentKey, logIn, work, env, runs, serverUrl: server.apiUrl }
}

function issueKey(sim: Simulator): string {
  return sim.issueKey({ name: 'pasted' })
}

/** Flow runs, scheduled and read at the server itself, behind the simulator's back. */
function createRuns(t: Test, serverUrl: string) {
  let timer: NodeJS.Timeout | undefined
  const underWay = new Set<Promise<void>>()
  const stop = async () => {
    clearInterval(timer)
    await Promise.all(underWay)
  }
  t.teardown(stop)
  const schedule = async () => {
    const { id } = await post(`${serverUrl}/deployments/filter`, {}).then(firstOf)
    await post(`${serverUrl}/deployments/${String(id)}/create_flow_run`, { state: { type: 'SCHEDULED' } })
  }
  const states = async () => {
    const all = await post(`${serverUrl}/flow_runs/filter`, {})
    return Array.isArray(all) ? all.map(({ state_name }) => String(state_name)) : []
  }
  const completed = async () => (await states()).filter((name) => name === 'Completed').length
  const complete = async (count: number, worker: { said(): string }) => {
    let last: readonly string[] = []
    await until(
      async () => {
        last = await states()
        await sleep(300)
        return last.filter((name) => name === 'Completed').length >= count
      },
      () => `not ${count} runs completed, but ${last.join(', ')}: ${worker.said().slice(-6_000)}`,
      120_000,
    )
  }
  return {
    states,
    complete,
    scheduleEvery(ms: number) {
      const next = () => {
        const one = schedule()
          .catch((error: unknown) => void t.fail(String(error)))
          .finally(() => underWay.delete(one))
        underWay.add(one)
      }
      next()
      timer = setInterval(next, ms)
    },
    completeMore: async (count: number, worker: { said(): string }) =>
      complete((await completed()) + count, worker),
    async completeAll(worker: { said(): string }) {
      await stop()
      await complete((await states()).length, worker)
    },
  }
}

async function startWorker(t: Test, prefect: PrefectClient, { broker, work, env }: Stage) {
  const command = [prefect.bin, 'worker', 'start', '--pool', 'p', '--type', 'process', '--name', 'w']
  const child = spawn(process.execPath, [CLI, 'exec', '--proxy', '--', ...command], {
    cwd: work,
    env: { ...env, PREFECT_AUTH_SOCKET: broker.socket },
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const { pid = 0 } = child
  t.teardown(() => endTree(child))
  let text = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk
    })
  }
  const findWorker = () => readProcessTree(pid).find(({ command }) => /python.* worker start/.test(command))
  await until(
    () => findWorker() !== undefined,
    () => `no worker: ${text}`,
  )
  const before = findWorker()
  const leaks = new Set<string>()
  let looks = 0
  let sawJobs = false
  const watch = watchProcessTree(
    pid,
    (tree) => {
      looks += 1
      for (const { command, environment } of tree) {
        if (REAL_KEY.test(environment) || REAL_KEY.test(command)) leaks.add(command)
        const isJob = /PREFECT__FLOW_RUN_ID=/.test(environment)
        if (isJob && /PREFECT_API_KEY=pab_/.test(environment)) sawJobs = true
      }
    },
    200,
  )
  t.teardown(watch.stop)
  return {
    said: () => text,
    looks: () => looks,
    sawJobs: () => sawJobs,
    leaks: () => [...leaks],
    stillRuns(t: Test) {
      const now = findWorker()
      t.match(
        now,
        { pid: before?.pid, startedAt: before?.startedAt },
        'the worker is the one that was started',
      )
    },
  }
}

async function endTree(child: ChildProcess): Promise<void> {
  const { pid } = child
  if (pid === undefined || child.exitCode !== null) return
  const ended = once(child, 'exit')
  for (const one of readProcessTree(pid).map(({ pid }) => pid)) {
    try {
      process.kill(one, 'SIGKILL')
    } catch {
      // Gone meanwhile.
    }
  }
  await ended
}

/** The worker's own line of the status: what is counted under the name of its command. */
async function traffic(broker: Shipped) {
  const { stdout } = await broker.cli(['status', '--json'])
  const line = status.parse(JSON.parse(stdout)).proxy.find(({ token }) => token === 'prefect worker start')
  if (line === undefined) throw new Error('the worker is not in the status')
  return line
}

/** What the worker itself tells over its WebSocket, in the record of the server. */
async function eventsArrive(serverUrl: string): Promise<void> {
  let last: unknown
  await until(
    async () => {
      last = await post(`${serverUrl}/events/filter`, { filter: { event: { prefix: ['prefect.worker.'] } } })
      return JSON.stringify(last).includes('"prefect.worker.')
    },
    () => `no event of the worker: ${JSON.stringify(last)}`,
  )
}

/** Asks once more where the server is busy: its database is one file. */
async function post(url: string, body: unknown): Promise<unknown> {
  let last = ''
  for (let tries = 0; tries < 10; tries += 1) {
    if (tries > 0) await sleep(1_000)
    try {
      const answer = await fetch(url, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(body),
      })
      if (answer.ok) return await answer.json()
      last = `${answer.status} ${await answer.text()}`
      if (answer.status < 500) break
    } catch (error) {
      last = String(error)
    }
  }
  throw new Error(`${url}: ${last}`)
}

function firstOf(list: unknown): { readonly id?: unknown } {
  const first: unknown = Array.isArray(list) ? list[0] : undefined
  return typeof first === 'object' && first !== null ? first : {}
}
