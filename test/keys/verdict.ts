/** The rule of doubt: which answers of Prefect, and when, make a key doubted, rejected, good again. */
import t from 'tap'
import {
  APART_MS,
  askAgainMs,
  GOOD,
  isEnded,
  judge,
  REFUSALS,
  type Standing,
} from '../../src/keys/verdict.js'
import { createServerTime } from '../../src/prefect/server-time.js'
import { createManualClock } from '../fixtures/manual-clock.js'

const SECOND = 1000
const MINUTE = 60 * SECOND
const HOUR = 60 * MINUTE

/** Questions every `everyMs` for `ms`, each answered at once; `isUp`: whether Prefect accepts the key then. */
function live(everyMs: number, ms: number, isUp: (at: number) => boolean) {
  let standing: Standing = GOOD
  const seen: string[] = []
  for (let at = 0; at <= ms; at += everyMs) {
    standing = judge(standing, isUp(at) ? { kind: 'accepted' } : { kind: 'refused', askedAt: at, at })
    if (seen.at(-1) !== standing.kind) seen.push(standing.kind)
  }
  return seen
}

/** What becomes of a key, by the outage and how often somebody asks. */
const OUTAGES: readonly (readonly [name: string, isUp: (at: number) => boolean, seen: readonly string[]])[] =
  [
    ['39 ms', (at) => at > 39, ['doubted', 'good']],
    ['1 s', (at) => at > SECOND, ['doubted', 'good']],
    ['5 s', (at) => at > 5 * SECOND, ['doubted', 'good']],
    ['5 min', (at) => at > 5 * MINUTE, ['doubted', 'good']],
    ['just less than the rule says', (at) => at > 4 * APART_MS - SECOND, ['doubted', 'good']],
    ['1 h', (at) => at > HOUR, ['doubted', 'rejected', 'good']],
    ['for ever', () => false, ['doubted', 'rejected']],
  ]

for (const everyMs of [10, 250, SECOND, 20 * SECOND, 30 * SECOND]) {
  for (const [name, isUp, seen] of OUTAGES) {
    t.test(`an outage of ${name}, asked every ${everyMs} ms`, async (t) => {
      t.strictSame(live(everyMs, 2 * HOUR, isUp), seen)
    })
  }
  t.test(`flapping never rejects, asked every ${everyMs} ms`, async (t) => {
    for (const period of [SECOND, 30 * SECOND, MINUTE, 5 * MINUTE]) {
      const seen = live(everyMs, 2 * HOUR, (at) => Math.floor(at / Math.max(period, everyMs)) % 2 === 1)
      t.notOk(seen.includes('rejected'), `${period} ms`)
      t.equal(seen[0], 'doubted')
    }
  })
}

t.test('counts separate questions only: those put long enough after the answer before', async (t) => {
  let standing: Standing = GOOD
  const refuse = (askedAt: number, at = askedAt) => {
    standing = judge(standing, { kind: 'refused', askedAt, at })
    return standing
  }
  // A hundred calls at once, one examination of two calls, a call that hung: one question.
  for (let count = 0; count < 100; count += 1) refuse(0, count)
  refuse(0, 10 * MINUTE)
  t.match(standing, { kind: 'doubted', refusals: 1 })
  for (let count = 1; count < REFUSALS - 1; count += 1) refuse(count * APART_MS)
  t.match(standing, { kind: 'doubted', refusals: REFUSALS - 1 })
  refuse((REFUSALS - 1) * APART_MS - 1)
  t.equal(standing.kind, 'doubted')
  t.equal(refuse((REFUSALS - 1) * APART_MS).kind, 'rejected')
  t.equal(judge(standing, { kind: 'accepted' }), GOOD, 'no verdict is for ever')
})

t.test('the end of a key by its own server is believed at once', async (t) => {
  t.equal(judge(GOOD, { kind: 'ended' }).kind, 'rejected')
  const clock = createManualClock()
  const time = createServerTime(clock)
  const key = { expiresAt: clock.now() + HOUR }
  clock.setWall(clock.now() + 400 * 24 * HOUR)
  t.equal(isEnded(key, time), false, 'our clock alone ends nothing')
  time.note(key.expiresAt - 1, clock.now())
  t.equal(isEnded(key, time), false)
  time.note(key.expiresAt + 1, clock.now())
  t.equal(isEnded(key, time), true)
  t.equal(isEnded({ ...key, isExpiryAssumed: true }, time), false, 'a guess ends nothing')
  t.equal(isEnded({}, time), false)
})

t.test(
  'asks again: at ticks in doubt, less than a dozen times in the first hour after, then hourly',
  async (t) => {
    t.ok(askAgainMs({ doubt: true }, 0) <= 30 * SECOND)
    let asked = 0
    for (let at = 0; at < HOUR; at += askAgainMs({ rejectedAt: 0 }, at)) asked += 1
    t.ok(asked <= 12, `${asked} times`)
    t.equal(askAgainMs({ rejectedAt: 0 }, HOUR), HOUR)
    t.equal(askAgainMs({ rejectedAt: HOUR }, 0), HOUR, 'whatever the clock says')
  },
)
