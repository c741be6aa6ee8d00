/** A key out of what people paste, or a refusal that helps and tells nothing. */
import t from 'tap'
import { BrokerError } from '../../src/base/errors.js'
import { isSendableKey, parseApiKey } from '../../src/prefect/key.js'

const KEY = `pnu_${'a1B2'.repeat(9)}`

const GOOD: readonly (readonly [name: string, text: string, key: string])[] = [
  ['a user key', KEY, KEY],
  ['a service account key', 'pnb_0123456789', 'pnb_0123456789'],
  ['a key with a prefix nobody knows', 'xyz-0123', 'xyz-0123'],
  ['white space around it', ` \t${KEY}\r\n`, KEY],
  ['double quotes around it', `"${KEY}"`, KEY],
  ['single quotes around it, and spaces within them', ` ' ${KEY} ' `, KEY],
  ['a byte order mark before it', `\ufeff${KEY}`, KEY],
  ['a key with = at the end', 'abc==', 'abc=='],
  ['a key of exactly 1000 characters', 'x'.repeat(1000), 'x'.repeat(1000)],
]

for (const [name, text, key] of GOOD) {
  t.test(`accepts ${name}`, async (t) => {
    t.equal(parseApiKey(text).reveal(), key)
    t.ok(isSendableKey(key))
  })
}

const BAD: readonly (readonly [name: string, text: string, says: RegExp])[] = [
  ['nothing', '', /empty/],
  ['white space', ' \n', /empty/],
  ['empty quotes', '""', /empty/],
  ['a space inside', 'pnu_abc SECRETTAIL', /spaces/],
  ['two lines', `pnu_abc\nSECRETTAIL`, /more than one line/],
  ['a header injection', 'pnu_abc\r\nx-evil: SECRETTAIL', /more than one line/],
  ['an escape character', 'pnu_\x1b[200~SECRETTAIL', /control characters/],
  ['a null byte', 'pnu_\x00SECRETTAIL', /control characters/],
  ['a letter that is not ASCII', 'pnu_SECRETTAILé', /ASCII/],
  ['a zero-width space', 'pnu_\u200bSECRETTAIL', /ASCII/],
  ['more than 1000 characters', `SECRETTAIL${'x'.repeat(1000)}`, /longer/],
  ['a key of Cloud 1', 'pcu_SECRETTAIL', /Cloud 1/],
  ['one of our own tokens', 'pab_SECRETTAIL', /a prefect-auth token/],
  ['a URL', 'http://localhost:1234/?key=SECRETTAIL', /URL/],
  ['a header', 'Bearer SECRETTAIL', /Authorization header/],
  ['a whole header', 'Authorization: Bearer SECRETTAIL', /Authorization header/],
  ['an assignment', 'export PREFECT_API_KEY=SECRETTAIL', /assignment/],
]

for (const [name, text, says] of BAD) {
  t.test(`refuses ${name} and does not repeat it`, async (t) => {
    try {
      parseApiKey(text)
      t.fail('it was accepted')
    } catch (error) {
      if (!(error instanceof BrokerError)) throw error
      t.equal(error.code, 'key_malformed')
      t.match(error.message, says)
      t.ok(error.hint)
      t.notMatch(`${error.message} ${error.hint} ${error.stack}`, 'SECRETTAIL')
    }
  })
}

t.test('does not send what cannot be put into a header', async (t) => {
  for (const key of ['', 'a b', 'a\nb', 'é', 'x'.repeat(1001)])
    t.notOk(isSendableKey(key), JSON.stringify(key))
})
