/** Answers with odd fields: the rest of them is read. */
import t from 'tap'
import { z } from 'zod'
import { parseTolerantly } from '../../src/client/tolerant.js'

const schema = z.object({
  name: z.string(),
  lines: z.array(z.object({ count: z.number().int(), at: z.string().optional() })),
  facts: z.object({ port: z.number().int() }).optional(),
})
const good = { name: 'x', lines: [{ count: 1 }, { count: 2, at: 'now' }], facts: { port: 1 } }

t.test('reads a good answer as it is', async (t) => {
  t.strictSame(parseTolerantly(schema, good), { value: good, without: [] })
})

t.test('leaves out the smallest part that does not fit', async (t) => {
  const table = [
    [
      { ...good, lines: [{ count: 2 ** 53 + 2 }, { count: 2 }] },
      { ...good, lines: [{ count: 2 }] },
      ['lines.0'],
    ],
    [{ ...good, lines: [{ count: 1, at: 7 }] }, { ...good, lines: [{ count: 1 }] }, ['lines.0.at']],
    [{ ...good, facts: { port: '1' } }, { name: 'x', lines: good.lines }, ['facts']],
    [
      { ...good, lines: ['odd', null, { count: 3 }] },
      { ...good, lines: [{ count: 3 }] },
      ['lines.0', 'lines.0'],
    ],
  ] as const
  for (const [answer, value, without] of table) {
    const read = parseTolerantly(schema, answer)
    t.strictSame(read?.value, value)
    for (const place of without) t.ok(read?.without.includes(place), place)
  }
})

t.test('reads nothing without a part that must be there, and nothing from garbage', async (t) => {
  const many = Array.from({ length: 200 }, () => 'odd')
  for (const answer of [
    { ...good, name: 7 },
    { lines: [] },
    'text',
    null,
    undefined,
    [],
    { ...good, lines: many },
  ]) {
    t.equal(parseTolerantly(schema, answer), undefined)
  }
})
