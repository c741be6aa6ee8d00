/** Prefect's own MCP server behind `exec --proxy --may read`, started as its users start it: every tool reads, and nothing else goes through. */
import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { startCloudSimulator } from '../../sim/simulator.js'
import { findPrefect, prefectEnv, QUIET, runPython, startPrefectServer } from '../fixtures/real-prefect.js'
import { REAL_KEY } from '../fixtures/real-worker.js'
import { type Shipped, startShipped } from '../fixtures/shipped.js'

t.setTimeout(300_000)

const CLI = fileURLToPath(new URL('../../dist/auth.cjs', import.meta.url))
const CI = process.env.PAB_CI_DIR ?? join(homedir(), '.cache', 'prefect-auth-broker-ci')
const UVX = join(CI, 'tools', 'bin', 'uvx')
const CACHE = join(CI, 'uv-cache')
const PACKAGE = 'prefect-mcp==0.0.1b13'
const LINE = ['exec', '--proxy', '--may', 'read', '--', UVX, '--from', PACKAGE, 'prefect-mcp-server']
/** What the server needs from the home that it runs in; uv finds in its cache what `.ci/setup` put there. */
const UV = { UV_CACHE_DIR: CACHE, UV_OFFLINE: '1', FASTMCP_SHOW_SERVER_BANNER: 'false' }

const FLOW = `from prefect import flow, get_run_logger, task

@task
def greet(name):
    get_run_logger().info("a line for the log")
    return f"hello {name}"

@flow
def hello(name: str = "you"):
    greet(name)

if __name__ == "__main__":
    hello()
`

t.test('Prefect’s MCP server under the policy read', async (t) => {
  const stage = await setStage(t)
  if (stage === undefined) return
  await t.test('all of its tools work, and nothing is refused', (t) => readAll(t, stage))
  await t.test('what runs in its place cannot write', (t) => write(t, stage))
})

type Stage = NonNullable<Awaited<ReturnType<typeof setStage>>>

async function readAll(t: Test, { broker, run }: Stage): Promise<void> {
  const server = startServer(t, broker, LINE)
  const { tools } = record(await server.ask('initialize', HELLO).then(() => server.ask('tools/list', {})))
  const names = list(tools).map((tool) => String(record(tool).name))
  t.ok(names.length >= 12, names.join(' '))
  const given: Readonly<Record<string, object>> = {
    get_flow_run_logs: { flow_run_id: run },
    get_object_schema: { object_type: 'automation' },
  }
  for (const name of names) {
    // It answers from a web site of Prefect's, and not from the API.
    if (/search|docs/i.test(name)) continue
    const answer = record(await server.ask('tools/call', { name, arguments: given[name] ?? {} }))
    const text = JSON.stringify(answer)
    t.not(answer.isError, true, `${name}: ${text.slice(0, 300)}`)
    t.notMatch(text, /"success":false/, `${name}: ${text.slice(0, 300)}`)
    if (name === 'get_flow_runs') t.match(text, run, 'it read the run that there is')
    if (name === 'get_flow_run_logs') t.match(text, 'a line for the log')
  }
  const shown = JSON.parse((await broker.cli(['token', 'show', 'uvx', '--json'])).stdout)
  t.equal(shown.may, 'read')
  t.same(shown.refused ?? [], [], 'nothing was refused')
  t.notMatch(server.said(), REAL_KEY)
}

async function write(t: Test, { broker, deployment, countRuns }: Stage): Promise<void> {
  const script = [
    'import asyncio, prefect',
    'async def main():',
    '    async with prefect.get_client() as client:',
    `        await client.create_flow_run_from_deployment("${deployment}")`,
    'asyncio.run(main())',
  ].join('\n')
  const python = LINE.slice(0, -1)
  const before = await countRuns()
  const { code, stderr } = await broker.cli([...python, 'python', '-c', script], { env: UV })
  t.not(code, 0)
  t.match(stderr, /policy/, 'the client shows why')
  t.equal(await countRuns(), before, 'and no run was made')
}

const HELLO = {
  protocolVersion: '2025-03-26',
  capabilities: {},
  clientInfo: { name: 'test', version: '0' },
}

/** A login at a simulated Cloud with a real server behind its workspace, in which a flow has run; `undefined` where a part is missing. */
async function setStage(t: Test) {
  const prefect = findPrefect('3', t)
  if (prefect === undefined) return undefined
  if (!existsSync(UVX) || !existsSync(CACHE)) {
    const reason = `no uvx at ${UVX}, or no ${CACHE} (.ci/setup makes them)`
    if (process.env.PAB_REQUIRE_REAL === '1') t.fail(reason)
    else t.pass(reason, { skip: reason })
    return undefined
  }
  const server = await startPrefectServer(t, prefect, QUIET)
  const cloud = await startCloudSimulator({ workspaceBackend: server.apiUrl })
  t.teardown(() => cloud.close())
  const broker = await startShipped(t, {
    PREFECT_CLOUD_API_URL: cloud.apiUrl,
    PREFECT_CLOUD_UI_URL: cloud.uiUrl,
  })
  const login = ['login', '--key-stdin', '--exchange', '--workspace', 'prefect/terry']
  t.equal((await broker.cli(login, { input: cloud.issueKey() })).code, 0)
  const work = join(broker.home, 'work')
  mkdirSync(work)
  writeFileSync(join(work, 'hello.py'), FLOW)
  const env = { ...prefectEnv(broker.home), PREFECT_API_URL: server.apiUrl }
  const ran = await runPython(prefect, [join(work, 'hello.py')], { home: broker.home, env })
  t.equal(ran.code, 0, ran.output)
  const ask = async (path: string, body: object): Promise<unknown> => {
    const answer = await fetch(`${server.apiUrl}${path}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
    })
    t.ok(answer.ok, `${path}: ${answer.status}`)
    return answer.json()
  }
  const runs = async () => list(await ask('/flow_runs/filter', {})).map(record)
  const [first] = await runs()
  const deployment = record(
    await ask('/deployments/', { name: 'nightly', flow_id: first?.flow_id, paused: false }),
  )
  return {
    broker,
    run: String(first?.id),
    deployment: String(deployment.id),
    countRuns: async () => (await runs()).length,
  }
}

/** A server on stdio, and requests to it: JSON-RPC, one message a line. */
function startServer(t: Test, broker: Shipped, line: readonly string[]) {
  const child = spawn(process.execPath, [CLI, ...line], {
    cwd: broker.home,
    env: {
      ...prefectEnv(broker.home),
      ...UV,
      PREFECT_HOME: join(broker.home, '.prefect'),
      PREFECT_AUTH_SOCKET: broker.socket,
    },
    stdio: ['pipe', 'pipe', 'pipe'],
    detached: true,
  })
  t.teardown(() => {
    if (child.pid !== undefined && child.exitCode === null) process.kill(-child.pid, 'SIGKILL')
  })
  let said = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    said += text
  })
  const waiting = new Map<number, (answer: Record<string, unknown>) => void>()
  createInterface({ input: child.stdout }).on('line', (text) => {
    const message = record(JSON.parse(text))
    said += text
    waiting.get(Number(message.id))?.(message)
  })
  let id = 0
  return {
    said: () => said,
    async ask(method: string, params: object): Promise<unknown> {
      id += 1
      const own = id
      const answered = new Promise<Record<string, unknown>>((resolve, reject) => {
        waiting.set(own, resolve)
        child.once('exit', () => reject(new Error(`the MCP server is gone:\n${said}`)))
      })
      child.stdin.write(`${JSON.stringify({ jsonrpc: '2.0', id: own, method, params })}\n`)
      const { result, error } = await answered
      if (error !== undefined) throw new Error(`${method}: ${JSON.stringify(error)}`)
      if (method === 'initialize') {
        child.stdin.write(`${JSON.stringify({ jsonrpc: '2.0', method: 'notifications/initialized' })}\n`)
      }
      return result
    },
  }
}

function record(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null ? { ...value } : {}
}

function list(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : []
}
