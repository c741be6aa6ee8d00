import fc from 'fast-check'
import t from 'tap'
import { createRoll } from '../../src/std/roll.js'

t.test('those who entered and have not left are in, whoever else came and went', (t) => {
  const step = fc.oneof(
    fc.record({ kind: fc.constant('enter' as const) }),
    fc.record({ kind: fc.constant('leave' as const), who: fc.nat(30) }),
  )
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const roll = createRoll<number>()
      const model = new Set<number>()
      const exits: (() => void)[] = []
      for (const one of steps) {
        if (one.kind === 'enter') {
          model.add(exits.length)
          exits.push(roll.enter(exits.length))
        } else {
          // Also one that has left already.
          exits[one.who]?.()
          model.delete(one.who)
        }
        t.strictSame(new Set(roll.members()), model)
        t.equal(roll.isEmpty(), model.size === 0)
        t.equal(roll.members().length, model.size)
      }
    }),
    { numRuns: 100 },
  )
  t.end()
})
