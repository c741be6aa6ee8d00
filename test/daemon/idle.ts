import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { request } from 'node:http'
import { connect } from 'node:net'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { makeRoot } from '../fixtures/broker.js'

const fixture = (name: string) => fileURLToPath(new URL(`../fixtures/${name}`, import.meta.url))
// Who passes sockets on is systemd.
const skip = process.platform === 'linux' ? false : 'systemd is for Linux'

/** The daemon on a socket that somebody else opened; leaves after so many ms. Killed when the test ends. */
async function start(t: Test, idleMs: number) {
  const root = await makeRoot(t)
  const program = [process.execPath, '--import=tsx', fixture('idle-daemon.ts'), root]
  const child: ChildProcess = spawn(
    'python3',
    [fixture('activate.py'), 'unix', join(root, 's'), '--', ...program],
    { env: { PATH: process.env.PATH, IDLE_MS: String(idleMs) }, stdio: ['ignore', 'pipe', 'inherit'] },
  )
  t.after(() => void child.kill('SIGKILL'))
  let said = ''
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    said += text
  })
  const ended = new Promise((resolve) => child.once('close', resolve))
  while (!said.includes('up\n')) await new Promise((resolve) => setTimeout(resolve, 10))
  return { socket: join(root, 's'), ended, said: () => said }
}

function ask(socketPath: string, method: string, path: string, body?: unknown): Promise<number> {
  const text = body === undefined ? undefined : JSON.stringify(body)
  const headers = { host: 'authd', ...(text === undefined ? {} : { 'content-type': 'application/json' }) }
  return new Promise((resolve, reject) => {
    request({ socketPath, method, path, agent: false, headers }, (response) => {
      response.resume().on('end', () => resolve(response.statusCode ?? 0))
    })
      .on('error', reject)
      .end(text)
  })
}

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

t.test('without requests it exits and leaves the socket in place', { skip }, async (t) => {
  const { socket, ended, said } = await start(t, 300)
  t.equal(await ended, 0)
  t.equal(said(), 'up\nidle\n')
  t.equal(existsSync(socket), true)
})

t.test('a silent connection keeps it running', { skip }, async (t) => {
  const { socket, ended, said } = await start(t, 3_000)
  const silent = connect(socket)
  await pause(5_000)
  t.equal(said(), 'up\n')
  silent.destroy()
  t.equal(await ended, 0)
})

t.test('so does a log level that an exit would undo', { skip }, async (t) => {
  const { socket, said } = await start(t, 3_000)
  t.equal(await ask(socket, 'PUT', '/v1/log-level', { level: 'warn' }), 200)
  await pause(5_000)
  t.equal(said(), 'up\n')
  t.equal(await ask(socket, 'GET', '/livez'), 200)
})
