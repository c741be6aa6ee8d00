/** Text of strangers is fit for a terminal. */
import t from 'tap'
import { plainText } from '../../src/std/text.js'

const CASES: readonly (readonly [name: string, text: string, expected: string])[] = [
  [
    'plain text stays as it is',
    'Only users can access this endpoint.',
    'Only users can access this endpoint.',
  ],
  ['an escape sequence loses its escape', '\x1b[2Jgone\x07', '[2Jgone'],
  ['lines become one line', 'a\r\n\tb  c', 'a b c'],
  ['a C1 control character is taken out', 'a\x9bb', 'a b'],
  ['marks that turn text around are taken out', 'abc\u202Etxt\u2066', 'abc txt'],
  ['letters of every script stay', 'Zoë 日本 ✓', 'Zoë 日本 ✓'],
  ['half a surrogate pair is taken out', 'a\ud800b', 'a b'],
  ['long text is cut, and shows it', 'x'.repeat(50), `${'x'.repeat(19)}…`],
  ['nothing stays nothing', '', ''],
]

for (const [name, text, expected] of CASES) {
  t.test(name, async (t) => t.equal(plainText(text, text.startsWith('x') ? 20 : 100), expected))
}
