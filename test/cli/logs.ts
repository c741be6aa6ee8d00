/** JSON log lines in readable form. */
import t from 'tap'
import { formatLogLine } from '../../src/cli/commands/logs.js'

const plain = (text: string) => text
const colors = { bold: plain, dim: plain, red: (text: string) => `<${text}>`, green: plain, yellow: plain }

t.test('prints time, level, message and facts, in this order', async (t) => {
  const line = JSON.stringify({
    level: 30,
    time: 1795200352000,
    pid: 1,
    hostname: 'h',
    profile: 'cloud',
    msg: 'key renewed',
    count: 2,
  })

  t.equal(formatLogLine(line, colors), '2026-11-20 18:45:52Z INFO  key renewed  profile=cloud  count=2')
})

t.test('prints levels as words, ISO times, error messages and quoted values', async (t) => {
  const table = [
    [{ level: 'error', time: '2026-11-20T18:45:52.123Z', msg: 'no' }, '2026-11-20 18:45:52Z <ERROR> no'],
    [
      { level: 50, time: 1795200352000, msg: 'no', error: { message: 'a b', stack: 'x\ny' } },
      '2026-11-20 18:45:52Z <ERROR> no  error="a b"',
    ],
    [{ level: 35, msg: 'odd', list: ['a'] }, '-                    35    odd  list=["a"]'],
  ] as const

  for (const [record, text] of table) t.equal(formatLogLine(JSON.stringify(record), colors), text)
})

t.test('leaves other lines as they are, without control characters', async (t) => {
  for (const line of ['Started prefect-authd', '{"a":1}', '{broken', ''])
    t.equal(formatLogLine(line, colors), line)
  t.equal(formatLogLine('\u001b[31mred', colors), '[31mred')
})
