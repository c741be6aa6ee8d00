import t from 'tap'
import { createServerTime } from '../../src/prefect/server-time.js'
import { createClockWatch } from '../../src/renewal/clock-watch.js'
import { createManualClock } from '../fixtures/manual-clock.js'

const MINUTE = 60_000
const HOUR = 60 * MINUTE

t.test(
  'a clock that is off by more than five minutes is set right, a smaller difference is left',
  async (t) => {
    for (const [skew, corrected] of [
      [4 * MINUTE, 0],
      [-4 * MINUTE, 0],
      [6 * MINUTE, 6 * MINUTE],
      [-90 * 24 * HOUR, -90 * 24 * HOUR],
    ] as const) {
      const clock = createManualClock()
      const time = createServerTime(clock)
      time.note(clock.now() - skew, clock.now())
      t.equal(time.skewMs(), skew)
      t.equal(clock.now() - time.clock.now(), corrected, `${skew} ms off`)
      clock.pass(HOUR)
      t.equal(clock.now() - time.clock.now(), corrected, 'and an hour later')
    }
  },
)

t.test('what was measured is good for twelve hours, and for nothing once the clock was moved', async (t) => {
  const clock = createManualClock()
  const time = createServerTime(clock)
  t.equal(time.isFresh(), false)
  time.note(clock.now() - HOUR, clock.now())
  t.equal(time.isFresh(), true)
  clock.pass(12 * HOUR - 1)
  t.equal(time.isFresh(), true)
  clock.pass(1)
  t.equal(time.isFresh(), false)
  time.note(clock.now() - HOUR, clock.now())
  time.forget()
  t.equal(time.isFresh(), false)
  t.equal(time.clock.now(), clock.now())
  t.equal(time.skewMs(), undefined)
})

t.test('time that passes is no jump; sleep and a clock that is set are', async (t) => {
  const clock = createManualClock()
  const watch = createClockWatch(clock)
  clock.pass(5 * HOUR)
  t.equal(watch.look(), 0)
  clock.sleep(8 * HOUR)
  clock.pass(MINUTE)
  t.equal(watch.look(), 8 * HOUR)
  t.equal(watch.look(), 0, 'said once')
  clock.sleep(-HOUR)
  t.equal(watch.look(), -HOUR)
  clock.sleep(4_000)
  t.equal(watch.look(), 0, 'a little drift is none')
})
