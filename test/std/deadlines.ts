/** Deadlines: each is kept to the millisecond, and none of them needs a timer of its own. */
import fc from 'fast-check'
import t from 'tap'
import { createDeadlines } from '../../src/std/deadlines.js'
import { createManualClock } from '../fixtures/manual-clock.js'

t.test('every deadline is reached once, at its time, unless it was moved or cancelled', (t) => {
  const ms = fc.integer({ min: 0, max: 1_000 })
  const deadline = fc.record({ at: ms, lasts: ms, movedAt: fc.option(ms), cancelledAt: fc.option(ms) })
  fc.assert(
    fc.property(fc.array(deadline, { maxLength: 12 }), (plans) => {
      const clock = createManualClock()
      const deadlines = createDeadlines(clock)
      const begun = clock.monotonic()
      const reached = plans.map((): number[] => [])
      for (const [index, { at, lasts, movedAt, cancelledAt }] of plans.entries()) {
        clock.after(at, () => {
          let from = deadlines.now()
          const late = deadlines.add(
            (now) => from + lasts - now,
            () => reached[index]?.push(clock.monotonic() - begun),
          )
          if (movedAt !== null) {
            clock.after(movedAt, () => {
              from = deadlines.now()
            })
          }
          if (cancelledAt !== null) clock.after(cancelledAt, () => late.cancel())
        })
      }
      clock.pass(5_000)
      for (const [index, { at, lasts, movedAt, cancelledAt }] of plans.entries()) {
        const end = movedAt !== null && movedAt < lasts ? movedAt + lasts : lasts
        // What happens in the same millisecond happens in either order.
        if (movedAt === lasts || cancelledAt === end) continue
        const isReached = cancelledAt === null || cancelledAt > end
        t.strictSame(reached[index], isReached ? [at + end] : [])
      }
    }),
    { numRuns: 200 },
  )
  t.end()
})

t.test('one that is reached may cancel another that is reached with it', (t) => {
  const clock = createManualClock()
  const deadlines = createDeadlines(clock)
  const reached: string[] = []
  const timers = ['one', 'other'].map((name, index) =>
    deadlines.add(
      (now) => 1_010 - now,
      () => {
        reached.push(name)
        timers[1 - index]?.cancel()
        timers[index]?.cancel()
      },
    ),
  )
  clock.pass(100)
  t.equal(reached.length, 1)
  t.end()
})

t.test('a thousand deadlines that are not reached set one timer, and leave none behind', (t) => {
  const clock = createManualClock()
  let set = 0
  const deadlines = createDeadlines({
    ...clock,
    after(ms, run) {
      set += 1
      return clock.after(ms, run)
    },
  })
  for (let at = 0; at < 1_000; at += 1) {
    const begun = deadlines.now()
    deadlines.add((now) => begun + 30_000 - now, t.fail).cancel()
    clock.pass(1)
  }
  clock.pass(60_000)
  t.equal(set, 1)
  t.end()
})
