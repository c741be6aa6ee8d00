import { format, inspect } from 'node:util'
import t from 'tap'
import { keyFingerprints, Secret, sha256Hex } from '../../src/std/secret.js'

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

t.test('a password cannot be searched for by its fingerprint', async (t) => {
  const password = new Secret('admin:summer2026')
  const before = password.fingerprint()
  t.match(before, /^hmac:[0-9a-f]{12}$/)
  t.notMatch(before, sha256Hex('admin:summer2026').slice(0, 12))
  t.equal(new Secret('admin:summer2026').fingerprint(), before, 'and is identified by it all the same')
  t.not(new Secret('admin:summer2025').fingerprint(), before)
  keyFingerprints(Buffer.alloc(32, 1))
  const keyed = password.fingerprint()
  t.not(keyed, before, 'other installations have others')
  keyFingerprints(Buffer.alloc(32, 1))
  t.equal(password.fingerprint(), keyed)
})
