import { spawn } from 'node:child_process'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { request } from 'node:http'
import { createConnection, type Socket } from 'node:net'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { makeRoot } from '../fixtures/broker.js'
import { buildDaemon } from '../fixtures/daemon-program.js'

const program = await buildDaemon(t)

/** Starts the daemon as a shell's child; `command` runs `$DAEMON`, and must write its pid to `$PID_FILE`. */
async function startBy(t: Test, command: string) {
  const root = await makeRoot(t)
  mkdirSync(join(root, 'run'), { mode: 0o700 })
  const socket = join(root, 'run', 's')
  const pidFile = join(root, 'pid')
  writeFileSync(pidFile, '')
  const shell = spawn('/bin/sh', ['-c', command], {
    env: {
      PATH: process.env.PATH,
      HOME: root,
      DAEMON: `${process.execPath} ${program} --vault-backend=file --vault-key-wrap=key-file --port=off`,
      PID_FILE: pidFile,
      PREFECT_AUTH_STATE_DIR: join(root, 'state'),
      PREFECT_AUTH_SOCKET: socket,
    },
    stdio: 'ignore',
  })
  const ended = new Promise((resolve) => shell.on('exit', resolve))
  const kill = () => {
    const pid = Number(readFileSync(pidFile, 'utf8'))
    if (pid > 0) process.kill(pid, 'SIGKILL')
  }
  const isAlive = () => {
    try {
      return process.kill(Number(readFileSync(pidFile, 'utf8')), 0)
    } catch {
      return false
    }
  }
  t.teardown(async () => {
    if (isAlive()) kill()
    await ended
  })
  return { socket, isAlive }
}

function livez(socketPath: string): Promise<number | undefined> {
  return new Promise((resolve) => {
    const sent = request({ socketPath, path: '/livez', agent: false, timeout: 5_000 }, (message) => {
      message.resume()
      resolve(message.statusCode)
    })
    sent.on('error', () => resolve(undefined))
    sent.on('timeout', () => sent.destroy())
    sent.end()
  })
}

async function untilLive(socket: string): Promise<void> {
  while ((await livez(socket)) !== 200) await pause(50)
}

t.test('goes on when nobody reads its output any more', async (t) => {
  const { socket, isAlive } = await startBy(
    t,
    '(sleep 1; echo $$ > /dev/null; $DAEMON 2>&1 & echo $! > "$PID_FILE"; wait) | true',
  )
  await untilLive(socket)
  await pause(500)
  t.equal(await livez(socket), 200)
  t.ok(isAlive())
})

t.test('goes on when it has no file descriptor left for another connection', async (t) => {
  const { socket, isAlive } = await startBy(t, 'ulimit -n 64; $DAEMON & echo $! > "$PID_FILE"; wait')
  await untilLive(socket)
  for (let round = 0; round < 3; round += 1) {
    const open: Socket[] = []
    for (let count = 0; count < 200; count += 1) {
      open.push(createConnection(socket).on('error', () => undefined))
    }
    await pause(500)
    t.ok(isAlive(), 'while it is full')
    for (const one of open) one.destroy()
    await untilLive(socket)
  }
  t.ok(isAlive())
})
