/** The recipes of docs/ssh.md, over a real ssh connection to a host with its own network. */
import { mkdtempSync, readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { startCloudSimulator } from '../../sim/simulator.js'
import { findPrefect, startPrefectServer } from '../fixtures/real-prefect.js'
import { startShipped, until } from '../fixtures/shipped.js'
import { connectSshHost, whyNoSsh } from './fixtures/ssh-host.js'

const skip = whyNoSsh() ?? false
const DIST = fileURLToPath(new URL('../../dist/', import.meta.url))
const FLOW = fileURLToPath(new URL('../fixtures/basic_flow.py', import.meta.url))

t.setTimeout(880_000)

t.test('a remote job goes through the local broker and never holds the key', { skip }, async (t) => {
  const prefect = findPrefect('3', t)
  if (prefect === undefined) return
  const server = await startPrefectServer(t, prefect)
  const sim = await startCloudSimulator({
    accounts: [{ handle: 'prefect', workspaces: ['terry'] }],
    workspaceBackend: server.apiUrl,
  })
  t.teardown(() => sim.close())
  const broker = await startShipped(t, { PREFECT_CLOUD_API_URL: sim.apiUrl, PREFECT_CLOUD_UI_URL: sim.uiUrl })
  const key = sim.issueKey({ name: 'pasted' })
  const login = await broker.cli(['login', '--key-stdin', '--workspace', 'prefect/terry'], { input: key })
  t.equal(login.code, 0, login.stderr)
  const { stdout: address } = await broker.cli(['status', '--url'])
  const remote = await connectSshHost(t)
  const work = mkdtempSync(join(tmpdir(), 'pab-remote-'))
  t.teardown(() => remote.run(`rm -rf '${work}'`))

  const before = await remote.run(`curl -qsS --max-time 2 ${address.trim()}/livez`)
  t.match(before.said, /refused|Failed to connect/, 'it has its own 127.0.0.1')
  remote.forward('-R', Number(new URL(address).port))
  const { stdout: exports } = await broker.cli(['env', '--proxy'])
  const job = `export HOME='${work}' PREFECT_HOME='${work}'\n${exports}\nenv\nexec '${prefect.python}' '${FLOW}'\n`
  const ran = await remote.run('sh', job)
  t.equal(ran.code, 0, ran.said)
  t.match(ran.said, /PREFECT_API_KEY=pab_/)
  t.match(ran.said, /Completed\(\)/)
  t.notOk(ran.said.includes(key), 'the key is nowhere on the remote host')
})

t.test('the local browser logs in the remote daemon', { skip }, async (t) => {
  const sim = await startCloudSimulator({ accounts: [{ handle: 'prefect', workspaces: ['terry'] }] })
  t.teardown(() => sim.close())
  const remote = await connectSshHost(t)
  const home = mkdtempSync(join(tmpdir(), 'pab-remote-'))
  t.teardown(() => remote.run(`rm -rf '${home}'`))
  remote.forward('-R', Number(new URL(sim.apiUrl).port))
  const environment = `export HOME='${home}' PREFECT_AUTH_SOCKET='${home}/run/authd.sock' PREFECT_CLOUD_API_URL='${sim.apiUrl}' PREFECT_CLOUD_UI_URL='${sim.uiUrl}'; PATH='${join(process.execPath, '..')}':$PATH;`
  const daemon = remote.run(`${environment} exec node '${DIST}authd.js' --vault-backend=file --port=off`)
  const auth = (args: string) => remote.run(`${environment} exec node '${DIST}auth.cjs' ${args}`)
  await until(
    async () => (await auth('status --socket')).code === 0,
    () => 'no daemon over there',
  )

  const page = join(home, 'page')
  const login = auth(`login --no-browser --owner terry@example.com -w prefect/terry 2>'${page}'`)
  let url = ''
  await until(
    () => {
      url = /https?:\/\/\S+callback=\S+/.exec(readPage(page))?.[0] ?? ''
      return url !== ''
    },
    () => `no page: ${readPage(page)}`,
  )
  const [, port = ''] = /localhost(?:%3A|:)(\d+)/i.exec(url) ?? []
  // It says how the browser can reach it.
  await until(
    () => readPage(page).includes(`ssh -L ${port}:localhost:${port} HOST`),
    () => `no way for the browser: ${readPage(page)}`,
  )
  remote.forward('-L', Number(port))
  await sim.deliver(url, { mode: 'get' })
  const { code, said } = await login
  t.equal(code, 0, `${said}${readPage(page)}`)
  t.match((await auth('status')).said, /terry/)
  await remote.run(`curl -qsS -X POST --unix-socket '${home}/run/authd.sock' http://authd/v1/shutdown`)
  await daemon
})

function readPage(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}
