/** The main job with only the Cloud simulated: shipped programs, real clients, a real server. */
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { startCloudSimulator } from '../../sim/simulator.js'
import {
  findPrefect,
  type PrefectClient,
  prefectEnv,
  runPrefect,
  startPrefectServer,
  type Which,
} from '../fixtures/real-prefect.js'
import { type Shipped, startShipped, until } from '../fixtures/shipped.js'

const FLOW = fileURLToPath(new URL('../fixtures/basic_flow.py', import.meta.url))
const ACCOUNT = { handle: 'prefect', workspaces: ['terry', 'production'] }

t.setTimeout(600_000)

/** The credentials that are served now. */
async function served(broker: Shipped): Promise<Record<string, unknown>> {
  const { stdout } = await broker.shell(
    'curl -qsS --unix-socket "$(prefect-auth status --socket)" http://authd/v1/credentials',
  )
  const answer: unknown = JSON.parse(stdout)
  return typeof answer === 'object' && answer !== null ? { ...answer } : {}
}

async function serves(broker: Shipped, wanted: RegExp): Promise<void> {
  let last = ''
  await until(
    async () => {
      last = JSON.stringify(await served(broker))
      return wanted.test(last)
    },
    () => `${wanted} is not served, but ${last}`,
  )
}

/** A client that shares its profile file with the broker. */
function client(prefect: PrefectClient, broker: Shipped, cloud: { apiUrl: string; uiUrl: string }) {
  const home = join(broker.home, '.prefect')
  const env = { PREFECT_CLOUD_API_URL: cloud.apiUrl, PREFECT_CLOUD_UI_URL: cloud.uiUrl }
  return (...args: string[]) => runPrefect(prefect, args, { home, env, cwd: broker.home })
}

async function logIn(t: Test, broker: Shipped, key: string): Promise<void> {
  const login = await broker.cli(['login', '--key-stdin', '--exchange', '--workspace', 'prefect/terry'], {
    input: key,
  })
  t.equal(login.code, 0, login.stderr)
  t.match(
    login.stdout,
    /^Logged in as terry \(terry@example\.com\), workspace prefect\/terry, profile cloud; key expires \d{4}-\d\d-\d\d\n$/,
  )
}

for (const which of ['3', '2'] satisfies Which[]) {
  t.test(`the tutorial's flow runs through exec with Prefect ${which}`, async (t) => {
    const prefect = findPrefect(which, t)
    if (prefect === undefined) return
    const server = await startPrefectServer(t, prefect)
    const cloud = await startCloudSimulator({ accounts: [ACCOUNT], workspaceBackend: server.apiUrl })
    t.teardown(() => cloud.close())
    const broker = await startShipped(t, {
      PREFECT_CLOUD_API_URL: cloud.apiUrl,
      PREFECT_CLOUD_UI_URL: cloud.uiUrl,
    })
    const key = cloud.issueKey({ name: 'pasted' })
    await logIn(t, broker, key)

    const ran = await broker.cli(['exec', '--', prefect.python, FLOW], {
      env: prefectEnv(join(broker.home, '.prefect')),
    })

    t.equal(ran.code, 0, ran.stderr)
    t.match(ran.stdout + ran.stderr, /The fun is about to begin/)
    t.match(ran.stdout + ran.stderr, /Completed\(\)/)
    const runs = await fetch(`${server.apiUrl}/flow_runs/filter`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: '{}',
    })
    t.match(await runs.json(), [{ state_type: 'COMPLETED' }], 'the server knows the run')
    const posts = cloud.requests.filter(({ path }) => path.includes('/workspaces/'))
    t.not(posts.length, 0)
    t.ok(
      posts.every(({ key: used }) => used !== undefined),
      'every request carried a key',
    )
  })
}

t.test('serves what the real client writes to the profile file', async (t) => {
  const prefect = findPrefect('3', t)
  if (prefect === undefined) return
  const cloud = await startCloudSimulator({ accounts: [ACCOUNT] })
  t.teardown(() => cloud.close())
  const broker = await startShipped(t, {
    PREFECT_CLOUD_API_URL: cloud.apiUrl,
    PREFECT_CLOUD_UI_URL: cloud.uiUrl,
  })
  const run = client(prefect, broker, cloud)
  const plainKey = cloud.issueKey({ name: 'by prefect itself' })
  await run('profile', 'create', 'work')
  await run('profile', 'use', 'work')
  await serves(broker, /"profile":"work","kind":"none"/)

  await t.test('its own login: the plain-text key is reported, and adopted on request', async (t) => {
    const login = await run('cloud', 'login', '--key', plainKey, '--workspace', 'prefect/terry')
    t.equal(login.code, 0, login.output)
    await serves(broker, new RegExp(`"kind":"cloud".*${plainKey}.*"origin":"profile"`))

    const status = await broker.cli([])
    t.match(status.stdout, /prefect-auth adopt/)

    const adopted = await broker.cli(['adopt'])
    t.equal(adopted.code, 0, adopted.stderr)
    await serves(broker, new RegExp(plainKey))
    const { stdout } = await broker.shell('cat ~/.prefect/profiles.toml')
    t.notMatch(stdout, plainKey)
  })

  await t.test('its choice of workspace', async (t) => {
    // The client needs a key for this; the broker's `exec` provides it.
    const env = prefectEnv(join(broker.home, '.prefect'))
    const ls = await broker.cli(['exec', '--', prefect.bin, 'cloud', 'workspace', 'ls'], { env })
    t.match(ls.stdout, /prefect\/production/)
    const set = await broker.cli(
      ['exec', '--', prefect.bin, 'cloud', 'workspace', 'set', '--workspace', 'prefect/production'],
      { env },
    )
    t.equal(set.code, 0, set.stdout + set.stderr)
    const { workspaceId } = { workspaceId: cloud.directory.workspace('prefect/production').id }
    await serves(broker, new RegExp(workspaceId))
  })

  await t.test('its settings and profiles', async () => {
    await run('config', 'set', 'PREFECT_API_URL=http://127.0.0.1:4299/api')
    await serves(broker, /"kind":"server".*127\.0\.0\.1:4299/)
    await run('profile', 'use', 'local')
    await serves(broker, /"profile":"local","kind":"server".*127\.0\.0\.1:4200/)
    await run('profile', 'use', 'work')
    await run('config', 'unset', '-y', 'PREFECT_API_URL')
    await serves(broker, /"profile":"work","kind":"none"/)
  })
})

t.test('curl, as documented', async (t) => {
  const cloud = await startCloudSimulator({ accounts: [ACCOUNT] })
  t.teardown(() => cloud.close())
  const broker = await startShipped(t, {
    PREFECT_CLOUD_API_URL: cloud.apiUrl,
    PREFECT_CLOUD_UI_URL: cloud.uiUrl,
  })
  await logIn(t, broker, cloud.issueKey())
  const key = (await broker.cli(['exec', '--', 'printenv', 'PREFECT_API_KEY'])).stdout.trim()
  t.match(key, /^pnu_/)

  const lines: [string, RegExp][] = [
    [
      'S="$(prefect-auth status --socket)"; curl -qfsS --unix-socket "$S" http://authd/v1/status',
      /"daemon":/,
    ],
    [
      'S="$(prefect-auth status --socket)"; eval "$(curl -qsS --unix-socket "$S" http://authd/v1/env)"; echo "$PREFECT_API_KEY"',
      new RegExp(`^${key}$`, 'm'),
    ],
    [
      `TOKEN="$(prefect-auth token create --name test --power use --expires-in 1h --json | sed -E 's/.*"token": ?"([^"]+)".*/\\1/' | tr -d '\\n ' | grep -oE 'pab_[A-Za-z0-9_-]{43}')"
       curl -qfsS --noproxy '*' -H "Authorization: Bearer $TOKEN" "$(prefect-auth status --url)/v1/credentials"`,
      new RegExp(key),
    ],
    [
      'TOKEN="$(prefect-auth token create --name narrow --power inspect)"; curl -qsS -H "Authorization: Bearer $TOKEN" "$(prefect-auth status --url)/v1/credentials"',
      /"code":"power_missing"/,
    ],
  ]
  for (const [line, wanted] of lines) {
    const { stdout, stderr } = await broker.shell(line)
    t.match(stdout, wanted, `${line}\n${stderr}`)
  }
})
