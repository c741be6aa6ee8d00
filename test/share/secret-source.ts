/** Where the secrets of stores come from; what cannot be read is named, and never the secret. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { BrokerError, isBrokerError } from '../../src/base/errors.js'
import { parseSecretSource, type SecretSource } from '../../src/config/shares.js'
import { EMPTY_LEDGER, type Ledger } from '../../src/keys/ledger.js'
import { createReadSecret } from '../../src/share/secret-source.js'
import { createShareSecrets } from '../../src/share/secrets.js'
import { Secret } from '../../src/std/secret.js'

const TEXT = 'hvs.a-token-of-the-store'

t.test('a secret is read where its source says, or it is named why not', async (t) => {
  const dir = t.testdir({ token: `${TEXT}\n`, empty: '', two: `${TEXT}\n${TEXT}\n` })
  mkdirSync(join(dir, 'credentials'))
  writeFileSync(join(dir, 'credentials', 'bao'), TEXT)
  const env = { BAO: TEXT, CREDENTIALS_DIRECTORY: join(dir, 'credentials') }
  const items = new Map([['share-secret:prod', new Secret(TEXT)]])
  let isLocked = false
  const read = createReadSecret(env, {
    get: async (item) => {
      if (isLocked) throw new BrokerError('vault_locked', 'the vault is locked')
      return items.get(item)
    },
  })
  const outcome = async (text: string, by = read) => {
    const source: SecretSource | undefined = parseSecretSource(text)
    if (source === undefined) return 'not a source'
    try {
      return (await by(source, 'token of the store')).equals(new Secret(TEXT)) ? 'read' : 'another'
    } catch (error) {
      if (isBrokerError(error, 'share_store_login')) return `${error.message}; ${error.hint}`
      throw error
    }
  }
  const rows: readonly (readonly [string, string | RegExp])[] = [
    [`file:${dir}/token`, 'read'],
    ['env:BAO', 'read'],
    ['credential:bao', 'read'],
    ['vault:prod', 'read'],
    ['file:relative', 'not a source'],
    ['vault:Prod', 'not a source'],
    ['vault:../x', 'not a source'],
    ['credential:..', 'not a source'],
    [`file:${dir}/none`, /cannot read the token of the store from .*none: there is nothing in it/],
    [`file:${dir}/empty`, /nothing in it/],
    [`file:${dir}/two`, /more than one line/],
    ['env:NONE', /environment variable NONE of the daemon: there is nothing/],
    ['credential:none', /systemd credential none: there is nothing/],
    ['vault:none', /secret none of the vault: there is nothing in it; prefect-auth share secret none/],
  ]
  for (const [source, expected] of rows) t.match(await outcome(source), expected, source)
  t.match(
    await outcome('credential:bao', createReadSecret({}, { get: async () => undefined })),
    /nothing in it/,
  )
  isLocked = true
  t.match(await outcome('vault:prod'), /from the vault: the vault is locked; prefect-auth unlock/)
  t.notMatch(await outcome(`file:${dir}/two`), TEXT)
})

t.test('the vault and the ledger know the same secrets, whatever fails in between', async (t) => {
  let ledger: Ledger = EMPTY_LEDGER
  const items = new Map<string, Secret>()
  let isBroken = false
  const secrets = createShareSecrets({
    keeper: {
      ledger: () => ledger,
      async apply(change) {
        ledger = change(ledger)
        for (const item of ledger.doomed ?? []) items.delete(item)
      },
    },
    vault: {
      put: async (item, value) => {
        if (isBroken) throw new BrokerError('vault_unavailable', 'broken')
        items.set(item, value)
      },
    },
  })
  await secrets.put('prod', new Secret('one'))
  await secrets.put('prod', new Secret('two'))
  t.strictSame([secrets.list(), items.size], [['prod'], 1])
  isBroken = true
  await t.rejects(secrets.put('prod', new Secret('three')), { code: 'vault_unavailable' })
  t.ok(items.get('share-secret:prod')?.equals(new Secret('two')), 'the one before is still there')
  isBroken = false
  t.equal(await secrets.remove('prod'), true)
  t.equal(await secrets.remove('prod'), false)
  t.strictSame([secrets.list(), items.size], [[], 0])
  await secrets.put('prod', new Secret('four'))
  await secrets.put('other', new Secret('five'))
  t.strictSame(
    [[...secrets.list()], [...items.keys()]],
    [
      ['prod', 'other'],
      ['share-secret:prod', 'share-secret:other'],
    ],
  )
  t.notOk(ledger.doomed?.includes('share-secret:prod'), 'what is put again is not deleted later')
})
