import { existsSync, readdirSync } from 'node:fs'
import { request } from 'node:http'
import { createServer } from 'node:net'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { startCloudSimulator } from '../../sim/simulator.js'
import { type Daemon, startDaemon } from '../../src/daemon/daemon.js'
import { makeRoot } from '../fixtures/broker.js'
import { daemonOptions } from '../fixtures/daemon-options.js'

interface Place {
  readonly root: string
  readonly env?: Readonly<Record<string, string>>
  readonly flags?: Readonly<Record<string, string>>
}

function start(t: Test, { root, env = {}, flags = {} }: Place): Promise<Daemon> {
  const started = startDaemon({ ...daemonOptions(root, { port: '0', ...flags }), env })
  started.then(
    (daemon) => t.after(() => daemon.close()),
    () => undefined,
  )
  return started
}

function statusOf(options: { socketPath: string } | { port: number }): Promise<number> {
  return new Promise((resolve, reject) => {
    const host = 'port' in options ? `127.0.0.1:${options.port}` : 'authd'
    const call = request({ ...options, host: '127.0.0.1', path: '/livez', agent: false, headers: { host } })
    call.on('response', (response) => {
      response.resume()
      resolve(response.statusCode ?? 0)
    })
    call.on('error', reject)
    call.end()
  })
}

t.test('opens its listeners, says where they are, and closes all of them, twice if asked', async (t) => {
  const root = await makeRoot(t)
  const restricted = join(root, 'box', 'r')
  const daemon = await start(t, { root, flags: { 'listen.restricted_socket': restricted } })
  const { listeners, vault, daemon: facts } = daemon.snapshot()
  t.match(listeners, [
    { door: 'socket', state: 'listening', address: join(root, 'run', 's') },
    { door: 'restricted', state: 'listening', address: restricted },
    { door: 'tcp', state: 'listening' },
  ])
  t.match(vault, { backend: 'file', state: 'ready', atRest: 'not protected' })
  t.equal(facts.stateDir, join(root, 'state'))
  const port = Number(new URL(listeners[2]?.address ?? '').port)
  t.equal(await statusOf({ socketPath: join(root, 'run', 's') }), 200)
  t.equal(await statusOf({ port }), 200)
  await daemon.close()
  await daemon.close()
  t.equal(existsSync(join(root, 'run', 's')), false)
  t.equal(existsSync(restricted), false)
  await t.rejects(statusOf({ port }), { code: 'ECONNREFUSED' })
  t.strictSame(readdirSync(join(root, 'state', 'lock')), [])
})

t.test('a start that fails at its last step leaves nothing open', async (t) => {
  const root = await makeRoot(t)
  const first = await start(t, { root: await makeRoot(t) })
  t.ok(first)
  const blocker = createServer()
  const { mkdirSync } = await import('node:fs')
  mkdirSync(join(root, 'run'), { mode: 0o700 })
  await new Promise<void>((resolve) => blocker.listen(join(root, 'run', 's'), resolve))
  t.after(() => blocker.close())
  await t.rejects(start(t, { root }), { code: 'already_running' })
  t.strictSame(readdirSync(join(root, 'state', 'lock')), [], 'the lock is free again')
  await new Promise((resolve) => blocker.close(resolve))
  await (await start(t, { root })).close()
})

t.test('a start does not wait for Prefect', async (t) => {
  const sim = await startCloudSimulator()
  t.after(() => sim.close())
  const root = await makeRoot(t)
  sim.faults.always({}, { kind: 'silence' })
  const { writeFileSync } = await import('node:fs')
  const key = sim.issueKey()
  writeFileSync(
    join(root, 'profiles.toml'),
    `active = "cloud"\n[profiles.cloud]\nPREFECT_API_URL = "${sim.workspaceUrl('prefect/terry')}"\nPREFECT_API_KEY = "${key}"\n`,
    { mode: 0o600 },
  )
  const env = { PREFECT_CLOUD_API_URL: `${sim.apiUrl}/`, PREFECT_CLOUD_UI_URL: sim.uiUrl }
  const daemon = await start(t, { root, env, flags: { 'profiles.adopt': 'auto' } })
  const state = daemon.snapshot().profiles.find(({ resolved }) => resolved.name === 'cloud')
  t.match(state, { keySource: 'file', resolved: { kind: 'cloud', cloudApiUrl: sim.apiUrl } })
  await daemon.close()
})
