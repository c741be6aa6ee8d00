import t from 'tap'
import { Secret } from '../../src/std/secret.js'
import { openExport, sealExport } from '../../src/vault/export.js'

const PASSPHRASE = new Secret('four random words here')

t.test('what was sealed opens with its passphrase, and with no other', async (t) => {
  const sealed = await sealExport(new Secret('{"version":1}'), PASSPHRASE, 1024)
  t.equal((await openExport(sealed, PASSPHRASE)).reveal(), '{"version":1}')
  await t.rejects(openExport(sealed, new Secret('other words')), { code: 'vault_passphrase_wrong' })
  for (const n of [3, 2048])
    await t.rejects(openExport({ ...sealed, n }, PASSPHRASE), { code: 'vault_passphrase_wrong' }, `n ${n}`)
})
