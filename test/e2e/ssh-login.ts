/** `prefect-auth login --on HOST`, over a real ssh connection: the daemon is there, the browser is here. */
import { spawn } from 'node:child_process'
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { get } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { type Simulator, startCloudSimulator } from '../../sim/simulator.js'
import { openPseudoTerminal } from '../fixtures/pseudo-terminal.js'
import { runToEnd } from '../fixtures/run-to-end.js'
import { until } from '../fixtures/shipped.js'
import { connectSshHost, type SshHost, whyNoSsh } from './fixtures/ssh-host.js'

const skip = whyNoSsh() ?? false
const DIST = fileURLToPath(new URL('../../dist/', import.meta.url))

t.setTimeout(880_000)

interface Scene {
  readonly sim: Simulator
  readonly remote: SshHost
  /** Of the machine with the browser. */
  readonly env: Record<string, string>
  readonly command: string
  /** Installs a program there. */
  install(name: string, text: string): void
  /** Runs a command of the remote machine. */
  auth(args: string): ReturnType<SshHost['run']>
  /** The page that the browser here was told to open. */
  opened(): Promise<string>
  readonly here: string
  readonly there: string
}

/** A daemon there, none here, and a browser that writes down what it opens. */
async function setUp(t: Test, { allowTunnels = true, isInstalled = true } = {}): Promise<Scene> {
  const sim = await startCloudSimulator({ accounts: [{ handle: 'prefect', workspaces: ['terry', 'other'] }] })
  t.teardown(() => sim.close())
  const remote = await connectSshHost(t)
  const [here, there] = ['here', 'there'].map((name) => mkdtempSync(join(tmpdir(), `pab-${name}-`)))
  if (here === undefined || there === undefined) throw new Error('no directories')
  t.teardown(() => {
    for (const dir of [here, there]) rmSync(dir, { recursive: true, force: true })
  })
  remote.forward('-R', Number(new URL(sim.apiUrl).port))
  const bin = join(there, '.local', 'bin')
  mkdirSync(bin, { recursive: true })
  const settings = `export HOME='${there}' PREFECT_AUTH_SOCKET='${there}/run/authd.sock' PREFECT_CLOUD_API_URL='${sim.apiUrl}' PREFECT_CLOUD_UI_URL='${sim.uiUrl}'`
  const install = (name: string, text: string) => {
    writeFileSync(join(bin, name), `#!/bin/sh\n${text}\n`)
    chmodSync(join(bin, name), 0o755)
  }
  if (isInstalled) install('prefect-auth', `${settings}; exec '${process.execPath}' '${DIST}auth.cjs' "$@"`)
  install(
    'daemon',
    `${settings}; exec '${process.execPath}' '${DIST}authd.js' --vault-backend=file --port=off`,
  )
  const auth = (args: string) => remote.run(`'${bin}/prefect-auth' ${args}`)
  if (isInstalled) {
    const daemon = remote.run(`exec '${bin}/daemon'`)
    await until(
      async () => (await auth('status --socket')).code === 0,
      () => 'no daemon over there',
    )
    t.teardown(async () => {
      await remote.run(`curl -qsS -X POST --unix-socket '${there}/run/authd.sock' http://authd/v1/shutdown`)
      await daemon
    })
  }
  const browser = join(here, 'browser')
  writeFileSync(browser, `#!/bin/sh\necho "$1" >'${here}/page'\n`, { mode: 0o755 })
  mkdirSync(join(here, 'tmp'))
  return {
    sim,
    remote,
    here,
    there,
    auth,
    install,
    env: {
      PATH: `${remote.client({ home: there, allowTunnels })}:${process.env.PATH}`,
      HOME: here,
      TMPDIR: join(here, 'tmp'),
      BROWSER: browser,
      PREFECT_CLOUD_UI_URL: sim.uiUrl,
    },
    command: `exec '${process.execPath}' '${DIST}auth.cjs' login --on server`,
    async opened() {
      let page = ''
      await until(
        () => {
          page = read(join(here, 'page')).trim()
          return page !== ''
        },
        () => 'the browser was not opened',
      )
      return page
    },
  }
}

function read(path: string): string {
  return readFileSync(path, { encoding: 'utf8', flag: 'a+' })
}

const portOf = (page: string) => Number(/localhost%3A(\d+)/.exec(page)?.[1])

t.test('the browser here logs in the daemon there, whose questions are asked here', { skip }, async (t) => {
  const { sim, env, command, opened, auth, here } = await setUp(t)
  const terminal = openPseudoTerminal(t, { env, command })
  await sim.deliver(await opened(), { mode: 'get' })
  await terminal.waitFor('Use it for profile cloud? [y/N]')
  terminal.type('y\r')
  await terminal.waitFor('prefect/other')
  terminal.type('\u001b[B')
  await terminal.waitFor(/●[^\n]*prefect\/other/)
  terminal.type('\r')
  await terminal.waitFor('Logged in as terry (terry@example.com), workspace prefect/other')
  t.equal(await terminal.ended, 0, terminal.screen())
  const { said } = await auth('get key')
  t.match(said, /^pnu_/)
  t.notMatch(terminal.screen(), /pnu_/)
  t.same(readdirSync(join(here, 'tmp')), [], 'nothing is left here')
})

t.test('without a terminal, and the login ends with the command here', { skip }, async (t) => {
  const { sim, env, command, auth, here } = await setUp(t)
  const run = (more: string) => runToEnd('sh', ['-c', `${command} ${more}`], { env, timeout: 600_000 })
  const page = async (child: ReturnType<typeof spawn>) => {
    let said = ''
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      said += text
    })
    let url = ''
    await until(
      () => {
        url = /^https?:\S+callback=\S+/m.exec(said)?.[0] ?? ''
        return url !== '' && said.includes('Open the page')
      },
      () => `no page: ${said}`,
    )
    return url
  }
  const child = spawn('sh', ['-c', `${command} --owner terry@example.com`], {
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const ended = new Promise((resolve) => child.once('close', resolve))
  await page(child)
  t.match((await auth('status --json')).said, /"state": *"waiting"/)
  child.kill('SIGINT')
  t.equal(await ended, 130)
  await until(
    async () => !/"state": *"waiting"/.test((await auth('status --json')).said),
    () => 'the login there goes on',
  )
  t.same(readdirSync(join(here, 'tmp')), [])

  const second = spawn('sh', ['-c', `${command} --owner terry@example.com -w prefect/terry --json`], {
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let out = ''
  second.stdout.setEncoding('utf8').on('data', (text: string) => {
    out += text
  })
  const done = new Promise((resolve) => second.once('close', resolve))
  await sim.deliver(await page(second), { mode: 'get' })
  t.equal(await done, 0)
  t.match(JSON.parse(out), { state: 'stored', workspace: { handle: 'prefect/terry' } })
  t.equal(read(join(here, 'page')), '', 'no browser without a terminal')
  const none = await run('--owner ada@example.com --key-stdin')
  t.match(none, { code: 2, stderr: /--on cannot be combined/ })
  t.match(await run('--on=-oProxyCommand=x'), { code: 2, stderr: /USER@HOST/ })
})

t.test('a port that is taken there: the login begins again on another', { skip }, async (t) => {
  const { sim, env, command, opened, install, there, auth, remote } = await setUp(t)
  const program = read(join(there, '.local', 'bin', 'prefect-auth')).replace('#!/bin/sh\n', '')
  // Another program is on the first port that comes over.
  install(
    'prefect-auth',
    `if ! [ -e '${there}/once' ]; then
      touch '${there}/once'
      for word; do [ "$before" = --callback-port ] && port=$word; before=$word; done
      '${process.execPath}' -e "require('net').createServer().listen($port, '::1', () => require('fs').writeFileSync('${there}/held', ''))" </dev/null >/dev/null 2>&1 &
      echo $! >'${there}/pid'
      until [ -e '${there}/held' ]; do sleep 0.1; done
    fi
    ${program}`,
  )
  writeFileSync(join(there, 'once'), '')
  t.teardown(() => remote.run(`kill $(cat '${there}/pid')`))
  rmSync(join(there, 'once'))
  const terminal = openPseudoTerminal(t, {
    env,
    command: `${command} --owner terry@example.com -w prefect/terry`,
  })
  await terminal.waitFor('(login_port_unavailable)')
  await terminal.waitFor('trying another one')
  await sim.deliver(await opened(), { mode: 'get' })
  t.equal(await terminal.ended, 0, terminal.screen())
  t.match((await auth('status')).said, /terry/)
})

t.test('a login that is pending there is joined, on its port', { skip }, async (t) => {
  const { sim, env, command, opened, auth, there } = await setUp(t)
  const pending = auth(`login --no-browser --owner terry@example.com -w prefect/terry 2>'${there}/said'`)
  await until(
    () => portOf(read(join(there, 'said'))) > 0,
    () => 'no page over there',
  )
  const terminal = openPseudoTerminal(t, { env, command })
  const page = await opened()
  t.equal(portOf(page), portOf(read(join(there, 'said'))))
  await sim.deliver(page, { mode: 'get' })
  t.equal(await terminal.ended, 0, terminal.screen())
  t.equal((await pending).code, 0)
})

t.test(
  'where the server forbids tunnels, the address is pasted; the key is nowhere here',
  { skip },
  async (t) => {
    const { sim, env, command, opened, auth, here } = await setUp(t, { allowTunnels: false })
    const key = sim.issueKey({ name: 'of the browser' })
    const terminal = openPseudoTerminal(t, {
      env,
      command: `${command} --owner terry@example.com -w prefect/terry`,
    })
    const port = portOf(await opened())
    // Not by fetch, which may wait for ever for a connection that is closed before its request is written.
    const refused = await new Promise((resolve) => {
      get(`http://localhost:${port}/?key=${key}`, ({ statusCode }) => resolve(statusCode)).once(
        'error',
        resolve,
      )
    })
    t.match(String(refused), /socket hang up|ECONNRESET/)
    await terminal.waitFor('paste an API key or address here')
    terminal.type(`http://localhost:${port}/?key=${key}\r`)
    t.equal(await terminal.ended, 0, terminal.screen())
    t.match((await auth('status')).said, /terry/)
    t.notMatch(terminal.screen(), key)
    const left = await runToEnd('grep', ['-rl', key, here])
    t.equal(left.stdout, '')
  },
)

t.test("names a missing and an older program, and opens nobody else's page", { skip }, async (t) => {
  const { sim, env, command, install, remote, there, here } = await setUp(t, { isInstalled: false })
  const run = (more: string) => runToEnd('sh', ['-c', `${command} ${more}`], { env, timeout: 600_000 })
  t.match(await run(''), { code: 1, stderr: /no prefect-auth on server.*\(remote_program_missing\)/ })
  // What the versions before this one say.
  install('prefect-auth', `echo "prefect-auth: unknown option '$4'" >&2; exit 2`)
  const older = await run('')
  install('prefect-auth', `echo "prefect-auth: unknown option '$3'" >&2; exit 2`)
  t.match(`${older.stderr}${(await run('')).stderr}`, /on server is older.*\(remote_program_older\)/)
  install(
    'prefect-auth',
    `printf '\\n%s/logout?x=/auth/client?callback=1&callback=http%%3A//localhost%%3A%s\\n' '${sim.uiUrl}' "$4"
     printf '\\nhttps://evil.example/auth/client?callback=http%%3A//localhost%%3A%s&g=true\\n\\n' "$4"; cat >/dev/null`,
  )
  const terminal = openPseudoTerminal(t, { env, command })
  await terminal.waitFor('The page is not opened: it is on https://evil.example')
  // What is typed while the prompt takes the terminal over is discarded by the system: a person types it again.
  const typing = setInterval(() => terminal.type('\u0003'), 500)
  await terminal.ended
  clearInterval(typing)
  t.equal(read(join(here, 'page')), '')
  await remote.run(`rm -f '${there}/.local/bin/prefect-auth'`)
  const nowhere = await runToEnd('sh', ['-c', command.replace('server', 'root@localhost:1')], { env })
  t.match(nowhere, { code: 1, stderr: /\(ssh_failed\)/ })
})
