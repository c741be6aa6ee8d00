/** The file by which shells hear of changes: it changes with what is served, and comes back if it was removed. */
import { mkdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { startCloudSimulator } from '../../sim/simulator.js'
import { keepGenerationFile } from '../../src/daemon/generation-file.js'
import { silentLog } from '../../src/std/log.js'
import { makeRoot, openBroker } from '../fixtures/broker.js'
import { until } from '../fixtures/shipped.js'

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
  const file = keepGenerationFile({ path, credentials, events, log: silentLog() })
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
