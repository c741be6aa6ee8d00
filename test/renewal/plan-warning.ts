import t from 'tap'
import { planWarning, warningsAfter } from '../../src/renewal/plan.js'

const DAY = 86_400_000
const key = (life: number, warned?: number) => ({
  issuedAt: 0,
  expiresAt: life,
  ...(warned === undefined ? {} : { warned }),
})

const ROWS: readonly (readonly [string, ReturnType<typeof key>, number, number | undefined])[] = [
  ['eight days before the end: nothing', key(30 * DAY), 22 * DAY, undefined],
  ['seven days before', key(30 * DAY), 23 * DAY, 7],
  ['seven days, said before: nothing', key(30 * DAY, 7), 24 * DAY, undefined],
  ['three days, seven said', key(30 * DAY, 7), 27 * DAY, 3],
  ['one day, after a long sleep, nothing said: the most urgent alone', key(30 * DAY), 29.5 * DAY, 1],
  ['expired', key(30 * DAY, 1), 30 * DAY, 0],
  ['expired, said', key(30 * DAY, 0), 40 * DAY, undefined],
  ['a key of six days: its seven and three days are skipped', key(6 * DAY), 4 * DAY, undefined],
  ['a key of six days, one day before', key(6 * DAY), 5 * DAY, 1],
  ['a key of one hour: only its end', key(DAY / 24), DAY / 24, 0],
  ['said while the clock was a year ahead, which counts no more', key(30 * DAY, 0), 23 * DAY, 7],
]

for (const [name, record, now, expected] of ROWS) {
  t.test(name, async (t) => {
    t.equal(planWarning(record, now), expected)
  })
}

t.test('never warns of a key without a known expiry', async (t) => {
  t.equal(planWarning({ issuedAt: 0 }, 1e15), undefined)
})

t.test('lists the warnings still to come', async (t) => {
  t.strictSame(warningsAfter(key(30 * DAY), 23 * DAY), [27 * DAY, 29 * DAY, 30 * DAY])
  t.strictSame(warningsAfter(key(DAY), 0), [DAY])
  t.strictSame(warningsAfter(key(30 * DAY), 30 * DAY), [])
  t.strictSame(warningsAfter({ issuedAt: 0 }, 0), [])
})
