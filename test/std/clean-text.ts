/** Text of strangers on one line of a terminal. */
import t from 'tap'
import { cleanText } from '../../src/std/text.js'

t.test('what is not printable, too long or a key does not come through', async (t) => {
  for (const [text, expected] of [
    ['Terry Example', 'Terry Example'],
    ['Zoë 北京 🙂', 'Zoë 北京 🙂'],
    ['a\nb\r\n\tc', 'a b c'],
    ['\u001b]0;title\u0007\u001b[2Jx', ']0;title [2Jx'],
    ['evil\u202egnp.exe', 'evil gnp.exe'],
    ['zero\u200bwidth\u2066x', 'zero width x'],
    ['key pnu_0123456789 end', 'key [key] end'],
    ['\ud800', ''],
  ] as const) {
    t.equal(cleanText(text), expected)
  }
  t.equal(cleanText('x'.repeat(300), 10), 'xxxxxxxxx…')
})
