/** Whatever looks like a secret is taken out of text. */
import t from 'tap'
import { scrub } from '../../src/std/text.js'

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
