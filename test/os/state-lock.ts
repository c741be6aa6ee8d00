import { type ChildProcess, fork, spawn, spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { build } from 'esbuild'
import t, { type Test } from 'tap'
import { isBrokerError } from '../../src/base/errors.js'
import type { HostIdentity } from '../../src/os/proc.js'
import { takeStateLock } from '../../src/os/state-lock.js'
import { MINUTE_MS, systemClock } from '../../src/std/clock.js'

const STARTERS = 50
const ROUNDS = 5
/** No machine is so busy that a process is silent for this long. */
const PATIENT_MS = 10 * MINUTE_MS

/** One small file starts fast enough for fifty of them to race. */
async function buildTaker(t: Test): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'pab-lock-'))
  t.after(() => rm(dir, { recursive: true, force: true }))
  const outfile = join(dir, 'taker.mjs')
  const entry = new URL('./fixtures/lock-taker.ts', import.meta.url).pathname
  await build({
    entryPoints: [entry],
    outfile,
    bundle: true,
    platform: 'node',
    format: 'esm',
    logLevel: 'error',
  })
  return outfile
}

async function makeStateDir(t: Test): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'pab-'))
  t.after(() => rm(dir, { recursive: true, force: true }))
  return dir
}

interface Starter {
  readonly child: ChildProcess
  /** The next thing it says. */
  said(): Promise<string>
  kill(signal: NodeJS.Signals): void
  gone(): Promise<void>
}

async function startOne(t: Test, taker: string, stateDir: string): Promise<Starter> {
  const child = fork(taker, [stateDir], { stdio: 'inherit', execArgv: [] })
  const queue: string[] = []
  const waiting: ((text: string) => void)[] = []
  child.on('message', (message) => {
    const text = String(message)
    const wake = waiting.shift()
    if (wake === undefined) queue.push(text)
    else wake(text)
  })
  const exited = new Promise<void>((resolve) => child.on('exit', () => resolve()))
  t.after(() => child.kill('SIGKILL'))
  const starter: Starter = {
    child,
    said: () =>
      new Promise((resolve) => {
        const text = queue.shift()
        if (text === undefined) waiting.push(resolve)
        else resolve(text)
      }),
    kill: (signal) => void child.kill(signal),
    gone: () => exited,
  }
  await starter.said()
  return starter
}

function take(stateDir: string, patienceMs = PATIENT_MS, host?: HostIdentity) {
  const newId = () => randomBytes(6).toString('hex')
  return takeStateLock({ stateDir, clock: systemClock(), newId, patienceMs, ...(host && { host }) })
}

const ALPHA = { name: 'alpha', id: 'machine 1 alpha', boot: 'boot 1' }
const BETA = { name: 'beta', id: 'machine 2 beta', boot: 'boot 2' }

/** What a daemon on this host leaves when it is killed: its name, behind which nobody listens. Returns the name. */
async function leaveDead(stateDir: string, host: HostIdentity, isHidden = false): Promise<string> {
  const lock = await take(stateDir, PATIENT_MS, host)
  const [name = ''] = readdirSync(join(stateDir, 'lock')).filter((one) => !one.startsWith('.'))
  await lock.release()
  const left = isHidden ? `.${name.slice(1)}` : name
  bindAndDie(join(stateDir, 'lock', left))
  return left
}

function bindAndDie(path: string): void {
  const script = `require('node:net').createServer().listen(process.argv[1], () => process.kill(process.pid, 'SIGKILL'))`
  spawnSync(process.execPath, ['-e', script, path])
}

t.test(
  `elects one holder when ${STARTERS} starters race ${ROUNDS} times, over the remains of killed ones`,
  async (t) => {
    const taker = await buildTaker(t)
    const stateDir = await makeStateDir(t)
    const starters = await Promise.all(Array.from({ length: STARTERS }, () => startOne(t, taker, stateDir)))
    for (let round = 1; round <= ROUNDS; round += 1) {
      for (const { child } of starters) child.send('go')
      const answers = await Promise.all(starters.map((one) => one.said()))
      t.equal(answers.filter((text) => text === 'held').length, 1, `round ${round}`)
      const others = answers.filter((text) => text !== 'held')
      t.same([...new Set(others)], ['already_running'], `round ${round}`)
      await t.rejects(take(stateDir), { code: 'already_running' })
      // The holder dies without a word: the next round meets its socket.
      const at = answers.indexOf('held')
      starters[at]?.kill('SIGKILL')
      await starters[at]?.gone()
      starters[at] = await startOne(t, taker, stateDir)
    }
    const lock = await take(stateDir)
    t.equal(readdirSync(join(stateDir, 'lock')).length, 1, 'the dead are cleared away')
    await lock.release()
    t.strictSame(readdirSync(join(stateDir, 'lock')), [])
  },
)

t.test('begins again under a new name if its name is taken away', async (t) => {
  const stateDir = await makeStateDir(t)
  await (await take(stateDir)).release()
  // What other starters do to a socket that does not listen yet.
  const clean = `const { readdirSync, unlinkSync } = require('node:fs'); const dir = process.argv[1] + '/lock/'
    for (;;) for (const name of readdirSync(dir)) try { unlinkSync(dir + name) } catch {}`
  const cleaner = spawn(process.execPath, ['-e', clean, stateDir], { stdio: 'ignore' })
  await new Promise((resolve) => setTimeout(resolve, 200))
  t.after(() => cleaner.kill('SIGKILL'))
  const ends = Promise.all(
    Array.from({ length: 20 }, async () => take(stateDir).catch((error: unknown) => error)),
  )
  await new Promise((resolve) => setTimeout(resolve, 500))
  cleaner.kill('SIGKILL')
  const refused = (await ends).filter((end) => end instanceof Error)
  t.same(refused.filter((error) => !isBrokerError(error, 'already_running')).map(String), [])
})

t.test('respects a stopped holder, takes over from a killed one', async (t) => {
  const taker = await buildTaker(t)
  const stateDir = await makeStateDir(t)
  const holder = await startOne(t, taker, stateDir)
  holder.child.send('go')
  t.equal(await holder.said(), 'held')
  holder.kill('SIGSTOP')
  await t.rejects(take(stateDir, 100), { code: 'already_running', hint: 'prefect-auth status' })
  holder.kill('SIGKILL')
  await holder.gone()
  await (await take(stateDir)).release()
})

t.test('releases although a starter was stopped while it asked', async (t) => {
  const stateDir = await makeStateDir(t)
  const lock = await take(stateDir)
  const [name = ''] = readdirSync(join(stateDir, 'lock'))
  const { createConnection } = await import('node:net')
  const peer = createConnection({ path: join(stateDir, 'lock', name), allowHalfOpen: true })
  await new Promise((resolve) => peer.on('data', resolve))
  await lock.release()
  peer.destroy()
})

t.test('can be taken again once released, by the same process too', async (t) => {
  const stateDir = await makeStateDir(t)
  for (let round = 0; round < 3; round += 1) {
    const lock = await take(stateDir)
    await t.rejects(take(stateDir), { code: 'already_running', message: new RegExp(stateDir) })
    await lock.release()
  }
})

t.test(
  'clears away files that are not sockets, and takes a socket that says something else for a holder',
  async (t) => {
    const stateDir = await makeStateDir(t)
    const lock = await take(stateDir)
    await lock.release()
    writeFileSync(join(stateDir, 'lock', '000-file'), '')
    await (await take(stateDir)).release()
    t.strictSame(readdirSync(join(stateDir, 'lock')), [])
    writeFileSync(join(stateDir, 'lock', '.00-killed-before-it-was-visible'), '')
    const sweeper = await take(stateDir)
    while (readdirSync(join(stateDir, 'lock')).length > 1)
      await new Promise((resolve) => setImmediate(resolve))
    await sweeper.release()
    const stranger = createServer((socket) => socket.end('hello'))
    await new Promise<void>((resolve) => stranger.listen(join(stateDir, 'lock', 'zzz'), resolve))
    t.after(() => stranger.close())
    await t.rejects(take(stateDir), { code: 'already_running' })
  },
)

t.test('rejects a state directory whose path is too long for a socket', async (t) => {
  const stateDir = join(await makeStateDir(t), 'x'.repeat(90))
  await t.rejects(take(stateDir), { code: 'socket_path_too_long', hint: /PREFECT_AUTH_STATE_DIR/ })
})

t.test('a socket of another host that refuses is not dead', async (t) => {
  const stateDir = await makeStateDir(t)
  const name = await leaveDead(stateDir, ALPHA)
  await t.rejects(take(stateDir, PATIENT_MS, BETA), {
    code: 'already_running',
    message: /^a prefect-authd on the host 'alpha' already uses .*: two hosts must not share it$/,
    hint: new RegExp(`PREFECT_AUTH_STATE_DIR=.*\\$\\(hostname\\).*rm .*${name}$`),
  })
  t.strictSame(readdirSync(join(stateDir, 'lock')), [name], 'and its name stays')
  rmSync(join(stateDir, 'lock', name))
  await (await take(stateDir, PATIENT_MS, BETA)).release()
})

t.test(
  'what is dead: of this host before it was started again, of another container of this boot',
  async (t) => {
    for (const [who, host] of [
      ['the same host and boot', ALPHA],
      ['the same host after a reboot', { ...ALPHA, boot: 'boot 3' }],
      ['another container on the same machine', { ...BETA, boot: ALPHA.boot }],
    ] as const) {
      const stateDir = await makeStateDir(t)
      await leaveDead(stateDir, ALPHA)
      const lock = await take(stateDir, PATIENT_MS, host)
      t.equal(readdirSync(join(stateDir, 'lock')).length, 1, who)
      await lock.release()
    }
  },
)

t.test('never unlinks what a starter on another host has not made visible yet', async (t) => {
  const stateDir = await makeStateDir(t)
  const name = await leaveDead(stateDir, ALPHA, true)
  const own = await leaveDead(stateDir, BETA, true)
  const lock = await take(stateDir, PATIENT_MS, BETA)
  const names = () => readdirSync(join(stateDir, 'lock'))
  while (names().includes(own)) await new Promise((resolve) => setImmediate(resolve))
  await lock.release()
  t.strictSame(names(), [name])
})

t.test('a name of an older version, which says no host, is dead if it refuses', async (t) => {
  const stateDir = await makeStateDir(t)
  await (await take(stateDir)).release()
  bindAndDie(join(stateDir, 'lock', '001795000000000-a1b2c3'))
  await (await take(stateDir, PATIENT_MS, BETA)).release()
  t.strictSame(readdirSync(join(stateDir, 'lock')), [])
})

t.test(
  'a holder whose socket lies under another mount',
  { skip: process.platform === 'linux' ? false : 'needs /proc/net/unix' },
  async (t) => {
    const stateDir = await makeStateDir(t)
    const directory = join(stateDir, 'lock')
    const lock = await take(stateDir)
    const [name = ''] = readdirSync(directory)
    renameSync(directory, `${directory}.below`)
    mkdirSync(directory, { mode: 0o700 })
    bindAndDie(join(directory, name))
    await t.rejects(take(stateDir), {
      code: 'already_running',
      message: /another container or mount namespace/,
    })
    rmSync(directory, { recursive: true })
    renameSync(`${directory}.below`, directory)
    await lock.release()
    await (await take(stateDir)).release()
  },
)
