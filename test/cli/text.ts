/** Times in words. */
import t from 'tap'
import { formatDate, formatRelative, formatSpan, formatTime } from '../../src/cli/text.js'

const HOUR = 3_600_000

t.test('prints a span in the largest unit that is not too coarse', async (t) => {
  const table = [
    [0, '0 seconds'],
    [1_500, '1 second'],
    [90_000, '1 minute'],
    [119 * 60_000, '119 minutes'],
    [2 * HOUR, '2 hours'],
    [47 * HOUR, '47 hours'],
    [48 * HOUR, '2 days'],
    [30 * 24 * HOUR - 1, '29 days'],
    [-3 * HOUR, '3 hours'],
  ] as const

  for (const [ms, text] of table) t.equal(formatSpan(ms), text)
})

t.test('prints times in UTC and relative to now', async (t) => {
  const now = Date.parse('2026-11-20T18:45:52Z')

  t.equal(formatDate('2026-12-20T23:59:59+00:00'), '2026-12-20')
  t.equal(formatTime('2026-12-20T23:59:59.999Z'), '2026-12-20 23:59:59')
  t.equal(formatRelative('2026-11-20T21:45:52Z', now), 'in 3 hours')
  t.equal(formatRelative('2026-11-20T18:40:52Z', now), '5 minutes ago')
})
