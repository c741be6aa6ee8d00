/** Crash loops under launchd: real processes with the agent's environment, not on macOS. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { makeRoot } from '../fixtures/broker.js'
import { buildDaemon, startProgram } from '../fixtures/daemon-program.js'

const env = { PREFECT_AUTHD_STARTED_BY: 'launchd' }

t.test('killed five times, it exits cleanly and says why; after a reset it starts again', async (t) => {
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
  t.equal(await last.ended(), 0, 'launchd does not restart what exits with 0')
  t.match(last.stderr(), /"level":"error".*"failures":5,.*prefect-auth service install.*GIVEN UP/)
  t.match(JSON.parse(readFileSync(book, 'utf8')), { givenUpAt: Number })
  const byHand = start({})
  await byHand.up()
  t.equal(await byHand.stop(), 0, 'starts in a terminal are not counted')
  // As `service install` does.
  writeFileSync(book, '{"starts": [')
  const again = start()
  await again.up()
  t.equal(await again.stop(), 0)
  t.equal(existsSync(book), false, 'a clean exit resets the count')
})

t.test('a bad setting counts as a failed start, a requested stop does not', async (t) => {
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
