/**
 * Real workers on three machines that share a key outlive all that happens to it. Waits more than it works.
 *
 * The machine that rotates is killed after its rotation, whose answer is lost: another one takes over. The store is sealed, the
 * network to it is cut, a machine is restarted meanwhile, and a backup of the store is restored whose keys are dead. Every flow
 * run completes, under the same workers.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { z } from 'zod'
import { startCloudSimulator } from '../../sim/simulator.js'
import { shareList } from '../../src/wire/shares.js'
import { post } from '../fixtures/flow-runs.js'
import { freePort } from '../fixtures/port-holder.js'
import {
  findPrefect,
  type PrefectClient,
  prefectEnv,
  QUIET,
  startPrefectServer,
} from '../fixtures/real-prefect.js'
import { REAL_KEY, startWorker } from '../fixtures/real-worker.js'
import { startShipped, until } from '../fixtures/shipped.js'
import { type OpenBao, startOpenBao } from '../share/fixtures/open-bao.js'
import { openTcpGate } from './fixtures/tcp-gate.js'

t.setTimeout(600_000)

const PATH = 'team/prod'
const DAY_MS = 86_400_000
const FLOW = `from prefect import flow

@flow(log_prints=True)
def hello():
    print("hello from the job")
`

t.test('workers on three machines outlive the rotations of their key', async (t) => {
  const newest = findPrefect('3', t)
  const oldest = findPrefect('2', t)
  const bao = await startOpenBao(t)
  if (newest === undefined || oldest === undefined || bao === undefined) return
  const sim = await startCloudSimulator({
    bots: [{ name: 'fleet', account: 'prefect' }],
  })
  t.teardown(() => sim.close())
  const a = await startMachine(t, { name: 'a', prefect: newest, bao, sim, rotates: true })
  const b = await startMachine(t, { name: 'b', prefect: newest, bao, sim, rotates: true })
  const c = await startMachine(t, { name: 'c', prefect: oldest, bao, sim, rotates: false })
  const machines = [a, b, c]
  await a.run(['share', 'init', 'prod', '--service-account', 'fleet', '--every', '1s'])
  for (const machine of machines) await machine.run(['share', 'use', 'prod', '--profile', 'jobs'])
  const backup: unknown = Object(await bao.admin('GET', `secret/data/${PATH}`)).data.data
  const first = await a.key()

  const server = await startPrefectServer(t, newest, QUIET)
  sim.useBackend(server.apiUrl)
  const runs = createRuns(server.apiUrl)
  for (const { name, work } of machines) await runs.deploy(name, work)
  const workers: Awaited<ReturnType<typeof startWorker>>[] = []
  for (const machine of machines)
    workers.push(await startWorker(t, machine.prefect, machine.stage, machine.name))
  const said = () => workers.map((worker) => worker.said().slice(-3_000)).join('\n')
  const round = async () => {
    await Promise.all(machines.map(({ name }) => runs.start(name)))
    await runs.complete(said)
    for (const worker of workers) await worker.isIdle()
  }
  const reached = (number: number) =>
    until(
      async () =>
        (await Promise.all(machines.map((machine) => machine.number()))).every((one) => one === number),
      () => `not everywhere: ${machines.map(({ broker }) => broker.log().slice(-2_000)).join('\n')}`,
    )
  await round()

  const before = sim.keys.all().length
  sim.faults.next({ method: 'POST', path: /rotate_api_key$/ }, { kind: 'reset', when: 'after' })
  await a.run(['share', 'rotate', 'prod', '--now'])
  await until(
    () => sim.keys.all().length > before,
    () => `no rotation: ${a.broker.log().slice(-3_000)}`,
  )
  await a.broker.crash()
  await Promise.all([runs.start('b'), runs.start('c')])
  await a.broker.startAgain()
  await reached(2)
  t.equal(sim.keys.all().length, before + 2, 'one rotation was lost, and another machine made the next')
  t.match(b.broker.log(), /publish.*share document written/, 'by the other one that may')
  t.ok(sim.keys.authenticate(first), 'the first key lives on')
  await round()

  await bao.seal()
  await c.gate.shut()
  await b.broker.startAgain()
  t.match((await b.broker.cli(['share', 'status'])).stdout, /sealed/)
  const cut = (await c.broker.cli(['share', 'status'])).stdout
  t.match(cut, /the store did not answer; the last key is served/)
  // Which of the two: whether a connection to it was kept.
  t.match(cut, /nothing listens there|closed the connection/)
  await round()
  await bao.unseal()
  await c.gate.reopen()

  await b.run(['share', 'rotate', 'prod', '--now'])
  await reached(3)
  const third = await c.key()
  sim.clock.advance(1.5 * DAY_MS)
  t.notOk(sim.keys.authenticate(first), 'the overlap is over')
  await round()

  await bao.admin('DELETE', `secret/metadata/${PATH}`)
  await bao.admin('POST', `secret/data/${PATH}`, { data: backup, options: { cas: 0 } })
  await round()
  await until(
    async () => Object(await bao.admin('GET', `secret/data/${PATH}`)).data.data.n === 3,
    () => 'the newest key was not published again',
  )
  for (const machine of machines) t.equal(await machine.key(), third, 'a restored store takes nothing away')

  t.same([...new Set(await runs.states())], ['Completed'], 'every run of all of them')
  for (const worker of workers) {
    worker.stillRuns(t)
    t.ok(worker.sawJobs(), 'the processes of flow runs were seen, with a token of ours')
    t.same(worker.leaks(), [], 'no environment ever held a key')
    t.notMatch(worker.said(), REAL_KEY, 'nor did a worker say one')
  }
  for (const { broker } of machines) t.notMatch(broker.log(), REAL_KEY, 'nor a daemon')
})

type Sim = Awaited<ReturnType<typeof startCloudSimulator>>

/** A daemon in a home of its own, and its way to the store. */
async function startMachine(
  t: Test,
  of: {
    readonly name: string
    readonly prefect: PrefectClient
    readonly bao: OpenBao
    readonly sim: Sim
    readonly rotates: boolean
  },
) {
  const { name, prefect, bao, sim, rotates } = of
  const gate = await openTcpGate(t, Number(new URL(bao.tlsUrl).port))
  const dir = mkdtempSync(join(tmpdir(), 'pab-share-'))
  t.teardown(() => rmSync(dir, { recursive: true, force: true }))
  const token = join(dir, 'token')
  const config = join(dir, 'config.toml')
  writeFileSync(token, bao.rootToken, { mode: 0o600 })
  const share = [
    '[share.prod]',
    'store = "vault"',
    `url = "https://localhost:${gate.port}"`,
    `ca_file = "${bao.caFile}"`,
    `path = "secret/${PATH}"`,
    ...(rotates ? ['rotate = true', 'rotate_with = "cloud"'] : []),
    '[share.prod.auth]',
    'kind = "token"',
    `token = "file:${token}"`,
  ]
  writeFileSync(config, share.join('\n'), { mode: 0o600 })
  const broker = await startShipped(t, {
    PREFECT_CLOUD_API_URL: sim.apiUrl,
    PREFECT_CLOUD_UI_URL: sim.uiUrl,
    PREFECT_AUTH_CONFIG: config,
    // A worker keeps the address that it was given.
    PREFECT_AUTH_PORT: String(await freePort()),
  })
  const run = async (args: readonly string[], input = '') => {
    const ran = await broker.cli(args, { input })
    t.equal(ran.code, 0, `${args.join(' ')}: ${ran.stdout}${ran.stderr}`)
    return ran.stdout
  }
  await run(['profile', 'create', 'jobs', '--api-url', sim.workspaceUrl('prefect/terry')])
  if (rotates) await run(['login', '--key-stdin', '-p', 'cloud', '-w', 'prefect/terry'], sim.issueKey())
  const work = join(broker.home, 'work')
  mkdirSync(work)
  writeFileSync(join(work, 'hello.py'), FLOW)
  const env = prefectEnv(work, {
    PREFECT_PROFILES_PATH: join(broker.home, '.prefect', 'profiles.toml'),
    PREFECT_PROFILE: 'jobs',
    PREFECT_WORKER_QUERY_SECONDS: '2',
    PREFECT_WORKER_HEARTBEAT_SECONDS: '5',
  })
  return {
    ...{ name, prefect, broker, gate, run, work, stage: { broker, work, env } },
    key: async () => (await run(['get', 'key', '-p', 'jobs'])).trim(),
    /** Of the key that is served here. */
    async number() {
      const { stdout } = await broker.cli(['share', 'status', '--json'])
      return shareList.parse(JSON.parse(stdout)).shares[0]?.held_number
    },
  }
}

const created = z.object({ id: z.string() })
const listed = z.array(z.object({ state_name: z.string() }))

/** Flow runs, scheduled and read at the server itself: behind the back of the workers. */
function createRuns(serverUrl: string) {
  const deployments = new Map<string, string>()
  const ask = (path: string, body: unknown) => post(`${serverUrl}${path}`, body)
  const states = async () =>
    listed.parse(await ask('/flow_runs/filter', {})).map(({ state_name }) => state_name)
  return {
    states,
    /** A work pool of this name, and a deployment of the flow in this folder for it. */
    async deploy(pool: string, path: string) {
      await ask('/work_pools/', { name: pool, type: 'process', base_job_template: {} })
      const { id: flow_id } = created.parse(await ask('/flows/', { name: 'hello' }))
      const wanted = { name: pool, flow_id, work_pool_name: pool, entrypoint: 'hello.py:hello', path }
      deployments.set(pool, created.parse(await ask('/deployments/', wanted)).id)
    },
    start: (pool: string) =>
      ask(`/deployments/${deployments.get(pool)}/create_flow_run`, { state: { type: 'SCHEDULED' } }),
    complete: (said: () => string) =>
      until(
        async () => (await states()).every((name) => name === 'Completed'),
        () => `runs do not complete: ${said()}`,
      ),
  }
}
