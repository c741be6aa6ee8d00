import { spawn } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, statSync, writeFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { openTcpListener, openUnixListener } from '../../src/daemon/doors.js'
import { findPortHolder } from '../../src/os/proc.js'
import { silentLog } from '../../src/std/log.js'

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
