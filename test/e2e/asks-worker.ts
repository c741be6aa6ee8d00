/**
 * A question that nobody answers for five minutes costs a worker nothing: no lease of a concurrency limit, no run.
 * Waits more than it works.
 */
import { spawn } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { z } from 'zod'
import { startAsksStage } from '../fixtures/asks-stage.js'
import { findPrefect } from '../fixtures/real-prefect.js'
import { until } from '../fixtures/shipped.js'

t.setTimeout(800_000)

/** Five times as long as a lease lasts without renewal. */
const UNANSWERED_MS = 300_000

/** Takes a slot with a lease of a minute, and starts another deployment meanwhile, which needs a yes. */
const FLOW = `from prefect import flow
from prefect.concurrency.sync import concurrency
from prefect.deployments import run_deployment

@flow(log_prints=True)
def holder():
    with concurrency("slots", occupy=1, strict=True, lease_duration=60):
        print("has the slot")
        run_deployment("Testing/nightly", timeout=0, as_subflow=False)
        print("was allowed")
`
const limit = z.object({ active_slots: z.number() })

t.test('a worker under --ask write keeps its leases while a question is open', async (t) => {
  const prefect = findPrefect('3', t)
  if (prefect === undefined) return
  const stage = await startAsksStage(t, prefect)
  const { cli, root, runs, post, server, oneQuestion } = stage
  const work = join(root, 'work')
  mkdirSync(work)
  writeFileSync(join(work, 'holder.py'), FLOW)
  await stage.deploy('Testing', 'nightly')
  await post('/v2/concurrency_limits/', { name: 'slots', limit: 1 })
  await post('/work_pools/', { name: 'p', type: 'process', base_job_template: {} })
  const id = await stage.deploy('holder', 'd', {
    ...{ work_pool_name: 'p', entrypoint: 'holder.py:holder', path: work },
    // Of the deployment itself, which has a lease, too.
    concurrency_limit: 1,
  })
  const env = {
    ...(await stage.jobEnv()),
    PREFECT_WORKER_QUERY_SECONDS: '2',
    PREFECT_WORKER_HEARTBEAT_SECONDS: '5',
  }
  const worker = spawn(prefect.bin, ['worker', 'start', '--pool', 'p', '--type', 'process', '--name', 'w'], {
    ...{ cwd: root, env, detached: true, stdio: ['ignore', 'pipe', 'pipe'] },
  })
  t.teardown(() => {
    if (worker.pid !== undefined) process.kill(-worker.pid, 'SIGKILL')
  })
  let said = ''
  for (const stream of [worker.stdout, worker.stderr]) {
    stream?.setEncoding('utf8').on('data', (text: string) => {
      said += text
    })
  }
  await post(`/deployments/${id}/create_flow_run`, { state: { type: 'SCHEDULED' } })

  const question = await oneQuestion(() => said)
  t.equal(question.sentence, 'start deployment Testing/nightly in prefect/production', said)
  const slots = async () => {
    const answer = await fetch(`${server.apiUrl}/v2/concurrency_limits/slots`)
    return limit.parse(await answer.json()).active_slots
  }
  const states = async () => (await runs()).map(({ state_name }) => state_name)
  const since = Date.now()
  while (Date.now() - since < UNANSWERED_MS) {
    if ((await slots()) !== 1 || (await states()).join() !== 'Running') break
    await sleep(10_000)
  }
  t.ok(Date.now() - since >= UNANSWERED_MS, `the lease and the run are kept all the time: ${said}`)
  t.same(
    (await stage.list()).asks.map(({ id }) => id),
    [question.id],
    'one question, and nothing else waits',
  )
  t.equal((await cli(['asks', 'yes', String(question.id)])).code, 0)
  await until(
    async () => (await states()).includes('Completed'),
    () => said,
    90_000,
  )
  t.same(
    (await states()).sort(),
    ['Completed', 'Scheduled'],
    'the run goes on, and has started the other once',
  )
  t.equal(await slots(), 0)
  t.equal(worker.exitCode, null)
  t.notMatch(said, /lease|Crashed|403/i)
})
