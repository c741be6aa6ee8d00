/** Renewal by a real daemon on a fast clock. */
import { existsSync } from 'node:fs'
import t from 'tap'
import { startCloudSimulator } from '../../sim/simulator.js'
import { makeRoot } from '../fixtures/broker.js'
import { ask, buildDaemon, logInWithKey, servedKey, startProgram } from '../fixtures/daemon-program.js'

const LIBRARY = '/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1'
const HOUR = 3_600_000
const DAY = 24 * HOUR
/** Four days a second. The monotonic clock stays real: to the daemon, the machine sleeps most of the time. */
const SPEED = 345_600
const START = Date.UTC(2026, 0, 1)

function needsFaketime(): { skip: string } | Record<string, never> {
  if (existsSync(LIBRARY) || process.env.PAB_REQUIRE_REAL === '1') return {}
  return { skip: `not installed: ${LIBRARY}` }
}

t.setTimeout(880_000)

t.test(
  'a real daemon through eight months in a minute: keys renewed in time, no gaps',
  { ...needsFaketime(), timeout: 190_000 },
  async (t) => {
    const sim = await startCloudSimulator({ clock: { start: START, frozen: true } })
    t.after(() => sim.close())
    const root = await makeRoot(t)
    const program = await buildDaemon(t)
    const start = async (faketime: string) => {
      const env = { TZ: 'UTC', LD_PRELOAD: LIBRARY, FAKETIME: faketime, FAKETIME_DONT_FAKE_MONOTONIC: '1' }
      const started = startProgram(t, { program, root, sim, env })
      await started.up()
      return started
    }
    const slow = await start('@2026-01-01 00:00:00')
    t.equal((await logInWithKey(slow, sim.issueKey())).state, 'stored')
    await slow.stop()
    const daemon = await start(`@2026-01-01 00:01:00 x${SPEED}`)
    // Prefect's clock follows the daemon's, which tells it in every answer.
    const follow = async () => {
      const { date } = await ask(daemon.socket, 'GET', '/livez')
      const at = Date.parse(date ?? '')
      if (at > sim.clock.now()) sim.clock.set(at)
    }
    await follow()
    t.ok(sim.clock.now() > START + HOUR, 'the daemon runs on the fast clock of the test')
    const born = sim.clock.now()
    const seen = new Set<string>()
    const gaps: string[] = []
    let polls = 0
    while (sim.clock.now() < born + 265 * DAY) {
      await follow()
      const key = (await servedKey(daemon)) ?? ''
      polls += 1
      seen.add(key)
      if (sim.keys.authenticate(key) === undefined)
        gaps.push(`${new Date(sim.clock.now()).toISOString()} ${key.slice(0, 4)}`)
    }
    t.comment(`${polls} polls, ${gaps.length} gaps, ${seen.size - 1} renewals`)
    t.strictSame(gaps, [])
    t.ok(seen.size - 1 >= 12, `${seen.size - 1} renewals`)
  },
)
