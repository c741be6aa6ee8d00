import t from 'tap'
import { BrokerError, type ErrorCode } from '../../src/base/errors.js'
import { classifySetback, createRenewalHolds, type Setback, setbackDelay } from '../../src/renewal/backoff.js'
import { createManualClock } from '../fixtures/manual-clock.js'

const MINUTE = 60_000
const HOUR = 60 * MINUTE
const MONTH = 30 * 24 * HOUR

const KINDS: readonly (readonly [ErrorCode, boolean, Setback])[] = [
  ['prefect_unreachable', false, 'not_now'],
  ['prefect_unreachable', true, 'lost'],
  ['prefect_failed', true, 'lost'],
  ['prefect_rate_limited', false, 'not_now'],
  ['key_minting_refused', false, 'refused'],
  ['prefect_forbidden', false, 'refused'],
  ['owner_mismatch', false, 'refused'],
  ['login_state', false, 'overtaken'],
  ['vault_locked', false, 'not_now'],
  ['key_rejected', false, 'not_now'],
]

t.test('classifies each failure', async (t) => {
  for (const [code, isLost, expected] of KINDS) {
    t.equal(classifySetback(new BrokerError(code, 'x'), isLost), expected, `${code}, ${isLost}`)
  }
  t.equal(classifySetback(new Error('a bug'), false), 'not_now')
})

const DELAYS: readonly (readonly [Setback, number, number, number])[] = [
  ['not_now', 1, MONTH, 1_000],
  ['not_now', 9, MONTH, 256_000],
  ['not_now', 30, MONTH, HOUR],
  ['not_now', 30, HOUR, 3 * MINUTE],
  ['lost', 1, MONTH, 5 * MINUTE],
  ['lost', 30, MONTH, 6 * HOUR],
  ['lost', 1, HOUR, 3 * MINUTE],
  ['refused', 1, MONTH, HOUR],
  ['refused', 30, MONTH, 24 * HOUR],
  ['refused', 1, HOUR, 3 * MINUTE],
]

t.test('bounds the time until the next attempt', async (t) => {
  for (const [setback, attempt, lifeMs, most] of DELAYS) {
    const at = (random: number) => setbackDelay({ setback, attempt, lifeMs, random: () => random })
    t.equal(at(1), most, `${setback} ${attempt} of ${lifeMs}`)
    const isHalfSure = setback === 'lost' || setback === 'refused'
    t.equal(at(0), Math.max(1_000, isHalfSure ? most / 2 : 0), `${setback} ${attempt} of ${lifeMs}, at least`)
  }
})

t.test('obeys a server that says when to retry', async (t) => {
  const clock = createManualClock()
  const holds = createRenewalHolds({ clock, random: () => 0 })
  const error = new BrokerError('prefect_rate_limited', 'slowly', { retryAt: clock.now() + 2 * HOUR })
  t.equal(holds.set('key-1', { setback: 'not_now', lifeMs: MONTH, error }), 2 * HOUR)
  clock.pass(2 * HOUR - 1)
  t.equal(holds.isOver('key-1'), false)
  clock.pass(1)
  t.equal(holds.isOver('key-1'), true)
})

t.test('counts sleep as waiting, but never retries within a minute because of a clock jump', async (t) => {
  const clock = createManualClock()
  const holds = createRenewalHolds({ clock, random: () => 1 })
  const fail = () => holds.set('key-1', { setback: 'refused', lifeMs: MONTH, error: new Error('no') })
  fail()
  holds.skip(8 * HOUR)
  t.equal(holds.isOver('key-1'), false, 'not at once')
  clock.pass(MINUTE)
  t.equal(holds.isOver('key-1'), true)
  fail()
  holds.skip(30 * MINUTE)
  clock.pass(HOUR)
  t.equal(holds.isOver('key-1'), false, 'the second refusal holds two hours, of which half an hour was slept')
  clock.pass(30 * MINUTE)
  t.equal(holds.isOver('key-1'), true)
})

t.test('starts over for another kind of failure', async (t) => {
  const clock = createManualClock()
  const holds = createRenewalHolds({ clock, random: () => 1 })
  const fail = (setback: Setback) => holds.set('key-1', { setback, lifeMs: MONTH, error: new Error('no') })
  t.strictSame([fail('not_now'), fail('not_now'), fail('not_now')], [1_000, 2_000, 4_000])
  t.equal(fail('refused'), HOUR)
  t.equal(fail('not_now'), 1_000)
})
