/** Text from strangers is safe to print, and holds no secrets. */
import t from 'tap'
import {
  cleanText,
  plainText,
  printable,
  printableJson,
  printableLines,
  scrub,
  shellWord,
} from '../../src/std/text.js'

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

t.test('removes unprintable characters and keys, and cuts long text', async (t) => {
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

t.test('every function keeps to one class of unprintable characters', async (t) => {
  for (const character of [
    '\u0007',
    '\u009b',
    '\u00ad',
    '\u200b',
    '\u200e',
    '\u202e',
    '\u2028',
    '\u2066',
    '\ufeff',
    '\ud800',
    '\ue000',
    '\uffff',
    '\u{e0041}',
    '\u{10ffff}',
  ]) {
    const name = `U+${character.codePointAt(0)?.toString(16)}`
    const text = `a${character}b`
    t.equal(plainText(text, 10), 'a b', name)
    t.equal(cleanText(text), 'a b', name)
    t.equal(printable(text), 'ab', name)
    t.equal(printableLines(`${text}\n${text}`), 'ab\nab', name)
    t.equal(shellWord(text), 'ab', name)
    const json = printableJson([text], 0)
    t.match(json, /^\["a(\\u[0-9a-f]{4}){1,2}b"\]$/, name)
    t.same(JSON.parse(json), [text], name)
  }
})

t.test('cuts between characters, never inside one', async (t) => {
  t.equal(plainText('🦊🦊🦊🦊', 3), '🦊🦊…')
  t.equal(cleanText('🦊🦊🦊🦊', 3), '🦊🦊…')
})

const KEY = `pnu_${'a1B2'.repeat(9)}`

const SECRETS: readonly (readonly [name: string, text: string, secret: string])[] = [
  ['a user key', `bad key ${KEY}!`, KEY],
  ['a service account key', 'pnb_0123456789', '0123456789'],
  ['a key of Cloud 1', 'pcu_0123456789', '0123456789'],
  ['one of our tokens', 'pab_A-b_c0123456789', 'c0123456789'],
  ['a key after an escaped newline in JSON', JSON.stringify({ text: `x\n${KEY}` }), KEY],
  ['a key in a URL', `http://localhost:1/?key=unknown-prefix&x=1`, 'unknown-prefix'],
  [
    'an unknown token in an Authorization header',
    'Authorization: Bearer 0123456789abcdef',
    '0123456789abcdef',
  ],
  ['a Basic header', 'authorization: basic dXNlcjpwYXNzd29yZA==', 'dXNlcjpwYXNzd29yZA'],
  ['the password in a URL', 'http://user:hunter2@proxy:3128', 'hunter2'],
]

for (const [name, text, secret] of SECRETS) {
  t.test(`${name} does not survive`, async (t) => {
    t.notMatch(scrub(text), secret)
    t.match(scrub(text), '[secret]')
  })
}

t.test('text without secrets is untouched', async (t) => {
  const text =
    'GET https://api.prefect.cloud/api/me/ 401 Basic authentication sha256:1f2e3d4c5b6a http://[::1]:4280/'
  t.equal(scrub(text), text)
})

t.test('JSON stays JSON, whatever is taken out', async (t) => {
  const value = {
    a: `Bearer ${KEY}`,
    b: 'x?key=abc"def',
    c: 'https://u:p@h/',
    d: `Basic ${'x'.repeat(30)}\\"`,
  }
  t.doesNotThrow(() => JSON.parse(scrub(JSON.stringify(value))))
})
