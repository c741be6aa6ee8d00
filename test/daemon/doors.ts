import { spawn } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, statSync, writeFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import {
  createServer as createHttpServer,
  type Server as HttpServer,
  request as httpRequest,
} from 'node:http'
import { createServer, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import t, { type Test } from 'tap'
import { openDoors, openTcpListener, openUnixListener } from '../../src/daemon/doors.js'
import { findPortHolder } from '../../src/os/proc.js'
import { silentLog } from '../../src/std/log.js'
import type { ListenerFacts } from '../../src/tokens/access.js'
import { daemonOptions } from '../fixtures/daemon-options.js'

async function makeDir(t: Test): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'pab-'))
  t.after(() => rm(dir, { recursive: true, force: true }))
  return dir
}

function server(t: Test): Server {
  const one = createServer((socket) => socket.end())
  t.after(() => one.close())
  return one
}

t.test('opens a socket that only its user can reach, in a directory of its own', async (t) => {
  const path = join(await makeDir(t), 'run', 'authd.sock')
  t.match(await openUnixListener(server(t), path, 'socket'), {
    door: 'socket',
    address: path,
    state: 'listening',
  })
  t.equal(statSync(path).mode & 0o777, 0o600)
  t.equal(statSync(join(path, '..')).mode & 0o777, 0o700)
})

t.test('refuses a socket on which a program answers, replaces a stale one', async (t) => {
  const path = join(await makeDir(t), 'authd.sock')
  const first = server(t)
  await openUnixListener(first, path, 'socket')
  await t.rejects(openUnixListener(server(t), path, 'socket'), { code: 'already_running', hint: /status/ })
  const code = `require('node:net').createServer().listen(${JSON.stringify(`${path}2`)}, () => process.kill(process.pid, 'SIGKILL'))`
  const child = spawn(process.execPath, ['-e', code])
  await new Promise((resolve) => child.on('exit', resolve))
  t.equal(existsSync(`${path}2`), true)
  await openUnixListener(server(t), `${path}2`, 'socket')
})

t.test('a stopped program still holds its socket', async (t) => {
  const path = join(await makeDir(t), 'authd.sock')
  const code = `require('node:net').createServer().listen({ path: ${JSON.stringify(path)}, backlog: 1 }, () => console.log('up'))`
  const child = spawn(process.execPath, ['-e', code], { stdio: ['ignore', 'pipe', 'inherit'] })
  t.after(() => child.kill('SIGKILL'))
  await new Promise((resolve) => child.stdout.once('data', resolve))
  child.kill('SIGSTOP')
  // Its queue gets full, after which the system refuses in another way.
  for (let round = 0; round < 4; round += 1) {
    await t.rejects(openUnixListener(server(t), path, 'socket'), { code: 'already_running' })
  }
})

t.test(
  'says why there is no place for a socket once the runtime directory is gone, and what helps',
  async (t) => {
    // Nobody can create anything there, as nobody but root can in /run/user.
    await t.rejects(openUnixListener(server(t), '/proc/gone/prefect-auth/authd.sock', 'socket'), {
      code: 'disk_failed',
      message: 'cannot put the socket into /proc/gone/prefect-auth: /proc/gone is not there',
      hint: /loginctl enable-linger; .* env -u XDG_RUNTIME_DIR prefect-authd$/,
    })
  },
)

t.test('does not remove what is no socket', async (t) => {
  const path = join(await makeDir(t), 'authd.sock')
  writeFileSync(path, 'mine')
  await t.rejects(openUnixListener(server(t), path, 'socket'), {
    code: 'already_running',
    message: /is not a socket/,
  })
  t.equal(existsSync(path), true)
})

t.test(
  'a directory that others may enter is refused; of a shared one nobody is told to close it',
  async (t) => {
    const dir = await makeDir(t)
    mkdirSync(join(dir, 'open'))
    chmodSync(join(dir, 'open'), 0o755)
    await t.rejects(openUnixListener(server(t), join(dir, 'open', 's'), 'socket'), {
      code: 'state_dir_unsafe',
      hint: /^chmod 700 /,
    })
    chmodSync(join(dir, 'open'), 0o1777)
    await t.rejects(openUnixListener(server(t), join(dir, 'open', 's'), 'socket'), {
      code: 'state_dir_unsafe',
      hint: /PREFECT_AUTH_SOCKET/,
    })
  },
)

t.test('accepts a path of 103 bytes, refuses one of 104 before Node cuts it', async (t) => {
  const dir = await makeDir(t)
  const fits = join(dir, 's'.repeat(103 - dir.length - 1))
  await openUnixListener(server(t), fits, 'socket')
  t.equal(existsSync(fits), true)
  await t.rejects(openUnixListener(server(t), `${fits}s`, 'socket'), {
    code: 'socket_path_too_long',
    hint: /PREFECT_AUTH_SOCKET/,
  })
  t.equal(existsSync(`${fits}s`), false)
})

t.test('TCP: opens any free port, or says why not and who holds it', async (t) => {
  const open = await openTcpListener(server(t), 0, silentLog())
  t.match(open, { door: 'tcp', state: 'listening', address: /^http:\/\/127\.0\.0\.1:\d+$/ })
  const { port = 0 } = open
  const taken = await openTcpListener(server(t), port, silentLog())
  t.match(taken, {
    state: 'failed',
    problem: new RegExp(`port ${port} is taken by .*\\(pid ${process.pid}\\)`),
  })
  t.match(taken.problem, /PREFECT_AUTH_PORT/)
  t.equal(taken.port, undefined)
})

t.test('nobody holds a free port', async (t) => {
  const one = createServer()
  await new Promise<void>((resolve) => one.listen(0, '127.0.0.1', resolve))
  const address = one.address()
  const port = typeof address === 'object' && address !== null ? address.port : 0
  t.match(await findPortHolder(port), new RegExp(`\\(pid ${process.pid}\\)`))
  await new Promise((resolve) => one.close(resolve))
  t.equal(await findPortHolder(port), undefined)
})

/** The doors of a daemon, with a server behind each that echoes. */
async function openBoth(t: Test) {
  const dir = await makeDir(t)
  const paths = { main: join(dir, 'run', 'authd.sock'), restricted: join(dir, 'boxes', 'restricted.sock') }
  const servers: HttpServer[] = []
  const app = {
    openServer: () => {
      const one = createHttpServer((request, response) => request.pipe(response))
      servers.push(one)
      t.after(() => {
        one.close()
        one.closeAllConnections()
      })
      return one
    },
  }
  const listeners: ListenerFacts[] = []
  const options = daemonOptions(dir)
  const doors = await openDoors(
    {
      ...options,
      paths: { ...options.paths, socket: paths.main },
      settings: { ...options.settings, port: 'off', 'listen.restricted_socket': paths.restricted },
    },
    app,
    listeners,
  )
  return { dir, paths, doors, listeners, servers }
}

/** What the echo behind the socket answers; the code of the error if there is none. */
function echo(path: string): Promise<string> {
  return new Promise((resolve) => {
    const sent = httpRequest({ socketPath: path, method: 'POST', agent: false }, (message) => {
      message.setEncoding('utf8').on('data', resolve)
    })
    sent.on('error', (error) => resolve('code' in error ? String(error.code) : error.message))
    sent.end('hello')
  })
}

t.test('listens again where the file or the directory of a socket was removed', async (t) => {
  const { paths, doors, listeners } = await openBoth(t)
  for (const path of [paths.main, paths.restricted]) {
    for (const gone of [path, dirname(path)]) {
      await rm(gone, { recursive: true })
      t.equal(await echo(path), 'ENOENT')
      await doors.look()
      t.equal(await echo(path), 'hello', `${gone} was removed`)
      t.equal(statSync(path).mode & 0o777, 0o600)
      t.equal(statSync(dirname(path)).mode & 0o777, 0o700)
      t.match(listeners, [{ state: 'listening' }, { state: 'listening' }, { door: 'tcp' }])
    }
  }
})

t.test('leaves a socket alone that is still there', async (t) => {
  const { paths, doors, servers } = await openBoth(t)
  const { ino } = statSync(paths.main)
  await doors.look()
  t.equal(statSync(paths.main).ino, ino)
  t.equal(servers.length, 2)
})

t.test('an open connection goes on while its listener is replaced', async (t) => {
  const { paths, doors } = await openBoth(t)
  const heard = new Promise<string>((resolve) => {
    const sent = httpRequest({ socketPath: paths.main, method: 'POST', agent: false }, (message) => {
      message.setEncoding('utf8').once('data', async () => {
        await rm(paths.main)
        await doors.look()
        message.once('data', resolve)
        sent.end('second')
      })
    })
    sent.write('first')
  })
  t.equal(await heard, 'second')
  t.equal(await echo(paths.main), 'hello')
})

t.test('a path that somebody has taken is left to them, and taken back when they are gone', async (t) => {
  const { paths, doors, listeners } = await openBoth(t)
  await rm(paths.main)
  const other = createServer((socket) => socket.end())
  await new Promise<void>((resolve) => other.listen(paths.main, resolve))
  await doors.look()
  t.match(listeners[0], { state: 'failed', problem: /another program answers there/ })
  t.ok(existsSync(paths.main), 'their socket is still there')
  await doors.look()
  t.ok(existsSync(paths.main))
  await new Promise((resolve) => other.close(resolve))
  await doors.look()
  t.match(listeners[0], { state: 'listening' })
  t.equal(await echo(paths.main), 'hello')
})

t.test('closing a listener leaves a socket alone that somebody has put in its place', async (t) => {
  const { paths, doors, servers, listeners } = await openBoth(t)
  await rm(paths.main)
  const other = createHttpServer((_request, response) => response.end('theirs'))
  await new Promise<void>((resolve) => other.listen(paths.main, resolve))
  t.after(() => other.close())
  await doors.leave()
  for (const one of servers) one.close()
  t.equal(listeners[0]?.door, 'socket')
  t.equal(await echo(paths.main), 'theirs', 'it is there, and answers')
})

t.test('closing a listener removes its own socket', async (t) => {
  const { paths, doors, servers } = await openBoth(t)
  await doors.leave()
  for (const one of servers) one.close()
  t.notOk(existsSync(paths.main))
})

t.test('a directory that cannot be made again is tried at every look', async (t) => {
  const { dir, paths, doors, listeners } = await openBoth(t)
  await rm(join(dir, 'run'), { recursive: true })
  writeFileSync(join(dir, 'run'), 'in the way')
  for (let round = 0; round < 2; round += 1) {
    await doors.look()
    t.match(listeners[0], { state: 'failed', problem: /not a directory/ })
  }
  await rm(join(dir, 'run'))
  await doors.look()
  t.match(listeners[0], { state: 'listening' })
  t.equal(await echo(paths.main), 'hello')
})

t.test('never opens a listener again that the daemon has closed', async (t) => {
  const { paths, doors, servers } = await openBoth(t)
  for (const one of servers) one.close()
  await doors.look()
  t.notOk(existsSync(paths.main))
  t.equal(servers.length, 2)
})

t.test("says that only systemd can open systemd's socket again", async (t) => {
  const dir = await makeDir(t)
  const path = join(dir, 'run', 'authd.sock')
  mkdirSync(dirname(path), { mode: 0o700 })
  const systemd = createServer()
  await new Promise<void>((resolve) => systemd.listen(path, resolve))
  t.after(() => systemd.close())
  chmodSync(path, 0o600)
  const descriptor = Number(Reflect.get(Object(Reflect.get(systemd, '_handle')), 'fd'))
  const fixture = new URL('fixtures/inherited-doors.ts', import.meta.url).pathname
  const child = spawn(process.execPath, ['--import=tsx', fixture, dir, path], {
    stdio: ['ignore', 'pipe', 'inherit', descriptor],
  })
  let printed = ''
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    printed += text
  })
  await new Promise((resolve) => child.on('close', resolve))
  t.match(JSON.parse(printed), [
    { verdict: 'ok' },
    {
      verdict: 'problem',
      finding: /was removed; it is systemd's/,
      remedy: 'systemctl --user restart prefect-authd.socket',
    },
  ])
})
