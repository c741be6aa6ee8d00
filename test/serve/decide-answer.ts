/** One row for each thing that the file and the vault may say of a profile, and what is served then. */
import t from 'tap'
import { BrokerError } from '../../src/base/errors.js'
import type { HeldSecret } from '../../src/keys/keeper.js'
import type { KeyRecord, ProfileRecord } from '../../src/keys/ledger.js'
import type { ResolvedProfile } from '../../src/profiles/profile.js'
import { type AnswerInputs, decideAnswer } from '../../src/serve/answer.js'
import type { ProfileState } from '../../src/serve/credentials.js'
import { Secret } from '../../src/std/secret.js'

const CLOUD = 'https://api.prefect.cloud/api'
const OTHER = 'https://cloud.example/api'
const SERVER = 'http://127.0.0.1:4200/api'

const ours = new Secret('pnu_ours')
const old = new Secret('pnu_old')
const stranger = new Secret('pnu_stranger')
const auth = new Secret('admin:pass')

const resolved: ResolvedProfile = {
  name: 'cloud',
  because: 'a test says so',
  source: 'file',
  isActive: true,
  kind: 'cloud',
  apiUrl: `${CLOUD}/accounts/a/workspaces/w`,
  cloudApiUrl: CLOUD,
  cloudUiUrl: 'https://app.prefect.cloud',
  workspace: { accountId: 'a', workspaceId: 'w' },
  warnings: [],
}
const server: ResolvedProfile = { ...resolved, kind: 'server', apiUrl: SERVER }
const none: ResolvedProfile = { ...resolved, kind: 'none' }

const known: ProfileRecord = {
  currentItem: 'key-1',
  owner: { kind: 'user', id: 'u', handle: 'terry' },
  workspaces: [{ accountId: 'a', accountHandle: 'prefect', workspaceId: 'w', workspaceHandle: 'terry' }],
  generation: 7,
  digest: '',
}

const record: KeyRecord = {
  item: 'key-1',
  profile: 'cloud',
  cloudApiUrl: CLOUD,
  fingerprint: ours.fingerprint(),
  origin: 'minted',
  issuedAt: 1,
  handedOut: false,
}
const retired: KeyRecord = { ...record, item: 'key-0', fingerprint: old.fingerprint(), retiredAt: 2 }

const hold = (secret: Secret, apiUrl = CLOUD): HeldSecret => ({ kind: 'held', secret, apiUrl })
const locked: HeldSecret = { kind: 'failed', error: new BrokerError('vault_locked', 'locked') }
const missing: HeldSecret = { kind: 'missing' }

/** A stored key that is current and in memory. */
const stored: AnswerInputs = {
  resolved,
  known,
  keys: [record],
  current: { record, held: hold(ours), renewsAt: 99 },
}
const nothing: AnswerInputs = { resolved, known, keys: [] }

const inFile = (fileKey: Secret, more: Partial<AnswerInputs> = {}): AnswerInputs => ({
  ...stored,
  keys: [record, retired],
  ...more,
  resolved: { ...resolved, fileKey },
})
const rejected = { ...record, rejectedAt: 3 }
/** The stranger's key as one that we hold for another profile. */
const of = (profile: string, more: Partial<KeyRecord>): KeyRecord => ({
  ...{ ...record, item: 'key-9', fingerprint: stranger.fingerprint() },
  ...{ profile, ...more },
})
const elsewhere = { ...record, cloudApiUrl: OTHER }
const withAuth = (held: HeldSecret): AnswerInputs => ({
  ...nothing,
  resolved: server,
  auth: { item: 'auth-1', held },
})

/** What is served and from where, or the code of the refusal and where the key is. */
function tell({ outcome, keySource, authSource }: ProfileState): string {
  if (outcome.kind === 'refused') return `${outcome.error.code} (${keySource})`
  const { apiKey, authString } = outcome.served
  const text = (apiKey ?? authString)?.reveal() ?? 'no secret'
  return `${text} (${apiKey === undefined ? authSource : keySource})`
}

const ROWS: readonly (readonly [name: string, inputs: AnswerInputs, expected: string])[] = [
  ['a stored key', stored, 'pnu_ours (vault)'],
  ['no key at all', nothing, 'login_required (none)'],
  [
    'a rejected key',
    { ...stored, keys: [rejected], current: { record: rejected, held: hold(ours) } },
    'login_required (vault)',
  ],
  [
    'a key of another host',
    { ...stored, keys: [elsewhere], current: { record: elsewhere, held: hold(ours, OTHER) } },
    'key_host_mismatch (vault)',
  ],
  ['a locked vault', { ...stored, current: { record, held: locked } }, 'vault_locked (vault)'],
  ['an item that is gone', { ...stored, current: { record, held: missing } }, 'login_required (vault)'],
  [
    'an item with another key',
    { ...stored, current: { record, held: hold(stranger) } },
    'login_required (vault)',
  ],
  [
    'an item of another host',
    { ...stored, current: { record, held: hold(ours, OTHER) } },
    'login_required (vault)',
  ],

  ['an unknown key in the file', inFile(stranger), 'pnu_stranger (file)'],
  [
    'an unknown key in the file, none stored',
    { ...nothing, resolved: { ...resolved, fileKey: stranger } },
    'pnu_stranger (file)',
  ],
  ['a mirror of the stored key', inFile(ours), 'pnu_ours (vault)'],
  ['an old mirror', inFile(old), 'pnu_ours (vault)'],
  ['an empty key in the file', inFile(new Secret('')), 'pnu_ours (vault)'],
  [
    'a mirror while the vault is locked',
    inFile(ours, { current: { record, held: locked } }),
    'pnu_ours (file)',
  ],
  [
    'a mirror of a rejected key',
    inFile(ours, { keys: [rejected], current: { record: rejected, held: hold(ours) } }),
    'login_required (vault)',
  ],
  ["another profile's key in the file", inFile(stranger, { keys: [of('work', {})] }), 'pnu_stranger (file)'],
  [
    "another profile's key of the same user in the file",
    inFile(stranger, { keys: [of('work', { userId: 'u' })] }),
    'pnu_ours (vault)',
  ],
  [
    "another profile's key of another user in the file",
    inFile(stranger, { keys: [of('work', { userId: 'v' })] }),
    'pnu_stranger (file)',
  ],
  [
    "another profile's key of a user in the file, none stored",
    { ...nothing, keys: [of('work', { userId: 'u' })], resolved: { ...resolved, fileKey: stranger } },
    'pnu_stranger (file)',
  ],
  [
    'the key that is shared with another profile in the file',
    inFile(ours, { keys: [{ ...record, profile: 'work' }] }),
    'pnu_ours (vault)',
  ],
  [
    'a key in the file that belongs to another host',
    inFile(stranger, { keys: [{ ...elsewhere, profile: 'work', fingerprint: stranger.fingerprint() }] }),
    'key_host_mismatch (vault)',
  ],

  ['a server without an auth string', { ...nothing, resolved: server }, 'no secret (none)'],
  ['a server gets no key', { ...stored, resolved: server }, 'no secret (none)'],
  ['a stored auth string', withAuth(hold(auth, SERVER)), 'admin:pass (vault)'],
  ['an auth string of another URL', withAuth(hold(auth)), 'key_host_mismatch (vault)'],
  ['an auth string that is gone', withAuth(missing), 'login_required (vault)'],
  ['an auth string in a locked vault', withAuth(locked), 'vault_locked (vault)'],
  [
    'an auth string in the file comes first',
    { ...withAuth(locked), resolved: { ...server, fileAuthString: auth } },
    'admin:pass (file)',
  ],
  ['a profile without an API', { ...stored, resolved: none }, 'no secret (none)'],
]

for (const [name, inputs, expected] of ROWS) {
  t.test(`${name}: ${expected}`, async (t) => {
    t.equal(tell(decideAnswer(inputs)), expected)
  })
}

t.test('a stored key comes with its facts, its owner and the name of the workspace', async (t) => {
  const { outcome, ...state } = decideAnswer(stored)
  t.match(state, { generation: 7, key: { origin: 'minted', renewsAt: 99 }, owner: { handle: 'terry' } })
  t.match(outcome, {
    served: {
      generation: 7,
      item: 'key-1',
      owner: { handle: 'terry' },
      workspace: { handle: 'prefect/terry' },
      cloudApiUrl: undefined,
    },
  })
})

t.test('a key from the file has no known owner, and no item', async (t) => {
  const { outcome, owner } = decideAnswer(inFile(stranger))
  if (outcome.kind === 'refused') throw outcome.error
  t.strictSame([owner, outcome.served.owner, outcome.served.item], [undefined, undefined, undefined])
  t.match(outcome.served.key, { origin: 'profile', fingerprint: stranger.fingerprint() })
})

t.test('other endpoints than those of Prefect Cloud are named', async (t) => {
  const away = { ...elsewhere, cloudApiUrl: OTHER }
  const { outcome } = decideAnswer({
    ...stored,
    resolved: { ...resolved, cloudApiUrl: OTHER, cloudUiUrl: 'https://ui.example' },
    current: { record: away, held: hold(ours, OTHER) },
  })
  t.match(outcome, { served: { cloudApiUrl: OTHER, cloudUiUrl: 'https://ui.example' } })
})

t.test('the pages of Cloud are named, so that no file of a directory leads to others', async (t) => {
  const { outcome } = decideAnswer(stored)
  t.match(outcome, { served: { cloudUiUrl: 'https://app.prefect.cloud' } })
})

t.test('notices are the warnings of the file, and why a login could not be exchanged', async (t) => {
  const { notices } = decideAnswer({
    ...stored,
    resolved: { ...resolved, warnings: ['look here'] },
    known: { ...known, exchangeRefused: 'minting was refused' },
  })
  t.strictSame(notices, ['look here', 'minting was refused'])
})

t.test('a refusal names the command that fixes it, and shows the key that is not served', async (t) => {
  const { outcome, key } = decideAnswer({ ...stored, current: { record, held: missing } })
  if (outcome.kind !== 'refused') throw new Error('nothing can be served')
  t.equal(outcome.error.hint, 'prefect-auth login --profile cloud')
  t.equal(key?.fingerprint, ours.fingerprint())
})

t.test('a file that was never read leaves every profile without an answer', async (t) => {
  const unread = new BrokerError('profiles_file_invalid', 'line 1')
  for (const inputs of [
    stored,
    inFile(stranger),
    { ...stored, resolved: server },
    { ...stored, resolved: none },
  ]) {
    const { outcome, keySource } = decideAnswer({ ...inputs, unread })
    t.match([outcome, keySource], [{ kind: 'refused', error: unread }, 'none'])
  }
})
