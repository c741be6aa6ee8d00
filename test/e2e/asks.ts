/** The unmodified Prefect client waits for a yes: it goes on by itself after one, and says why after a no. */
import { spawn } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { z } from 'zod'
import { startAsksStage } from '../fixtures/asks-stage.js'
import { findPrefect, type PrefectClient } from '../fixtures/real-prefect.js'
import { until } from '../fixtures/shipped.js'

t.setTimeout(300_000)

/** How long a question stands: several attempts of the client. */
const THINK_MS = 7_000

function start(
  t: Test,
  { bin }: PrefectClient,
  args: readonly string[],
  env: Record<string, string>,
  cwd: string,
) {
  const child = spawn(bin, args, { cwd, env, stdio: ['ignore', 'pipe', 'pipe'] })
  t.teardown(() => child.kill('SIGKILL'))
  let output = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text
    })
  }
  const ended = new Promise<number | null>((resolve) => child.once('close', resolve))
  return { child, ended, said: () => output }
}

t.test('a parked `prefect deployment run` goes on after the yes', async (t) => {
  const prefect = findPrefect('3', t)
  if (prefect === undefined) return
  const stage = await startAsksStage(t, prefect)
  const { cli, root, runs, oneQuestion } = stage
  const properties = { x: { title: 'x', type: 'integer' } }
  await stage.deploy('Testing', 'nightly', { parameter_openapi_schema: { type: 'object', properties } })
  const env = await stage.jobEnv()
  const run = () => start(t, prefect, ['deployment', 'run', 'Testing/nightly', '--param', 'x=1'], env, root)

  const first = run()
  const question = await oneQuestion(first.said)
  t.equal(question.sentence, 'start deployment Testing/nightly in prefect/production')
  t.match(question, { token: { name: 'agent' }, effect: 'runs', body_bytes: Number })
  t.match(
    question.who.join(),
    new RegExp(`^(?:python|prefect)[\\w.]*\\[${first.child.pid}\\] < `),
    'who asks',
  )
  t.match((await cli(['asks', 'show', String(question.id)])).stdout, /"x": 1/, 'the body can be looked at')
  await sleep(THINK_MS)
  t.equal((await stage.list()).asks[0]?.id, question.id, 'it is the same question for as long as it waits')
  t.equal(first.child.exitCode, null, 'the client waits')
  t.same(await runs(), [])
  const yes = await cli(['asks', 'yes', String(question.id)])
  t.match(
    [yes.code, yes.stdout],
    [0, /^Allowed \(\d+\): start deployment Testing\/nightly in prefect\/production\n$/],
  )
  t.equal(await first.ended, 0, first.said())
  t.equal((await runs()).length, 1, 'exactly one run')

  const second = run()
  const again = await oneQuestion(second.said)
  t.not(again.id, question.id, 'the next run is another question')
  t.equal((await cli(['asks', 'no', String(again.id)])).code, 0)
  t.not(await second.ended, 0)
  // Rich wraps the lines of the traceback.
  t.match(
    second.said().replace(/\s+/g, ' '),
    /the answer was no: start deployment Testing\/nightly in prefect\/production/,
  )
  t.equal((await runs()).length, 1)

  const third = run()
  const left = await oneQuestion(third.said)
  third.child.kill('SIGKILL')
  await third.ended
  await sleep(THINK_MS)
  const late = await cli(['asks', 'yes', String(left.id)])
  t.equal(late.code, 1)
  t.match(late.stderr, /nobody is waiting for an answer/)
  t.equal((await runs()).length, 1)
})

/** Long enough to be cancelled while it runs. */
const SLOW = `import time
from prefect import flow

@flow
def slow():
    for _ in range(600):
        time.sleep(0.5)
`
const created = z.object({ id: z.string() })

t.test(
  'a cancel and a retry wait for their yes, and the run that is cancelled ends on its own',
  async (t) => {
    const prefect = findPrefect('3', t)
    if (prefect === undefined) return
    const stage = await startAsksStage(t, prefect)
    const { cli, root, runs, post, oneQuestion } = stage
    // Of its own: the run copies all of it.
    const work = join(root, 'work')
    mkdirSync(work)
    writeFileSync(join(work, 'slow.py'), SLOW)
    await post('/work_pools/', { name: 'p', type: 'process', base_job_template: {} })
    const place = { work_pool_name: 'p', entrypoint: 'slow.py:slow', path: work }
    const deployment = await stage.deploy('slow', 'd', place)
    const env = { ...(await stage.jobEnv()), PREFECT_WORKER_QUERY_SECONDS: '2' }
    const worker = start(t, prefect, ['worker', 'start', '--pool', 'p', '--type', 'process'], env, root)
    const first = { state: { type: 'SCHEDULED' } }
    const { id } = created.parse(await post(`/deployments/${deployment}/create_flow_run`, first))
    const states = async () => (await runs()).map(({ state_name }) => state_name).join()
    const reach = (state: string) =>
      until(
        async () => (await states()) === state,
        () => `not ${state}: ${worker.said()}`,
        120_000,
      )
    await reach('Running')

    const cancel = start(t, prefect, ['flow-run', 'cancel', id], env, root)
    const question = await oneQuestion(cancel.said)
    t.match(question.sentence, /^cancel flow run [\w-]+ in prefect\/production$/)
    await sleep(THINK_MS)
    t.equal(await states(), 'Running', 'it runs for as long as nobody has answered')
    t.equal((await cli(['asks', 'yes', String(question.id)])).code, 0)
    t.equal(await cancel.ended, 0, cancel.said())
    await reach('Cancelled')
    t.same((await stage.list()).asks, [], 'neither the worker nor the run has asked anything')
    worker.child.kill('SIGTERM')
    await worker.ended

    const retry = start(t, prefect, ['flow-run', 'retry', id], env, root)
    const again = await oneQuestion(retry.said)
    t.match(again.sentence, /^set flow run [\w-]+ to Scheduled in prefect\/production$/)
    t.equal((await cli(['asks', 'no', String(again.id)])).code, 0)
    t.not(await retry.ended, 0)
    t.equal(await states(), 'Cancelled')
  },
)
