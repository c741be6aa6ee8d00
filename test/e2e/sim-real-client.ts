/** Real Prefect clients against the simulator: login, workspaces, logout, and a flow run. */
import { chmodSync, existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { z } from 'zod'
import { type Simulator, startCloudSimulator } from '../../sim/simulator.js'
import {
  findPrefect,
  type PrefectClient,
  type PrefectServer,
  type Ran,
  runOnTerminal,
  runPrefect,
  runPython,
  startPrefectServer,
  type Which,
} from '../fixtures/real-prefect.js'

t.setTimeout(880_000)

const FLOW = fileURLToPath(new URL('../fixtures/basic_flow.py', import.meta.url))
const VERSIONS: readonly Which[] = ['3', '2']
const FlowRuns = z.array(z.object({ state: z.object({ type: z.string(), name: z.string() }) }))

/** Two workspaces, a key, and a client in its own home. */
async function openCase(t: Test, workspaceBackend?: string) {
  const sim = await startCloudSimulator({
    accounts: [{ handle: 'prefect', workspaces: ['terry', 'other'] }],
    ...(workspaceBackend === undefined ? {} : { workspaceBackend }),
  })
  t.teardown(() => sim.close())
  const home = t.testdir({})
  return { sim, home, key: sim.issueKey(), env: cloudEnv(sim) }
}

function cloudEnv(sim: Simulator): Record<string, string> {
  return { PREFECT_CLOUD_API_URL: sim.apiUrl, PREFECT_CLOUD_UI_URL: sim.uiUrl }
}

function loginArgs(key: string, workspace = 'prefect/terry'): string[] {
  return ['cloud', 'login', '--key', key, '--workspace', workspace]
}

function exits(t: Test, ran: Ran, code: number, pattern: RegExp): void {
  t.equal(ran.code, code, `exit code ${code}`, { output: ran.output })
  t.match(ran.output, pattern)
}

for (const which of VERSIONS) {
  t.test(`Prefect ${which} logs in, changes the workspace and logs out`, async (t) => {
    const client = findPrefect(which, t)
    if (client === undefined) return
    const { home, key, env } = await openCase(t)
    const prefect = (...args: string[]) => runPrefect(client, args, { home, env })

    exits(t, await prefect(...loginArgs(key)), 0, /Authenticated with Prefect Cloud! .*'prefect\/terry'/)
    exits(t, await prefect('cloud', 'workspace', 'ls'), 0, /\* prefect\/terry/)
    exits(
      t,
      await prefect('cloud', 'workspace', 'set', '--workspace', 'prefect/other'),
      0,
      /Successfully set workspace to 'prefect\/other'/,
    )
    // The star means that the client found the URL it had written: the ids are as it expects.
    exits(t, await prefect('cloud', 'workspace', 'ls'), 0, /\* prefect\/other/)
    exits(t, await prefect('cloud', 'logout'), 0, /Logged out from Prefect Cloud/)
    exits(t, await prefect('cloud', 'workspace', 'ls'), 1, /Currently not authenticated/)
  })

  t.test(`Prefect ${which} gives its own messages for what the simulator refuses`, async (t) => {
    const client = findPrefect(which, t)
    if (client === undefined) return
    const { sim, home, key, env } = await openCase(t)
    const login = (text: string, workspace?: string) =>
      runPrefect(client, loginArgs(text, workspace), { home, env })

    const wrong = `pnu_${'x'.repeat(36)}`
    exits(t, await login(wrong), 1, /ensure your credentials are correct and unexpired/)
    exits(t, await login(key, 'prefect/nope'), 1, /Workspace 'prefect\/nope' not found/)
    const expired = sim.issueKey({ expiresAt: sim.clock.now() + 1000 })
    sim.clock.advance(1000)
    exits(t, await login(expired), 1, /ensure your credentials are correct and unexpired/)
    const lift = sim.forbid()
    exits(t, await login(key), 1, /ensure your credentials are correct and unexpired/)
    lift()
    exits(t, await login(key), 0, /Authenticated with Prefect Cloud!/)
  })
}

for (const which of VERSIONS) {
  t.test(`Prefect ${which} takes the key that the simulated login page delivers`, async (t) => {
    const client = findPrefect(which, t)
    if (client === undefined) return
    const { sim, home, env } = await openCase(t)
    const opened = join(home, 'opened')
    const browser = join(home, 'browser')
    // Renamed into place, so that nobody reads half a URL.
    writeFileSync(browser, `#!/bin/sh\nprintf %s "$1" > ${opened}.new && mv ${opened}.new ${opened}\n`)
    chmodSync(browser, 0o755)
    const command = `${client.bin} cloud login --workspace prefect/terry`

    // `script` provides a terminal; Enter takes the first menu item, "Log in with a web browser".
    const menu = { prompt: /How would you like to authenticate/, keys: '\r', taken: /Opening browser/ }
    const login = runOnTerminal(command, menu, { home, env: { ...env, BROWSER: `${browser} %s` } })
    const url = await contentOf(opened, login)
    t.match(url, /\/auth\/client\?callback=http%3A\/\/localhost%3A\d+$/, 'one parameter, slashes bare')
    const delivery = await sim.deliver(url)
    t.match(delivery, { status: 200, body: 'null' })

    exits(t, await login, 0, /Authenticated with Prefect Cloud! .*'prefect\/terry'/)
    t.match(readFileSync(join(home, 'profiles.toml'), 'utf8'), delivery.key)
  })
}

t.test('a flow runs through the simulator on a real server', async (t) => {
  const serving = findPrefect('3', t)
  if (serving === undefined) return
  const server = await startPrefectServer(t, serving)
  for (const which of VERSIONS) {
    await t.test(`of Prefect ${which}`, async (t) => {
      const client = findPrefect(which, t)
      if (client !== undefined) await runsFlow(t, client, server)
    })
  }
})

async function runsFlow(t: Test, client: PrefectClient, server: PrefectServer): Promise<void> {
  const { sim, home, key, env } = await openCase(t, server.apiUrl)
  const before = (await completedRuns(server)).length
  const api = { PREFECT_API_URL: sim.workspaceUrl('prefect/terry'), PREFECT_API_KEY: key }

  const ran = await runPython(client, [FLOW], { home, env: { ...env, ...api } })
  exits(t, ran, 0, /The fun is about to begin[\s\S]*Completed\(\)/)
  t.equal((await completedRuns(server)).length, before + 1, 'the server knows the run')

  // 2.x sends events from tasks and workers only, and this flow has no tasks.
  const events = sim.requests.find(({ path }) => path.endsWith('/events/in'))
  t.equal(events?.status, client.which === '3' ? 101 : undefined, 'events go over the WebSocket')
  const known = new Set(sim.keys.all().map(({ fingerprint }) => fingerprint))
  t.ok(
    sim.requests.every((request) => request.key !== undefined && known.has(request.key)),
    'every request carried the key',
  )

  const rejected = { ...env, ...api, PREFECT_API_KEY: `pnu_${'x'.repeat(36)}` }
  const refused = await runPython(client, [FLOW], { home, env: rejected })
  t.not(refused.code, 0, 'a wrong key does not run it')
  t.match(refused.output, /401 Unauthorized/)
  t.equal((await completedRuns(server)).length, before + 1, 'and nothing reached the server')
}

/** The URL passed to the browser; rejects with the client's output if it ends without opening one. */
async function contentOf(path: string, login: Promise<Ran>): Promise<string> {
  let ended: Ran | undefined
  void login.then((ran) => {
    ended = ran
  })
  while (!existsSync(path)) {
    if (ended !== undefined) throw new Error(`the client opened no browser: ${ended.output}`)
    await sleep(100)
  }
  return readFileSync(path, 'utf8')
}

/** Asks the server directly. */
async function completedRuns(server: PrefectServer) {
  const answer = await fetch(`${server.apiUrl}/flow_runs/filter`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: '{}',
  })
  const runs = FlowRuns.parse(await answer.json())
  return runs.filter(({ state }) => state.type === 'COMPLETED')
}
