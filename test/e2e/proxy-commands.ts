/**
 * Commands that people run by hand, with real clients through the shipped programs.
 *
 * Served and deployed deployments, lists, the stream of events, and commands that would write our address and token into
 * the profile.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { startCloudSimulator } from '../../sim/simulator.js'
import { createFlowRuns } from '../fixtures/flow-runs.js'
import { findPrefect, type PrefectClient, prefectEnv, startPrefectServer } from '../fixtures/real-prefect.js'
import { REAL_KEY, startJob } from '../fixtures/real-worker.js'
import { startShipped, until } from '../fixtures/shipped.js'

t.setTimeout(880_000)

const FLOW = `from prefect import flow

@flow(log_prints=True)
def hello():
    print("hello from the job")

if __name__ == "__main__":
    hello.serve(name="served")
`

for (const which of ['3', '2'] as const) {
  t.test(`Prefect ${which}`, { timeout: 880_000 }, async (t) => {
    const prefect = findPrefect(which, t)
    if (prefect === undefined) return
    const stage = await setStage(t, prefect)
    await t.test('serves, deploys, lists and streams events', (t) => everyday(t, stage))
    await t.test('nothing of ours that does harm gets into the profile', (t) => cloudCommands(t, stage))
  })
}

type Stage = Awaited<ReturnType<typeof setStage>>

async function setStage(t: Test, prefect: PrefectClient) {
  const server = await startPrefectServer(t, prefect, { PREFECT_EXPERIMENTAL_EVENTS: 'true' })
  const cloud = await startCloudSimulator({
    accounts: [{ handle: 'prefect', workspaces: ['terry', 'production'] }],
    workspaceBackend: server.apiUrl,
  })
  t.teardown(() => cloud.close())
  const broker = await startShipped(t, {
    PREFECT_CLOUD_API_URL: cloud.apiUrl,
    PREFECT_CLOUD_UI_URL: cloud.uiUrl,
  })
  const key = cloud.issueKey({ name: 'pasted' })
  const args = ['login', '--key-stdin', '--exchange', '--workspace', 'prefect/terry']
  const login = await broker.cli(args, { input: key })
  t.equal(login.code, 0, login.stderr)
  const work = join(broker.home, 'work')
  mkdirSync(work)
  writeFileSync(join(work, 'hello.py'), FLOW)
  // The profile file that the daemon watches.
  const home = join(broker.home, '.prefect')
  const env = { ...prefectEnv(broker.home), PREFECT_HOME: home, PYTHONUNBUFFERED: '1' }
  /** Runs a shell line through the proxy; its output must have no key and no warning about our URL. */
  const through = async (line: string) => {
    const ran = await broker.cli(['exec', '--proxy', '--', 'sh', '-c', `cd '${work}'; ${line}`], { env })
    const output = ran.stdout + ran.stderr
    t.notMatch(output, /PREFECT_API_URL` (?:should|uses|points)/, `${line}: no warning of a wrong URL`)
    t.notMatch(output, REAL_KEY)
    return { ...ran, output }
  }
  return { prefect, server, cloud, broker, work, env, through, key }
}

async function everyday(t: Test, stage: Stage) {
  const { prefect, server, through } = stage
  const runs = createFlowRuns(t, server.apiUrl)
  const events = startJob(t, [prefect.bin, 'events', 'stream', '--format', 'text'], stage)
  const served = startJob(t, [prefect.python, join(stage.work, 'hello.py')], stage)
  await until(
    () => /Your flow .*is being served/.test(served.said()),
    () => `it is not served: ${served.said()}`,
    60_000,
  )
  await runs.scheduleOne()
  await runs.complete(1, served)
  const pool = await through(`'${prefect.bin}' work-pool create --type process p`)
  t.equal(pool.code, 0, pool.output)
  const deployed = await through(`'${prefect.bin}' --no-prompt deploy ./hello.py:hello -n deployed -p p`)
  t.equal(deployed.code, 0, deployed.output)
  t.match(deployed.output, /hello\/deployed/)
  const listed = await through(`'${prefect.bin}' flow-run ls`)
  t.match(listed, { code: 0, output: /COMPLETED|Completed/ })
  await until(
    () => events.said().includes('prefect.flow-run.Completed'),
    () => `no events: ${events.said().slice(-3_000)}`,
  )
  t.pass('the events of the run were streamed')
}

async function cloudCommands(t: Test, { prefect, broker, cloud, through, key }: Stage) {
  const file = join(broker.home, '.prefect', 'profiles.toml')
  const served = async () => (await broker.cli(['env', '--format', 'dotenv'])).stdout
  const before = readFileSync(file, 'utf8')
  const running = await through(
    `'${prefect.bin}' cloud login --key '${key}' --workspace prefect/terry; echo "[$?]"`,
  )
  t.match(running.output, /\[1\]/, 'a key of Cloud’s own is no token of ours')
  t.equal(readFileSync(file, 'utf8'), before)

  const set = await through(`'${prefect.bin}' cloud workspace set --workspace prefect/production`)
  t.equal(set.code, 0, set.output)
  t.match(readFileSync(file, 'utf8'), /127\.0\.0\.1:\d+\/proxy\/cloud\/api\/accounts/, 'it wrote our address')
  t.match(await served(), `PREFECT_API_URL=${cloud.workspaceUrl('prefect/production')}\n`)
  t.match(await served(), REAL_KEY, 'with the key')

  const login = `'${prefect.bin}' cloud login --key "$PREFECT_API_KEY" --workspace prefect/terry`
  const again = await through(login)
  t.equal(again.code, 0, again.output)
  t.match(readFileSync(file, 'utf8'), /PREFECT_API_KEY = "pab_/, 'it wrote our token')
  t.match(await served(), `PREFECT_API_URL=${cloud.workspaceUrl('prefect/terry')}\n`)
  t.match(await served(), REAL_KEY, 'which nobody gets in place of a key')
  const adopted = await broker.cli(['adopt'])
  t.not(adopted.code, 0, 'or may adopt as one')
  const listed = await through(`'${prefect.bin}' cloud workspace ls`)
  t.match(listed, { code: 0, output: /\* prefect\/terry/ }, 'and jobs go on')

  const inspected = await broker.cli(['profile', 'inspect'])
  t.match(
    inspected.stdout + inspected.stderr,
    /prefect-auth workspace set/,
    'it is reported, with the remedy',
  )
  const repaired = await broker.cli(['workspace', 'set', '--workspace', 'prefect/terry'])
  t.equal(repaired.code, 0, repaired.stderr)
  t.notMatch(readFileSync(file, 'utf8'), /\/proxy\/|pab_/, 'the repaired file holds nothing of ours')
  t.match(await served(), `PREFECT_API_URL=${cloud.workspaceUrl('prefect/terry')}\n`)
}
