import { format, inspect } from 'node:util'
import t from 'tap'
import { Secret, sha256Hex } from '../../src/std/secret.js'

const TEXT = 'pnu_do-not-print-me'

t.test('never prints a secret', async (t) => {
  const secret = new Secret(TEXT)
  const printed: readonly [string, string][] = [
    ['a template', `${secret}`],
    ['a sum', `x${String(secret)}`],
    ['JSON', JSON.stringify({ secret, list: [secret] })],
    ['inspect', inspect({ secret }, { showHidden: true, depth: 9 })],
    ['format', format('%s %o %O %j %d', secret, secret, secret, secret, secret)],
    ['its names', Object.getOwnPropertyNames(secret).join()],
    ['a spread', JSON.stringify({ ...secret })],
    ['an error', inspect(new Error('x', { cause: secret }))],
    ['a clone', inspect(structuredClone({ ...secret }))],
  ]
  for (const [name, text] of printed) t.notMatch(text, 'do-not-print-me', name)
  t.equal(secret.reveal(), TEXT)
})

t.test('compares secrets by text and identifies them by fingerprint', async (t) => {
  const secret = new Secret(TEXT)
  t.equal(secret.equals(new Secret(TEXT)), true)
  t.equal(secret.equals(new Secret(`${TEXT} `)), false)
  t.equal(secret.fingerprint(), `sha256:${sha256Hex(TEXT).slice(0, 12)}`)
  t.equal(sha256Hex(''), 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855')
  t.equal(secret.length, TEXT.length)
  t.equal(secret.startsWith('pnu_'), true)
})
