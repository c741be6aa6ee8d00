/** How keys edit a line. */
import t from 'tap'
import { edit } from '../../src/cli/ask.js'

t.test('edits the line as keys and pastes arrive', async (t) => {
  const table = [
    ['', 'abc', { line: 'abc', rest: '' }],
    ['ab', 'c\r', { line: 'abc', rest: '', ending: 'enter' }],
    ['', 'key\nnext\n', { line: 'key', rest: 'next\n', ending: 'enter' }],
    ['abc', '\u007f\b', { line: 'a', rest: '' }],
    ['', '\u007f', { line: '', rest: '' }],
    ['abc', '\u0015x', { line: 'x', rest: '' }],
    ['abc', '\u0003', { line: '', rest: '', ending: 'cancel' }],
    ['', '\u0004', { line: '', rest: '', ending: 'cancel' }],
    ['abc', '\u0004', { line: 'abc', rest: '' }],
    ['', '\u001b[200~pnu_x\u001b[201~', { line: 'pnu_x', rest: '' }],
    ['ab', '\u001b[A\u001b[1;5C\u001bOP\u0007', { line: 'abP', rest: '' }],
  ] as const

  for (const [before, keys, expected] of table) t.same(edit(before, keys), expected, JSON.stringify(keys))
})
