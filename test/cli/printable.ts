/** Text from elsewhere cannot control the terminal. */
import t from 'tap'
import { printable, printableJson, printableLines, shellWord } from '../../src/cli/text.js'

t.test('removes what a terminal obeys and keeps what people read', async (t) => {
  const table = [
    ['terry', 'terry'],
    ['Jörg 🦊 日本', 'Jörg 🦊 日本'],
    ['\u001b[2J\u001b]0;owned\u0007x', '[2J]0;ownedx'],
    ['a\u009b31mb', 'a31mb'],
    ['one\r\ntwo\tthree', 'one two three'],
    ['abc\u202edcba\u2066x', 'abcdcbax'],
    ['nul\u0000del\u007f', 'nuldel'],
  ] as const

  for (const [from, to] of table) t.equal(printable(from), to)
  t.equal(printableLines('a\u001b\nb\u0007'), 'a\nb')
})

t.test('escapes such characters in JSON without changing the value', async (t) => {
  const value = { name: 'a\u009b31m\u007f\u001b[2J\u202eb', list: ['x\ny'] }

  const text = printableJson(value)

  t.same(JSON.parse(text), value)
  t.notMatch(text.replaceAll('\n', ''), /[\p{Cc}\u202e]/u)
})

t.test('makes any text one word of a command', async (t) => {
  const table = [
    ['terry@example.com', 'terry@example.com'],
    ['acme/ws', 'acme/ws'],
    ['x; rm -rf ~', "'x; rm -rf ~'"],
    ["it's $(id)", "'it'\\''s $(id)'"],
    ['', "''"],
  ] as const

  for (const [from, to] of table) t.equal(shellWord(from), to)
})
