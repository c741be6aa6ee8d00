import t from 'tap'
import { planVault, type VaultChoice, type VaultFacts } from '../../src/vault/choice.js'

const store = '11111111-1111-4111-8111-111111111111'
const keychain: VaultChoice = { backend: 'keychain', store, because: 'it answered' }
const file: VaultChoice = { backend: 'file', wrap: 'passphrase', store, because: 'no keychain' }
const stateDir = "/home/o'brien/state"

const plan = (facts: Partial<VaultFacts>) =>
  planVault({ settings: { backend: 'auto' }, recorded: undefined, found: undefined, stateDir, ...facts })

t.test('decides if nothing is recorded or found', async (t) => {
  for (const backend of ['auto', 'keychain', 'file'] as const) {
    t.same(plan({ settings: { backend } }), { kind: 'decide' })
  }
})

t.test('opens the recorded vault, whatever auto would choose today', async (t) => {
  t.same(plan({ recorded: keychain }), { kind: 'open', choice: keychain, isNew: false })
  t.same(plan({ recorded: file }), { kind: 'open', choice: file, isNew: false })
  // A file vault that was left behind does not take the keychain's place.
  t.same(plan({ recorded: keychain, found: { wrap: 'key-file', store } }), {
    kind: 'open',
    choice: keychain,
    isNew: false,
  })
})

t.test('adopts a file vault without a recorded choice', async (t) => {
  t.match(plan({ found: { wrap: 'key-file', store } }), {
    kind: 'open',
    isNew: true,
    choice: { backend: 'file', wrap: 'key-file', store },
  })
})

t.test('rejects contradictions, with a command to start over that a shell understands', async (t) => {
  const refused = { code: 'setting_invalid', hint: /mv '\/home\/o'\\''brien\/state' / }
  t.throws(() => plan({ recorded: keychain, settings: { backend: 'file' } }), refused)
  t.throws(() => plan({ recorded: file, settings: { backend: 'keychain' } }), refused)
  t.throws(() => plan({ recorded: file, settings: { backend: 'file', keyWrap: 'key-file' } }), refused)
  t.throws(() => plan({ found: { wrap: 'key-file', store }, settings: { backend: 'keychain' } }), refused)
  t.same(plan({ recorded: file, settings: { backend: 'file', keyWrap: 'auto' } }).kind, 'open')
})

t.test('rejects a choice and a data key of different vaults', async (t) => {
  const other = '22222222-2222-4222-8222-222222222222'
  for (const found of [
    { wrap: 'passphrase', store: other },
    { wrap: 'key-file', store },
  ] as const) {
    t.throws(() => plan({ recorded: file, found }), { code: 'state_corrupt' })
  }
})
