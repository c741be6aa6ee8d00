import fc from 'fast-check'
import t from 'tap'
import { Secret } from '../../src/std/secret.js'
import { decodeItem, encodeItem } from '../../src/vault/keychain.js'

t.test('keeps every text, without a NUL, a line break or an empty value in the keychain', async (t) => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (text) => {
      const encoded = encodeItem('key:a', new Secret(text))
      return /^pab1:[A-Za-z0-9+/=]+$/.test(encoded) && decodeItem('key:a', encoded).reveal() === text
    }),
  )
  for (const text of ['', '\0', '\ud800', '\r\n']) {
    t.equal(decodeItem('key:a', encodeItem('key:a', new Secret(text))).reveal(), text)
  }
})

t.test('rejects a value that we did not write, or wrote under another name', async (t) => {
  const base64 = (value: unknown) => `pab1:${Buffer.from(JSON.stringify(value)).toString('base64')}`
  const foreign = [
    'pnu_planted',
    '',
    'pab1:',
    'pab1:!!!',
    base64('text'),
    base64(['key:a']),
    base64(['key:a', 1]),
    base64({ 0: 'key:a', 1: 'x' }),
    encodeItem('key:b', new Secret('swapped')),
  ]
  for (const text of foreign) {
    t.throws(() => decodeItem('key:a', text), { code: 'vault_corrupt', message: /^(?!.*planted)/ }, text)
  }
})
