/** `exec --proxy` and `env --proxy` as shipped, with the daemon and a real Prefect client. */
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { startCloudSimulator } from '../../sim/simulator.js'
import { findPrefect, prefectEnv, startPrefectServer, type Which } from '../fixtures/real-prefect.js'
import { startShipped } from '../fixtures/shipped.js'

const FLOW = fileURLToPath(new URL('../fixtures/basic_flow.py', import.meta.url))

t.setTimeout(880_000)

for (const which of ['3', '2'] satisfies Which[]) {
  t.test(`Prefect ${which} runs a flow and reads Cloud through the proxy, and holds no key`, async (t) => {
    const prefect = findPrefect(which, t)
    if (prefect === undefined) return
    const server = await startPrefectServer(t, prefect)
    const cloud = await startCloudSimulator({
      accounts: [{ handle: 'prefect', workspaces: ['terry', 'production'] }],
      workspaceBackend: server.apiUrl,
    })
    t.teardown(() => cloud.close())
    const broker = await startShipped(t, {
      PREFECT_CLOUD_API_URL: cloud.apiUrl,
      PREFECT_CLOUD_UI_URL: cloud.uiUrl,
    })
    const login = await broker.cli(['login', '--key-stdin', '--exchange', '--workspace', 'prefect/terry'], {
      input: cloud.issueKey({ name: 'pasted' }),
    })
    t.equal(login.code, 0, login.stderr)
    const env = prefectEnv(join(broker.home, '.prefect'))
    const through = (...command: string[]) => broker.cli(['exec', '--proxy', '--', ...command], { env })

    const seen = await through('sh', '-c', 'env')
    t.match(seen.stdout, /PREFECT_API_KEY=pab_[\w-]{43}\n/)
    t.match(seen.stdout, /PREFECT_CLOUD_API_URL=http:\/\/127\.0\.0\.1:\d+\/proxy\/cloud\/api\n/)
    t.notMatch(seen.stdout, 'pnu_')
    const ran = await through(prefect.python, FLOW)
    t.equal(ran.code, 0, ran.stderr)
    t.match(ran.stdout + ran.stderr, /Completed\(\)/)
    const listed = await through(prefect.bin, 'cloud', 'workspace', 'ls')
    t.equal(listed.code, 0, listed.stderr)
    t.match(listed.stdout, /prefect\/production[\s\S]*\* prefect\/terry/)
    const runs = await broker.shell(`eval "$(prefect-auth env --proxy)"; '${prefect.bin}' flow-run ls`)
    t.equal(runs.code, 0, runs.stderr)

    const left = await broker.shell(
      `eval "$(prefect-auth env --proxy)"; eval "$(prefect-auth env)"; env | grep -i '^PREFECT_\\|^NO_PROXY'`,
    )
    t.match(left.stdout, /PREFECT_API_KEY=pnu_/)
    t.notMatch(
      left.stdout,
      /pab_|SILENCE|\/proxy\//,
      'nothing of the proxy is left in a shell that leaves it',
    )

    const tokens = await broker.cli(['token', 'ls', '--json'])
    t.match(tokens.stdout, /"name": ?"prefect cloud workspace ls"/)
    const audit = await broker.cli(['audit', '--json'])
    t.match(audit.stdout, /"action": ?"proxy"/)
    t.notMatch(audit.stdout, /pab_/)
  })
}
