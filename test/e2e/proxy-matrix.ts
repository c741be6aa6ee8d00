/**
 * Every Prefect × Cloud and a self-hosted server, through the shipped proxy: a flow with tasks and events of its own, and the stream
 * of events. What arrives is counted at the server itself, and compared with what arrives of the same flow without the proxy. The
 * newest and the oldest Prefect also deploy and work; the newest lists, and Prefect 3 runs tasks in the background.
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { startCloudSimulator } from '../../sim/simulator.js'
import { BACKGROUND_TASK } from '../fixtures/background-task.js'
import {
  findPrefect,
  type PrefectClient,
  type PrefectServer,
  prefectEnv,
  startPrefectServer,
} from '../fixtures/real-prefect.js'
import { REAL_KEY, startJob } from '../fixtures/real-worker.js'
import { startShipped, until } from '../fixtures/shipped.js'

t.setTimeout(880_000)

const AUTH = 'admin:it is secret'

/** Prints the id of its run. Its events and its tasks are what got lost with old clients. */
const FLOW = `import sys
from prefect import flow, task, get_client
from prefect.events import emit_event
from prefect.runtime import flow_run

@task
def add(one):
    return one + 1

@flow(log_prints=True)
def hello(name: str = "you"):
    add(1)
    mine = f"prefect.flow-run.{flow_run.id}"
    for count in range(3):
        emit_event(event=f"matrix.{count}", resource={"prefect.resource.id": mine})
    print("hello", name)
    return str(flow_run.id)

if __name__ == "__main__":
    print("RUN", hello())
    if sys.argv[1:] == ["3"]:
        with get_client(sync_client=True) as client:
            print("SYNC", client.read_flow_runs(limit=1)[0].state.type.value)
`

for (const which of ['3', '34', '2'] as const) {
  t.test(`Prefect ${which}`, { timeout: 880_000 }, async (t) => {
    const prefect = findPrefect(which, t)
    if (prefect === undefined) return
    const stage = await setStage(t, prefect)
    if (which === '3') await t.test('the server is asked', (t) => serverTrouble(t, stage))
    const plain = await runFlow(t, stage, ['exec', '-p', 'srv'])
    t.match(plain.counts, { 'prefect.flow-run.Completed': 1, 'matrix.0': 1, 'matrix.2': 1 })
    for (const profile of ['srv', 'cloud']) {
      await t.test(profile === 'srv' ? 'a self-hosted server' : 'Cloud', async (t) => {
        const stream = startJob(t, [prefect.bin, 'events', 'stream', '--format', 'text'], {
          ...stage,
          env: { ...stage.env, PREFECT_PROFILE: profile },
        })
        const proxied = await runFlow(t, stage, ['exec', '--proxy', '-p', profile])
        t.strictSame(proxied.counts, plain.counts, 'every event arrives, as without the proxy')
        if (which !== '34')
          await commands(t, stage, profile, which === '3' && profile === 'cloud' ? [...JOB, ...LISTS] : JOB)
        if (which !== '2') await background(t, stage, profile)
        // 2.20 shows a self-hosted server no credentials there, and for nobody the proxy opens nothing.
        const isUnknown = which === '2' && profile === 'srv'
        const wanted = isUnknown ? 'Unable to authenticate' : 'prefect.flow-run.Completed'
        await until(
          () => stream.said().includes(wanted),
          () => `not in the stream: ${stream.said().slice(-2_000)}`,
        )
      })
    }
  })
}

t.test('a server with basic auth and CSRF protection', { timeout: 880_000 }, async (t) => {
  const prefect = findPrefect('3', t)
  if (prefect === undefined) return
  const server = await startPrefectServer(t, prefect, {
    PREFECT_SERVER_API_AUTH_STRING: AUTH,
    PREFECT_SERVER_CSRF_PROTECTION_ENABLED: 'true',
  })
  const stage = await setBroker(t, prefect, server, {})
  t.match(
    (await stage.broker.cli(['doctor', '-p', 'srv'])).stdout,
    /^problem +prefect .*requires an auth string/m,
  )
  const set = await stage.broker.cli(['profile', 'set', 'srv', '--auth-string-stdin'], {
    input: 'admin:wrong',
  })
  t.match(
    set.stderr,
    /refuses the auth string of profile 'srv'\ntry: prefect-auth profile set srv --auth-string-stdin/,
  )
  await stage.broker.cli(['profile', 'set', 'srv', '--auth-string-stdin'], { input: AUTH })
  t.match((await stage.broker.cli(['doctor', '-p', 'srv'])).stdout, /^ok +prefect .*answers: Prefect 3/m)
  const plain = await runFlow(t, stage, ['exec', '-p', 'srv'])
  const proxied = await runFlow(t, stage, ['exec', '--proxy', '-p', 'srv'])
  t.strictSame(proxied.counts, plain.counts)
  await commands(t, stage, 'srv', [...JOB, ['block type ls', /secret/i]])
})

type Stage = Awaited<ReturnType<typeof setBroker>>

async function setStage(t: Test, prefect: PrefectClient) {
  const server = await startPrefectServer(t, prefect, { PREFECT_EXPERIMENTAL_EVENTS: 'true' })
  const cloud = await startCloudSimulator({
    accounts: [{ handle: 'prefect', workspaces: ['terry'] }],
    workspaceBackend: server.apiUrl,
  })
  t.teardown(() => cloud.close())
  const stage = await setBroker(t, prefect, server, {
    PREFECT_CLOUD_API_URL: cloud.apiUrl,
    PREFECT_CLOUD_UI_URL: cloud.uiUrl,
  })
  const args = ['login', '-p', 'cloud', '--key-stdin', '--exchange', '--workspace', 'prefect/terry']
  const login = await stage.broker.cli(args, { input: cloud.issueKey() })
  t.equal(login.code, 0, login.stderr)
  return stage
}

async function setBroker(
  t: Test,
  prefect: PrefectClient,
  server: PrefectServer,
  endpoints: Readonly<Record<string, string>>,
) {
  const broker = await startShipped(t, endpoints)
  const made = await broker.cli(['profile', 'create', 'srv', '--api-url', server.apiUrl])
  t.equal(made.code, 0, made.stderr)
  const work = join(broker.home, 'work')
  mkdirSync(work)
  writeFileSync(join(work, 'hello.py'), FLOW)
  writeFileSync(join(work, 'later.py'), BACKGROUND_TASK)
  const env = {
    ...prefectEnv(broker.home),
    PREFECT_HOME: join(broker.home, '.prefect'),
    PYTHONUNBUFFERED: '1',
    PREFECT_EXPERIMENTAL_EVENTS: 'true',
    // Without TLS it is HTTP/1.1 all the same.
    PREFECT_API_ENABLE_HTTP2: 'true',
  }
  return { prefect, server, broker, work, env }
}

/** A dead server and a URL without `/api` are named, and what is named helps. */
async function serverTrouble(t: Test, { broker, server }: Stage) {
  const { origin } = new URL(server.apiUrl)
  const made = await broker.cli(['profile', 'create', 'wrong', '--api-url', origin])
  t.match(made, {
    code: 0,
    stderr: new RegExp(`try: prefect-auth profile set wrong --api-url ${server.apiUrl}\n`),
  })
  t.match((await broker.cli(['status', '-p', 'wrong'])).stdout, `not at the URL of profile 'wrong'`)
  const [, remedy = ''] = /^try: prefect-auth (.*)$/m.exec(made.stderr) ?? []
  t.match(await broker.cli(remedy.split(' ')), { code: 0, stderr: '' }, 'the remedy helps')
  t.match((await broker.cli(['status', '-p', 'wrong'])).stdout, 'No problems found')
  const dead = await broker.cli(['profile', 'set', 'wrong', '--api-url', 'http://127.0.0.1:9/api'])
  t.match(dead.stderr, /the connection was refused\ntry: prefect server start/)
  t.match(await broker.cli(['doctor', '-p', 'wrong']), { code: 1, stdout: /^problem +prefect .*refused/m })
}

/** Runs the flow, and counts what arrived at the server of its run: events by name, and task runs. */
async function runFlow(t: Test, { prefect, broker, server, work, env }: Stage, exec: readonly string[]) {
  const ran = await broker.cli(
    [...exec, '--', prefect.python, join(work, 'hello.py'), prefect.which[0] ?? ''],
    {
      env,
    },
  )
  const output = ran.stdout + ran.stderr
  t.equal(ran.code, 0, output)
  t.notMatch(output, /Unable to connect|EventsWorker failed|\/proxy\//, 'no event lost, no link to the proxy')
  t.notMatch(exec.includes('--proxy') ? output : '', REAL_KEY)
  if (prefect.which !== '2') t.match(output, /^SYNC COMPLETED$/m)
  const [, id = ''] = /^RUN (\S+)$/m.exec(ran.stdout) ?? []
  let counts: Record<string, number> = {}
  await until(
    async () => {
      const names = [...(await eventsOf(server, id)), ...(await taskRunsOf(server, id))]
      counts = {}
      for (const name of names.sort()) counts[name] = (counts[name] ?? 0) + 1
      return ['prefect.flow-run.Completed', 'matrix.0', 'matrix.1', 'matrix.2', 'task run Completed'].every(
        (name) => counts[name] === 1,
      )
    },
    () => `${exec.join(' ')}: not all arrived of ${id}: ${JSON.stringify(counts)}\n${output}`,
    30_000,
  )
  return { counts, output }
}

async function eventsOf(server: PrefectServer, flowRun: string): Promise<readonly string[]> {
  const id = [`prefect.flow-run.${flowRun}`]
  const occurred = { since: '2020-01-01T00:00:00Z', until: '2100-01-01T00:00:00Z' }
  const page = await post(server, '/events/filter', { filter: { any_resource: { id }, occurred }, limit: 50 })
  return listOf(page, 'events').map((event) => String(event.event))
}

async function taskRunsOf(server: PrefectServer, flowRun: string): Promise<readonly string[]> {
  const runs = await post(server, '/task_runs/filter', { flow_runs: { id: { any_: [flowRun] } } })
  return listOf({ runs }, 'runs').map(({ state_name }) => `task run ${String(state_name)}`)
}

async function post(server: PrefectServer, path: string, body: object): Promise<unknown> {
  const authorization = `Basic ${Buffer.from(AUTH).toString('base64')}`
  const csrf = await csrfOf(server, authorization)
  const answer = await fetch(`${server.apiUrl}${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization, ...csrf },
    body: JSON.stringify(body),
  })
  return answer.ok ? answer.json() : {}
}

async function csrfOf(server: PrefectServer, authorization: string): Promise<Record<string, string>> {
  const answer = await fetch(`${server.apiUrl}/csrf-token?client=matrix`, { headers: { authorization } })
  const body: unknown = answer.ok ? await answer.json() : {}
  const token = typeof body === 'object' && body !== null && 'token' in body ? String(body.token) : undefined
  return token === undefined ? {} : { 'prefect-csrf-token': token, 'prefect-csrf-client': 'matrix' }
}

function listOf(value: unknown, name: string): readonly Record<string, unknown>[] {
  const list: unknown = typeof value === 'object' && value !== null ? Reflect.get(value, name) : undefined
  return Array.isArray(list) ? list.map((one: object) => ({ ...one })) : []
}

/** A command's line, with the name of the profile for P, and what it says. */
type Line = readonly [line: string, wanted: RegExp]

/** A deployment, and its run by a worker. */
const JOB: readonly Line[] = [
  ['work-pool create --type process of-P', /Created/i],
  ['--no-prompt deploy ./hello.py:hello -n of-P -p of-P', /successfully/i],
  ['deployment run hello/of-P --param name=P', /Created flow run/],
  ['worker start --pool of-P --run-once', /hello (?:srv|cloud)/],
]
/** What people look at, on Cloud. */
const LISTS: readonly Line[] = [
  ['flow-run ls', /hello/],
  ['automation ls', /./],
  ['block type ls', /secret/i],
  ['cloud workspace ls', /\* prefect\/terry/],
]

async function commands(t: Test, stage: Stage, profile: string, lines: readonly Line[]) {
  for (const [line, wanted] of lines) await command(t, stage, profile, line.replaceAll('P', profile), wanted)
}

async function command(
  t: Test,
  { prefect, broker, work, env }: Stage,
  profile: string,
  line: string,
  wanted: RegExp,
) {
  const ran = await broker.cli(['exec', '--proxy', '-p', profile, '--', prefect.bin, ...line.split(' ')], {
    env,
    cwd: work,
  })
  const output = ran.stdout + ran.stderr
  t.equal(ran.code, 0, `${line}: ${output}`)
  t.match(output, wanted, line)
  t.notMatch(output, /\/proxy\/[^ ]*\/(?:runs|flow-runs|deployments)\//, `${line}: no link to the proxy`)
  t.notMatch(output, REAL_KEY, line)
}

/** A task that another process runs: a WebSocket on which the server hands it out. */
async function background(t: Test, stage: Stage, profile: string) {
  const { prefect, broker, work, env } = stage
  const script = join(work, 'later.py')
  const own = { ...stage, env: { ...env, PREFECT_PROFILE: profile } }
  const served = startJob(t, [prefect.python, script, 'serve'], own)
  const asked = await broker.cli(['exec', '--proxy', '-p', profile, '--', prefect.python, script], { env })
  t.match(asked, { code: 0, stdout: /^TASK / }, asked.stderr)
  await until(
    () => served.said().includes('LATER 2'),
    () => `the task did not run: ${served.said()}`,
  )
  t.pass('a task in the background has run')
}
