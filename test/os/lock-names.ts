/** The names of the state lock, in one process: which of them counts. */
import { randomBytes } from 'node:crypto'
import { mkdtempSync, readdirSync, rmSync, unlinkSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { takeStateLock } from '../../src/os/state-lock.js'
import { type Clock, systemClock } from '../../src/std/clock.js'

t.test('a starter whose own name was taken away does not hold the lock by it', async (t) => {
  const stateDir = mkdtempSync(join(tmpdir(), 'pab-'))
  t.after(() => rmSync(stateDir, { recursive: true, force: true }))
  const directory = join(stateDir, 'lock')
  const newId = () => randomBytes(4).toString('hex')
  await (await takeStateLock({ stateDir, clock: systemClock(), newId })).release()
  // Another starter, which came later: ours looks again in a moment, and finds neither it nor its own name.
  const later = 'zzzzzzzzzzzzzzzzzzzzzz'
  const other = createServer((socket) => socket.end('candidate'))
  await new Promise<void>((resolve) => other.listen(join(directory, later), resolve))
  let isTakenAway = false
  const clock: Clock = {
    ...systemClock(),
    after(ms, run) {
      if (!isTakenAway) {
        isTakenAway = true
        for (const name of readdirSync(directory)) unlinkSync(join(directory, name))
        other.close()
      }
      return systemClock().after(ms, run)
    },
  }
  const lock = await takeStateLock({ stateDir, clock, newId })
  t.ok(isTakenAway)
  t.equal(readdirSync(directory).length, 1, 'it holds the lock under a name that others see')
  await t.rejects(takeStateLock({ stateDir, clock: systemClock(), newId }), { code: 'already_running' })
  await lock.release()
})
