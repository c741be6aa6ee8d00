import { type ChildProcess, spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { request } from 'node:http'
import { createConnection } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { parseInheritedSockets } from '../../src/daemon/inherited-sockets.js'

const fixture = (name: string) => fileURLToPath(new URL(`../fixtures/${name}`, import.meta.url))

for (const [what, env, expected] of [
  ['nothing without activation', {}, {}],
  ['both by their names', { LISTEN_FDS: '2', LISTEN_FDNAMES: 'tcp:unix' }, { tcp: 3, unix: 4 }],
  ['one alone', { LISTEN_FDS: '1', LISTEN_FDNAMES: 'unix' }, { unix: 3 }],
  ['those of another process are not ours', { LISTEN_FDS: '1', LISTEN_FDNAMES: 'unix', LISTEN_PID: '8' }, {}],
  ['a count that is none', { LISTEN_FDS: 'many', LISTEN_FDNAMES: 'unix' }, {}],
  ['a negative count', { LISTEN_FDS: '-1', LISTEN_FDNAMES: 'unix' }, {}],
] as const) {
  t.test(`LISTEN_*: ${what}`, async (t) => {
    t.same(parseInheritedSockets({ LISTEN_PID: '7', ...env }, 7), expected)
  })
}

for (const names of ['', 'unknown', 'unix:unix', 'unix:dns']) {
  t.test(`refuses sockets named '${names}'`, async (t) => {
    const env = { LISTEN_PID: '7', LISTEN_FDS: names.includes(':') ? '2' : '1', LISTEN_FDNAMES: names }
    t.throws(() => parseInheritedSockets(env, 7), { code: 'setting_invalid', hint: /service install/ })
  })
}

// Who passes sockets on is systemd.
const skip = process.platform === 'linux' ? false : 'systemd is for Linux'

interface Said {
  readonly opened: readonly { readonly address: string; readonly state: string; readonly problem?: string }[]
  readonly child: string
  readonly code: string
  readonly message: string
  readonly hint: string
}

/** The program with sockets opened by somebody else; killed when the test ends. */
function activate(t: Test, names: string, specs: readonly string[], env: Record<string, string> = {}) {
  const program = [process.execPath, '--import=tsx', fixture('inherited-server.ts')]
  const child: ChildProcess = spawn('python3', [fixture('activate.py'), names, ...specs, '--', ...program], {
    env: { PATH: process.env.PATH, ...env },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  t.teardown(() => child.kill('SIGKILL'))
  return new Promise<Said>((resolve, reject) => {
    let text = ''
    child.stdout?.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk
      if (text.endsWith('\n')) resolve(JSON.parse(text))
    })
    child.on('exit', () => reject(new Error(`ended without a word: ${text}`)))
  })
}

function privateDir(t: Test): string {
  const dir = mkdtempSync(join(tmpdir(), 'pab-in-'))
  t.teardown(() => rmSync(dir, { recursive: true, force: true }))
  return dir
}

function get(where: { readonly socketPath: string } | { readonly port: number }): Promise<string> {
  return new Promise((resolve, reject) => {
    request({ host: '127.0.0.1', ...where, agent: false }, (response) => {
      let text = ''
      response.setEncoding('utf8').on('data', (chunk: string) => {
        text += chunk
      })
      response.on('end', () => resolve(text))
    })
      .on('error', reject)
      .end()
  })
}

t.test(
  'both are served, the addresses come from the kernel, and no child sees LISTEN_*',
  { skip },
  async (t) => {
    const path = join(privateDir(t), 'a socket')
    const said = await activate(t, 'unix:tcp', [path, '127.0.0.1:0'])
    t.match(said.opened, [
      { address: path, state: 'listening', inherited: true },
      { address: /^http:\/\/127\.0\.0\.1:[1-9]\d*$/, state: 'listening', inherited: true },
    ])
    t.equal(said.child, '')
    t.equal(await get({ socketPath: path }), 'unix')
    t.equal(await get({ port: Number(said.opened[1]?.address.split(':')[2]) }), 'tcp')
  },
)

t.test('leaves the descriptors of another process alone', { skip }, async (t) => {
  const said = await activate(t, 'unix', [join(privateDir(t), 's')], { LISTEN_PID: '1' })
  t.same(said, { opened: [], child: '' })
})

t.test("the owner's socket is never a port, whatever its name", { skip }, async (t) => {
  const said = await activate(t, 'unix', ['127.0.0.1:0'])
  t.match(said, { code: 'setting_invalid', message: /'unix' is not a unix socket/, hint: /service install/ })
})

t.test("the owner's socket is never an abstract name, which has no permissions", { skip }, async (t) => {
  t.match(await activate(t, 'unix', ['@pab-test-abstract']), { code: 'setting_invalid' })
})

t.test('refuses a unix socket in place of a TCP port', { skip }, async (t) => {
  const said = await activate(t, 'tcp', [join(privateDir(t), 's')])
  t.match(said, { code: 'setting_invalid', message: /'tcp' is not a TCP socket/ })
})

t.test('closes a port that the network reaches, and says so', { skip }, async (t) => {
  const said = await activate(t, 'tcp', ['0.0.0.0:0'])
  t.match(said.opened, [{ state: 'failed', problem: /0\.0\.0\.0 instead of 127\.0\.0\.1/ }])
  await t.rejects(get({ port: Number(said.opened[0]?.address.split(':')[2]) }))
})

t.test('refuses a socket that other users can reach', { skip }, async (t) => {
  const dir = privateDir(t)
  t.match(await activate(t, 'unix', [join(dir, 's')], { SOCKET_UMASK: '000' }), {
    code: 'state_dir_unsafe',
    message: /has mode 777/,
    hint: /^chmod 600 .*SocketMode=0600/,
  })
  mkdirSync(join(dir, 'open'))
  chmodSync(join(dir, 'open'), 0o755)
  t.match(await activate(t, 'unix', [join(dir, 'open', 's')]), {
    code: 'state_dir_unsafe',
    hint: /^chmod 700 /,
  })
})

t.test('the daemon hands no key to who waits in a socket that other users can reach', { skip }, async (t) => {
  const home = privateDir(t)
  mkdirSync(join(home, '.prefect'))
  const url = `https://api.prefect.cloud/api/accounts/${randomUUID()}/workspaces/${randomUUID()}`
  const profile = `[profiles.p]\nPREFECT_API_URL = "${url}"\nPREFECT_API_KEY = "pnu_${'x'.repeat(36)}"\n`
  writeFileSync(join(home, '.prefect', 'profiles.toml'), `active = "p"\n${profile}`, { mode: 0o600 })
  mkdirSync(join(home, 'open'))
  chmodSync(join(home, 'open'), 0o755)
  const path = join(home, 'open', 's')
  const program = [process.execPath, fileURLToPath(new URL('../../dist/authd.js', import.meta.url))]
  const args = [fixture('activate.py'), 'unix', path, '--', ...program, '--vault-backend=file', '--port=off']
  const child = spawn('python3', args, {
    env: { PATH: process.env.PATH, HOME: home, PREFECT_AUTH_SOCKET: path, SOCKET_UMASK: '000' },
    stdio: 'ignore',
  })
  t.teardown(() => child.kill('SIGKILL'))
  const ended = new Promise((resolve) => child.once('exit', resolve))
  t.equal(await askEarly(path), '')
  t.equal(await ended, 1)
})

/** Sends a request as soon as somebody listens there, long before it is served; resolves with what came until the end. */
async function askEarly(path: string): Promise<string> {
  while (!existsSync(path)) await new Promise((resolve) => setTimeout(resolve, 5))
  return new Promise((resolve) => {
    const socket = createConnection(path)
    let text = ''
    socket.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk
    })
    // Between bind and listen nobody listens.
    socket.on('error', (error) => {
      if ('code' in error && error.code === 'ECONNREFUSED') resolve(askEarly(path))
    })
    socket.on('close', (hadError) => {
      if (!hadError || text !== '' || socket.bytesWritten > 0) resolve(text)
    })
    socket.write('GET /v1/credentials HTTP/1.1\r\nHost: authd\r\nConnection: close\r\n\r\n')
  })
}

t.test('does not remove a socket that it only inherited', { skip }, async (t) => {
  const path = join(privateDir(t), 's')
  const child = spawn(
    'python3',
    [
      fixture('activate.py'),
      'unix',
      path,
      '--',
      process.execPath,
      '--import=tsx',
      fixture('inherited-server.ts'),
    ],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  )
  await new Promise((resolve) => child.stdout.once('data', resolve))
  child.kill('SIGTERM')
  await new Promise((resolve) => child.once('exit', resolve))
  t.equal(existsSync(path), true)
})
