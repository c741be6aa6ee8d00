/** Values that are made at their first use. */
import t from 'tap'
import { lazy } from '../../src/std/lazy.js'

t.test('makes the value at the first use, and once', async (t) => {
  let times = 0
  const value = lazy(() => {
    times += 1
    return undefined
  })
  t.equal(times, 0)
  t.equal(value(), undefined)
  t.equal(value(), undefined)
  t.equal(times, 1)
})
