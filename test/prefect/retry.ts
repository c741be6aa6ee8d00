/** When Prefect asks us to wait, and when we ask again. */
import t from 'tap'
import { isRetryStatus, parseHttpDate, parseRetryAfter, planRetry } from '../../src/prefect/retry.js'

const NOW = Date.parse('2026-11-20T10:00:00Z')

const RETRY_AFTER: readonly (readonly [value: string | undefined, ms: number | undefined])[] = [
  [undefined, undefined],
  ['', undefined],
  ['0', 0],
  ['2', 2000],
  ['1.5', 1500],
  [' 3 ', 3000],
  ['-1', undefined],
  ['1e9', undefined],
  ['999999999', 86_400_000],
  ['soon', undefined],
  ['Fri, 20 Nov 2026 10:00:05 GMT', 5000],
  ['Fri, 20 Nov 2026 09:00:00 GMT', 0],
]
for (const [value, ms] of RETRY_AFTER) {
  t.test(`Retry-After: ${value} means ${ms} ms`, async (t) =>
    t.equal(parseRetryAfter(value, { serverAt: undefined, now: NOW }), ms),
  )
}

t.test("a date counts from the server's clock, not from ours", async (t) => {
  const serverAt = Date.parse('2026-11-20T12:00:00Z')
  t.equal(parseRetryAfter('Fri, 20 Nov 2026 12:00:07 GMT', { serverAt, now: NOW }), 7000)
})

t.test('only real HTTP dates are dates', async (t) => {
  t.equal(parseHttpDate('Sun, 06 Nov 1994 08:49:37 GMT'), 784111777000)
  for (const text of [undefined, '', '2026', '2026-01-01T00:00:00Z', 'Xxx, 99 Xxx 2026 99:99:99 GMT']) {
    t.equal(parseHttpDate(text), undefined, String(text))
  }
})

t.test(
  'there are three tries, none of them past the deadline, none before the server wants it',
  async (t) => {
    const plan = (attempt: number, retryAfterMs: number | undefined, remainingMs: number) =>
      planRetry({ attempt, retryAfterMs, remainingMs, random: () => 0.5 })
    t.equal(plan(1, undefined, 10_000), 150)
    t.equal(plan(2, undefined, 10_000), 300)
    t.equal(plan(3, undefined, 10_000), undefined)
    t.equal(plan(1, 4000, 10_000), 4000)
    t.equal(plan(1, 10_000, 10_000), undefined)
  },
)

t.test('statuses that mean not now', async (t) => {
  t.strictSame(
    [400, 401, 403, 404, 408, 429, 500, 501, 502, 503, 504].filter(isRetryStatus),
    [408, 429, 502, 503, 504],
  )
})
