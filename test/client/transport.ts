/** The transport: finding the daemon's socket, and one request over it. */
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { failureOf } from '../../src/client/failure.js'
import { createTransport } from '../../src/client/transport.js'
import { takeStateLock } from '../../src/os/state-lock.js'
import { systemClock } from '../../src/std/clock.js'
import { startScriptedDaemon } from '../fixtures/scripted-daemon.js'

const uid = process.getuid?.() ?? 0
const userAgent = 'prefect-auth/0.1.0 test'

function makeFolder(t: { after(end: () => void): void }): string {
  const folder = mkdtempSync(join(tmpdir(), 'pab-transport-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

/** A stale socket file, as a killed daemon leaves it. */
async function leaveSocket(folder: string): Promise<string> {
  const { spawnSync } = await import('node:child_process')
  const path = join(folder, 'left.sock')
  const script = `require('node:net').createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 'SIGKILL'))`
  spawnSync(process.execPath, ['-e', script])
  return path
}

t.test('uses the first candidate that responds, skipping missing and stale ones', async (t) => {
  const folder = makeFolder(t)
  const daemon = await startScriptedDaemon(t, { 'GET /livez': { json: { live: true } } })
  const candidates = [join(folder, 'none.sock'), await leaveSocket(folder), daemon.socket]
  const transport = createTransport({ candidates, uid, userAgent })

  const answer = await transport.send({ method: 'GET', path: '/livez' })

  t.match(answer, { status: 200, text: '{"live":true}' })
  t.equal(transport.socket(), daemon.socket)
})

t.test('sends the fixed host, our user agent, and JSON', async (t) => {
  const daemon = await startScriptedDaemon(t, { 'POST /x': { json: {} } })
  const transport = createTransport({ candidates: [daemon.socket], uid, userAgent })

  await transport.send({ method: 'POST', path: '/x?a=b', body: { name: 'ü' } })

  const headers = { host: 'authd', 'user-agent': userAgent, 'content-type': 'application/json' }
  t.match(daemon.asked[0], { headers, body: { name: 'ü' }, query: { a: 'b' } })
  t.notOk(daemon.asked[0]?.headers.origin)
})

t.test('never connects to a socket of another user', async (t) => {
  const daemon = await startScriptedDaemon(t, { 'GET /livez': { json: {} } })
  const transport = createTransport({ candidates: [daemon.socket], uid: uid + 1, userAgent })

  const error: unknown = await transport.send({ method: 'GET', path: '/livez' }).catch((e: unknown) => e)

  t.match(failureOf(error), { code: 'daemon_not_running', detail: /belongs to another user/ })
  t.equal(daemon.asked.length, 0)
})

t.test('names every path it tried with the reason if none responds', async (t) => {
  const folder = makeFolder(t)
  const file = join(folder, 'file')
  const link = join(folder, 'link.sock')
  writeFileSync(file, '')
  symlinkSync('/nowhere', link)
  const candidates = [join(folder, 'none.sock'), await leaveSocket(folder), file, link]
  const transport = createTransport({ candidates, uid, userAgent })

  const error: unknown = await transport.send({ method: 'GET', path: '/livez' }).catch((e: unknown) => e)

  const failure = failureOf(error)
  t.match(failure, { code: 'daemon_not_running', kind: 'not_running', hint: /prefect-authd/ })
  t.match(
    failure?.detail,
    /none\.sock: no such socket\n.*left\.sock: nothing is listening.*\n.*file: not a socket\n.*not a socket/,
  )
})

t.test('times out on a silent daemon and reports one that hangs up', async (t) => {
  const folder = makeFolder(t)
  const silent = createServer(() => undefined)
  const rude = createServer((socket) => socket.once('data', () => socket.destroy()))
  t.after(() => [silent, rude].map((server) => server.close()))
  const paths = [join(folder, 'silent.sock'), join(folder, 'rude.sock')]
  await new Promise<void>((resolve) => silent.listen(paths[0], resolve))
  await new Promise<void>((resolve) => rude.listen(paths[1], resolve))

  for (const [path, code] of [
    [paths[0], 'daemon_timeout'],
    [paths[1], 'connection_lost'],
  ] as const) {
    const transport = createTransport({ candidates: [path ?? ''], uid, userAgent })
    const error: unknown = await transport
      .send({ method: 'GET', path: '/', timeoutMs: 200 })
      .catch((e: unknown) => e)
    t.match(failureOf(error), { code, kind: 'no_answer' })
  }
})

t.test('cancels an aborted request at once', async (t) => {
  const daemon = await startScriptedDaemon(t, { 'GET /v1/logins/1': () => new Promise(() => undefined) })
  const transport = createTransport({ candidates: [daemon.socket], uid, userAgent })
  const abort = new AbortController()

  const pending = transport.send({ method: 'GET', path: '/v1/logins/1', signal: abort.signal })
  abort.abort()

  t.match(failureOf(await pending.catch((e: unknown) => e)), { kind: 'cancelled' })
  const again = transport.send({ method: 'GET', path: '/v1/logins/1', signal: abort.signal })
  t.match(failureOf(await again.catch((e: unknown) => e)), { kind: 'cancelled' })
})

t.test('tells a daemon whose socket is gone from one that does not run', async (t) => {
  const folder = makeFolder(t)
  const stateDir = join(folder, 's')
  const send = (lockDir: string) =>
    createTransport({ candidates: [join(folder, 'none.sock')], uid, userAgent, lockDir })
      .send({ method: 'GET', path: '/livez' })
      .catch((error: unknown) => failureOf(error))
  const lockDir = join(stateDir, 'lock')
  t.match(await send(lockDir), { detail: /^the daemon is not running\n/ })
  const lock = await takeStateLock({ stateDir, clock: systemClock(), newId: () => 'a1b2c3d4e5f6' })
  t.match(await send(lockDir), {
    code: 'daemon_not_running',
    kind: 'not_running',
    detail: /^a daemon runs, but its socket is not here.*\n.*none\.sock/,
    hint: /try again in half a minute/,
  })
  await lock.release()
  t.match(await send(lockDir), { detail: /^the daemon is not running\n/ })
})
