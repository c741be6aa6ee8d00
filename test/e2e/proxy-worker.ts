/**
 * A real worker behind the shipped proxy outlives its keys, an outage of Prefect, and its daemon. Waits more than it works.
 *
 * Its key is renewed in time and the old one expires, then it is revoked and replaced by a new login; Prefect goes down
 * and comes back; the daemon is killed, and another user takes its port. Every flow run completes under the same worker,
 * and no environment in its tree of processes ever has the key.
 */
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { startCloudSimulator } from '../../sim/simulator.js'
import { status } from '../../src/wire/status.js'
import { createFlowRuns, eventsArrive } from '../fixtures/flow-runs.js'
import { freePort, holdPort, OTHER, whyNoOtherUser } from '../fixtures/port-holder.js'
import {
  findPrefect,
  type PrefectClient,
  prefectEnv,
  QUIET,
  startPrefectServer,
} from '../fixtures/real-prefect.js'
import { REAL_KEY, startWorker } from '../fixtures/real-worker.js'
import { type Shipped, startShipped, until } from '../fixtures/shipped.js'
import { openTcpGate } from './fixtures/tcp-gate.js'

t.setTimeout(880_000)

const DAY_MS = 86_400_000
const FAKETIME = '/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1'
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
const SCHEDULE_MS = 5_000
/** How long the worker has no key, or no Prefect: longer than the first response tells it to wait. */
const WITHOUT_MS = 7_000

for (const which of ['3', '2'] as const) {
  t.test(`a worker of Prefect ${which} outlives its keys`, { timeout: 880_000 }, async (t) => {
    const prefect = findPrefect(which, t)
    if (prefect === undefined) return
    const stage = await setStage(t, prefect)
    const { broker, sim, runs } = stage
    const worker = await startWorker(t, prefect, stage)
    runs.scheduleEvery(SCHEDULE_MS)
    await runs.complete(1, worker)

    const first = await stage.currentKey()
    await outliveByAge(t, stage, first)
    t.equal(sim.keys.authenticate(first), undefined, 'the first key has expired')
    await runs.completeMore(1, worker)
    t.pass('runs complete after the key was renewed and the old one expired')

    const second = await stage.currentKey()
    sim.keys.revoke(second)
    await until(
      async () => (await traffic(broker)).parked > 0,
      () => `nothing was told to wait: ${worker.said()}`,
    )
    await sleep(WITHOUT_MS)
    await stage.logIn()
    t.not(await stage.currentKey(), second)
    await runs.completeMore(1, worker)
    t.pass('runs complete after the key was revoked and a new login')

    const { parked } = await traffic(broker)
    await stage.gate.shut()
    await sleep(WITHOUT_MS)
    await stage.gate.reopen()
    t.ok((await traffic(broker)).parked > parked, 'it was told to wait while Prefect was away')

    // Including those that were scheduled while Prefect was away.
    await runs.completeAll(worker)
    await outliveCrash(t, stage, worker)
    if (whyNoOtherUser() === false) await outliveSquatter(t, stage, worker)
    t.same([...new Set(await runs.states())], ['Completed'], 'every run of all of them')
    t.ok((await runs.states()).length >= 4)
    if (which === '3') await eventsArrive(stage.serverUrl)
    worker.stillRuns(t)
    t.ok(worker.looks() > 50, 'the processes were looked at often')
    t.ok(worker.sawJobs(), 'including the processes of flow runs, with a token of ours')
    t.same(worker.leaks(), [], 'no environment ever held a key')
    t.notMatch(worker.said(), REAL_KEY)
  })
}

type Stage = Awaited<ReturnType<typeof setStage>>
type Worker = Awaited<ReturnType<typeof startWorker>>

/** After three weeks the daemon mints a new key; ten days later the old one has expired. */
async function outliveByAge(t: Test, { sim, broker, currentKey, ...stage }: Stage, first: string) {
  const before = sim.keys.all().length
  if (stage.timeFile === undefined) {
    const renewed = await broker.cli(['renew', '--now'])
    t.equal(renewed.code, 0, renewed.stderr)
    sim.keys.revoke(first)
    return
  }
  stage.passDays(21)
  await until(
    () => sim.keys.all().length > before,
    () => 'the key was not renewed in time',
    60_000,
  )
  await until(
    async () => (await currentKey()) !== first,
    () => 'the new key is not served',
  )
  t.ok(sim.keys.authenticate(first), 'it was renewed while the old one was valid')
  stage.passDays(10)
}

/**
 * Without the service nobody keeps the port while the daemon is away, and nobody took it. No flow run is under way: Prefect does
 * not repeat the first request of a new process where the port is closed.
 */
async function outliveCrash(t: Test, { broker, runs }: Stage, worker: Worker) {
  await worker.isIdle()
  await broker.crash()
  await runs.scheduleOne()
  await sleep(WITHOUT_MS)
  await broker.startAgain()
  await runs.completeAll(worker)
  const { stdout } = await broker.cli(['doctor'])
  t.match(stdout, /the daemon ended unexpectedly/, 'doctor warns, and the worker goes on')
}

/** Another user held the port: he may have the worker's token, so that it waits until its owner has decided. */
async function outliveSquatter(t: Test, { broker, port, runs }: Stage, worker: Worker) {
  await worker.isIdle()
  await broker.crash()
  await runs.scheduleOne()
  const release = await holdPort(t, port, OTHER)
  await broker.startAgain()
  // The owner's socket answers before the daemon has tried its port.
  await until(
    () => broker.log().includes('job tokens parked: another user holds the TCP port'),
    () => `the holder of the port was not found: ${broker.log().slice(-2_000)}`,
  )
  await release()
  await broker.startAgain()
  await until(
    () => /token_parked/.test(broker.log()),
    () => `nothing was told to wait: ${worker.said()}`,
  )
  t.match((await broker.cli(['status'])).stdout, /job tokens? parked: another user held our TCP port/)
  worker.stillRuns(t)
  // The number alone is also a time of its log.
  t.notMatch(worker.said(), /(?:HTTP |')401\b|Unauthorized/, 'it was never told that its token is wrong')
  t.equal((await broker.cli(['token', 'keep', '--all'])).code, 0)
  await runs.completeAll(worker)
}

async function setStage(t: Test, prefect: PrefectClient) {
  const server = await startPrefectServer(t, prefect, QUIET)
  const sim = await startCloudSimulator({
    accounts: [{ handle: 'prefect', workspaces: ['terry'] }],
    workspaceBackend: server.apiUrl,
  })
  t.teardown(() => sim.close())
  const gate = await openTcpGate(t, Number(new URL(sim.apiUrl).port))
  const isTimed = existsSync(FAKETIME) || process.env.PAB_REQUIRE_REAL === '1'
  const timeFile = isTimed ? join(t.testdir(), 'faketime') : undefined
  let days = 0
  const passDays = (count: number) => {
    days += count
    if (timeFile !== undefined) writeFileSync(timeFile, `+${days}d\n`)
    sim.clock.advance(count * DAY_MS)
  }
  passDays(0)
  const port = await freePort()
  const broker = await startShipped(
    t,
    {
      PREFECT_CLOUD_API_URL: `http://127.0.0.1:${gate.port}/api`,
      PREFECT_CLOUD_UI_URL: sim.uiUrl,
      // A worker keeps the address that it was given.
      PREFECT_AUTH_PORT: String(port),
    },
    timeFile === undefined ? {} : wallClockIn(timeFile),
  )
  const work = join(broker.home, 'work')
  mkdirSync(work)
  writeFileSync(join(work, 'hello.py'), FLOW)
  writeFileSync(join(work, 'deploy.py'), DEPLOY)
  const currentKey = async () => {
    const { stdout } = await broker.cli(['env', '--format', 'dotenv'])
    const key = REAL_KEY.exec(stdout)?.[0]
    if (key === undefined) throw new Error('there is no key')
    return key
  }
  const logIn = async () => {
    const args = ['login', '--key-stdin', '--exchange', '--workspace', 'prefect/terry']
    const { code, stderr } = await broker.cli(args, { input: sim.issueKey({ name: 'pasted' }) })
    t.equal(code, 0, stderr)
  }
  await logIn()
  const env = prefectEnv(work, {
    PREFECT_PROFILES_PATH: join(broker.home, '.prefect', 'profiles.toml'),
    PREFECT_WORKER_QUERY_SECONDS: '2',
    PREFECT_WORKER_HEARTBEAT_SECONDS: '5',
  })
  for (const command of [
    [prefect.bin, 'work-pool', 'create', '--type', 'process', 'p'],
    [prefect.python, join(work, 'deploy.py')],
  ]) {
    const ran = await broker.cli(['exec', '--proxy', '--', ...command], { env })
    t.equal(ran.code, 0, `${command.join(' ')}: ${ran.stdout}${ran.stderr}`)
  }
  const runs = createFlowRuns(t, server.apiUrl)
  const time = { passDays, ...(timeFile === undefined ? {} : { timeFile }) }
  return { sim, gate, broker, port, currentKey, logIn, work, env, runs, serverUrl: server.apiUrl, ...time }
}

/** Moves the daemon's wall clock ahead by the offset in the file, but not its monotonic clock. */
function wallClockIn(timeFile: string) {
  return {
    LD_PRELOAD: FAKETIME,
    FAKETIME_TIMESTAMP_FILE: timeFile,
    FAKETIME_NO_CACHE: '1',
    FAKETIME_DONT_FAKE_MONOTONIC: '1',
  }
}

/** The worker's line in the status: traffic counted under the name of its command. */
async function traffic(broker: Shipped) {
  const { stdout } = await broker.cli(['status', '--json'])
  const line = status.parse(JSON.parse(stdout)).proxy.find(({ token }) => token === 'prefect worker start')
  if (line === undefined) throw new Error('the worker is not in the status')
  return line
}
