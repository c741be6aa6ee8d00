/** The file by which shells hear of changes: it changes with what is served, and comes back if it was removed. */

import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { request } from 'node:http'
import { dirname, join } from 'node:path'
import t from 'tap'
import { startCloudSimulator } from '../../sim/simulator.js'
import { keepGenerationFile } from '../../src/daemon/generation-file.js'
import { systemClock } from '../../src/std/clock.js'
import { silentLog } from '../../src/std/log.js'
import { makeRoot, openBroker } from '../fixtures/broker.js'
import { startShipped, until } from '../fixtures/shipped.js'

t.test('follows what is served, and is there again after it was removed', async (t) => {
  const sim = await startCloudSimulator({ accounts: [{ handle: 'prefect', workspaces: ['terry'] }] })
  t.after(() => sim.close())
  const root = await makeRoot(t)
  const broker = await openBroker({ root, sim })
  t.after(() => broker.close())
  const folder = join(t.testdir(), 'run')
  mkdirSync(folder)
  const path = join(folder, 'generation')
  const { credentials, events } = broker
  const file = keepGenerationFile({ path, credentials, events, clock: systemClock(), log: silentLog() })
  await file.look()
  const first = readFileSync(path, 'utf8')
  t.match(first, /^1 [0-9a-f]{16}\n$/)
  await broker.write('active = "b"\n[profiles.b]\nPREFECT_API_URL = "http://127.0.0.1:1/api"\n')
  const read = () => readFileSync(path, 'utf8')
  await until(
    () => read() !== first,
    () => 'no shell hears of the change',
  )
  const second = read()
  rmSync(folder, { recursive: true })
  mkdirSync(folder)
  await file.look()
  t.equal(read(), second)
  await file.close()
})

t.test('a command that changed something is answered when shells can see it', async (t) => {
  const broker = await startShipped(t)
  mkdirSync(join(broker.home, '.prefect'))
  const table = (name: string) => `[profiles.${name}]\nPREFECT_API_URL = "http://127.0.0.1:1/${name}/api"\n`
  writeFileSync(join(broker.home, '.prefect', 'profiles.toml'), `active = "a"\n${table('a')}${table('b')}`)
  const read = () => readFileSync(join(dirname(broker.socket), 'generation'), 'utf8')
  await until(
    async () => (await use(broker.socket, 'a')) === 200,
    () => 'the profiles are not read',
  )
  for (const name of ['b', 'a', 'b', 'a', 'b', 'a']) {
    const before = read()
    t.equal(await use(broker.socket, name), 200)
    t.not(read(), before, `the switch to ${name}`)
  }
})

function use(socketPath: string, name: string): Promise<number | undefined> {
  return new Promise((resolve, reject) => {
    const headers = { host: 'authd', 'content-type': 'application/json' }
    const sent = request({ socketPath, path: '/v1/profiles/active', method: 'PUT', headers }, (answer) => {
      answer.resume().once('end', () => resolve(answer.statusCode))
    })
    sent.once('error', reject).end(JSON.stringify({ name }))
  })
}
