/** Where a secret may become text. Every file here is a place to look at when a key has leaked. */
import t from 'tap'
import { sourceFiles } from '../fixtures/source-files.js'

const REVEALERS: Readonly<Record<string, string>> = {
  'src/std/secret.ts': 'defines it',
  'src/domain/key-envelope.ts': 'into the text that the vault keeps, and out of it',
  'src/domain/keychain-item.ts': 'into the text that the keychain keeps',
  'src/domain/vault-rules.ts': 'how long it is',
  'src/domain/hold-logins.ts': 'what a person pasted, to be cleaned',
  'src/adapters/vault-file.ts': 'to be sealed',
  'src/adapters/vault-key-wrap-passphrase.ts': 'the passphrase, to be stretched',
  'src/adapters/edit-profiles-toml.ts': 'a mirrored key, into profiles.toml',
  'src/adapters/cloud-call.ts': 'into the Authorization header to Prefect',
  'src/adapters/cloud-errors.ts': "to take it out of Prefect's own words",
  'src/http/render-credentials.ts': 'into the answer to who may have it',
  'src/http/routes/keys.ts': 'a new key, shown once',
  'src/http/proxy/authorization.ts': 'into the Authorization header to the upstream',
}

t.test('.reveal() is called where the list says, and nowhere else', async (t) => {
  const found = sourceFiles('src').filter(({ code }) => /\breveal\b/.test(code))
  t.strictSame(
    found.map(({ path }) => path),
    Object.keys(REVEALERS).sort(),
  )
})

t.test('no key stands in the source', async (t) => {
  const found = sourceFiles('src', 'sim').filter(({ text }) => /\b(?:pn[ub]|pab)_[A-Za-z0-9]{20,}/.test(text))
  t.strictSame(
    found.map(({ path }) => path),
    [],
  )
})
