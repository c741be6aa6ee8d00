import t from 'tap'
import { FAILURES_WITHIN_MS, MOST_FAILURES, planStart } from '../../src/daemon/starts.js'

const NOW = 1_000_000_000
const MINUTE = 60_000
const every = (ms: number, count: number) => Array.from({ length: count }, (_, at) => NOW - (count - at) * ms)

for (const [name, starts, kept] of [
  ['the first', [], 0],
  ['after four quick failures', every(10_000, 4), 4],
  ['after a hundred, one every three minutes', every(3 * MINUTE, 100), 3],
  ['after five that are long ago', every(10_000, 5).map((at) => at - FAILURES_WITHIN_MS), 0],
  ['after five in a future that never came', every(10_000, 5).map((at) => at + MINUTE), 0],
] as const) {
  t.test(`starts: ${name}`, async (t) => {
    const plan = planStart({ starts }, NOW)
    t.equal(plan.kind, 'start')
    t.strictSame(plan.book, { starts: [...(kept === 0 ? [] : starts.slice(-kept)), NOW] })
  })
}

t.test('gives up after five starts within ten minutes, until a person or a login starts it', async (t) => {
  let book = { starts: [] as readonly number[] }
  for (let count = 0; count < MOST_FAILURES; count += 1) {
    const plan = planStart(book, NOW + count * 10_000)
    t.equal(plan.kind, 'start')
    book = plan.book
  }
  const last = planStart(book, NOW + 50_000)
  t.match(last, { kind: 'give_up', failures: 5, book: { givenUpAt: NOW + 50_000 } })
  const again = planStart(last.book, NOW + 60_000)
  t.strictSame(
    again,
    { kind: 'start', book: { starts: [NOW + 60_000] } },
    'the next login tries again, and counts anew',
  )
})
