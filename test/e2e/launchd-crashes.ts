/** What the daemon does where launchd would start it for ever. Real processes, told what the agent tells them; not macOS. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { makeRoot } from '../fixtures/broker.js'
import { buildDaemon, startProgram } from '../fixtures/daemon-program.js'

const env = { PREFECT_AUTHD_STARTED_BY: 'launchd' }

t.test('killed five times, it gives up with a clean exit and says so; forgotten, it starts', async (t) => {
  const program = await buildDaemon(t)
  const root = await makeRoot(t)
  const book = join(root, 'state', 'starts.json')
  const start = (more: Readonly<Record<string, string>> = env) =>
    startProgram(t, { program, root, env: more })
  for (let round = 0; round < 5; round += 1) {
    const daemon = start()
    await daemon.up()
    daemon.child.kill('SIGKILL')
    t.equal(await daemon.ended(), 'SIGKILL')
  }
  const last = start()
  t.equal(await last.ended(), 0, 'launchd leaves alone what ends with 0')
  t.match(last.stderr(), /"level":"error".*"failures":5,.*prefect-auth service install.*GIVEN UP/)
  t.match(JSON.parse(readFileSync(book, 'utf8')), { givenUpAt: Number })
  const byHand = start({})
  await byHand.up()
  t.equal(await byHand.stop(), 0, 'whoever starts it in a terminal is not counted')
  // As `service install` does.
  writeFileSync(book, '{"starts": [')
  const again = start()
  await again.up()
  t.equal(await again.stop(), 0)
  t.equal(existsSync(book), false, 'a good end forgets all failures')
})

t.test('a bad setting is a failed start, too; an end that was asked for is none', async (t) => {
  const program = await buildDaemon(t)
  const root = await makeRoot(t)
  const bad = { ...env, PREFECT_AUTH_PORT: 'http' }
  const codes: unknown[] = []
  for (let round = 0; round < 6; round += 1) {
    codes.push(await startProgram(t, { program, root, env: bad }).ended())
  }
  t.strictSame(codes, [2, 2, 2, 2, 2, 0])
  const other = await makeRoot(t)
  for (let round = 0; round < 7; round += 1) {
    const daemon = startProgram(t, { program, root: other, env })
    await daemon.up()
    t.equal(await daemon.stop(), 0)
  }
})
