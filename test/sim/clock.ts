/** The simulator's clock. */
import t from 'tap'
import { createSimClock } from '../../sim/clock.js'

t.test('time may pass faster than on the machine, and be moved', async (t) => {
  let machine = 1_000_000
  const clock = createSimClock({ start: 5000, speed: 20, machineNow: () => machine })
  t.equal(clock.now(), 5000)
  machine += 100
  t.equal(clock.now(), 7000)
  clock.advance(500)
  machine += 1
  t.equal(clock.now(), 7520)
  clock.set(100)
  machine += 2
  t.equal(clock.now(), 140)
})
