/** Flat header lists: read, rewritten and written without losing an order, a case or a repetition. */
import t from 'tap'
import { headerLines, headerValues, pairs, rewriteHeaders } from '../../src/http/headers.js'

const RAW = ['Host', 'authd', 'X-A', '1', 'x-a', '2', 'Accept', '']

t.test('pairs a name with its value, in order, and drops a name that has none', (t) => {
  const cases = [
    [[], []],
    [['Host'], []],
    [['Host', ''], [['Host', '']]],
    [['A', '1', 'B'], [['A', '1']]],
  ] as const
  for (const [raw, expected] of cases) t.same([...pairs(raw)], expected, JSON.stringify(raw))
  t.end()
})

t.test('finds every value of a header, whatever its case', (t) => {
  t.same(headerValues(RAW, 'x-a'), ['1', '2'])
  t.same(headerValues(RAW, 'accept'), [''])
  t.same(headerValues(RAW, 'x-b'), [])
  t.end()
})

t.test('rewrites values and drops headers, and keeps the case of the names', (t) => {
  const changed = rewriteHeaders(RAW, (name, value) => (name === 'host' ? undefined : `${value}${name}`))
  t.same(changed, ['X-A', '1x-a', 'x-a', '2x-a', 'Accept', 'accept'])
  t.end()
})

t.test('writes one line a header', (t) => {
  t.equal(headerLines(['Host', 'authd', 'X', '']), 'Host: authd\r\nX: \r\n')
  t.equal(headerLines([]), '')
  t.end()
})
