/** The text of the status. */
import { createHash } from 'node:crypto'
import t from 'tap'
import { describeOldKeys, describeRenewal, formatStatus } from '../../src/cli/status-text.js'
import { renewalView } from '../../src/wire/keys.js'
import { API_KEY, API_URL, KEY, sampleProfileStatus, sampleStatus } from '../fixtures/wire-samples.js'

const plain = (text: string) => text
const colors = { bold: plain, dim: plain, red: plain, green: plain, yellow: plain }
const now = Date.parse('2026-11-20T18:45:52Z')
const base = { profile: undefined, because: undefined, env: {}, version: '0.1.0', now, colors }
const key = { ...KEY, expires_at: '2026-12-20T18:45:51.000Z' }

function text(changes: object = {}, input: object = {}): string {
  return formatStatus({
    ...base,
    status: sampleStatus({ profiles: [sampleProfileStatus({ key })], ...changes }),
    ...input,
  })
}

t.test('prints this if nothing is wrong', async (t) => {
  t.equal(
    text(),
    `terry (terry@example.com) in prefect/terry

  profile    cloud (active in profiles.toml)
  api        ${API_URL}
  key        minted by prefect-auth, expires in 29 days (2026-12-20), sha256:1f2e3d4c5b6a
  stored in  the OS keychain
  daemon     0.1.0, pid 4242, up 8 hours, http://127.0.0.1:4280

No problems found.`,
  )
})

t.test('says so if Node reads every request', async (t) => {
  const { daemon } = sampleStatus()
  const shown = text({ daemon: { ...daemon, recogniser: 'not_compared', node: 'v26.0.0' } })
  t.match(shown, /\n {2}requests {3}read by Node alone: .* v26\.0\.0 \(slower, nothing else\)\n/)
  t.notMatch(
    text({ daemon: { ...daemon, recogniser: 'off' } }),
    'read by Node',
    'whoever switched it off knows',
  )
})

t.test('prints each problem with its remedy', async (t) => {
  const unready = sampleProfileStatus({
    key: undefined,
    owner: undefined,
    key_source: 'none',
    ready: false,
    reason: 'no key for this profile',
    hint: 'prefect-auth login --profile cloud',
    notices: ['the URL has no scheme'],
  })
  const vault = {
    backend: 'file',
    at_rest: 'not protected',
    because: 'x',
    state: 'locked',
    problem: { message: 'the vault is locked', hint: 'prefect-auth unlock' },
  }
  const listeners = [
    { door: 'tcp', address: 'http://127.0.0.1:4280', state: 'failed', problem: 'port 4280 is taken' },
  ]

  const shown = text({ profiles: [unready], vault, listeners, notices: ['mind this'] }, { version: '0.2.0' })

  t.match(shown, /^Not logged in\n/)
  t.match(shown, /stored in {2}an encrypted file, at rest: not protected \(locked\)/)
  t.match(shown, /! no key for this profile\n {2}prefect-auth login --profile cloud\n/)
  t.match(shown, /! the URL has no scheme\n/)
  t.match(shown, /! the vault is locked\n {2}prefect-auth unlock\n/)
  t.match(shown, /! port 4280 is taken\n/)
  t.match(shown, /! mind this\n/)
  t.match(shown, /! the daemon is version 0.1.0, this command is version 0.2.0/)
  t.notMatch(shown, 'No problems')
})

t.test('prints the requested profile and where it was named, or that there is none', async (t) => {
  const local = sampleProfileStatus({
    name: 'local',
    kind: 'server',
    api_url: 'http://127.0.0.1:4200/api',
    key: undefined,
    owner: undefined,
    workspace: undefined,
    key_source: 'none',
  })
  const profiles = [sampleProfileStatus(), local]

  const named = text({ profiles }, { profile: 'local', because: 'named by PREFECT_PROFILE' })
  t.match(named, /^Self-hosted server http:\/\/127.0.0.1:4200\/api\n/)
  t.match(named, 'local (named by PREFECT_PROFILE)')
  t.match(named, 'others     cloud (cloud)')
  t.match(named, 'No problems')
  t.match(
    text({ profiles }, { profile: 'prod' }),
    /No profile prod[\s\S]*! there is no profile 'prod'\n {2}prefect-auth profile ls/,
  )
})

t.test("compares the caller's environment with the profile", async (t) => {
  const fingerprint = `sha256:${createHash('sha256').update(API_KEY).digest('hex').slice(0, 12)}`
  const profiles = [sampleProfileStatus({ key: { ...key, fingerprint } })]
  const same = { PREFECT_API_URL: API_URL, PREFECT_API_KEY: API_KEY }

  t.match(text({ profiles }, { env: same }), 'No problems')
  const other = text({ profiles }, { env: { ...same, PREFECT_API_KEY: 'pnu_other' } })
  t.match(other, /! PREFECT_API_KEY is set to something else in this shell[\s\S]*unset PREFECT_API_KEY /)
  t.notMatch(other, 'pnu_other')
  t.match(
    text({ profiles }, { env: { PREFECT_API_KEY: 'x', PREFECT_API_URL: 'y' } }),
    'PREFECT_API_URL and PREFECT_API_KEY are set',
  )
})

t.test('prints proxy traffic per profile and token name', async (t) => {
  const line = {
    ...{ profile: 'cloud', token: 'prefect worker start', requests: 1204, replays: 1, parked: 3 },
    ...{ bytes_up: 999, bytes_down: 3_440_000, sockets: 2, sockets_opened: 5 },
    last_at: '2026-11-20T18:45:32.000Z',
  }
  const quiet = { ...line, token: undefined, requests: 1, replays: 0, parked: 0, sockets: 0, bytes_up: 1_000 }
  t.notMatch(text(), 'proxy')
  t.match(
    text({ proxy: [line, quiet] }),
    `
  proxy      cloud by 'prefect worker start': 1204 requests, 999 B up, 3.4 MB down, 2 sockets open, 1 replay, 3 told to wait, last 20 seconds ago
             cloud by the owner: 1 request, 1.0 kB up, 3.4 MB down, last 20 seconds ago
  daemon`,
  )
  t.match(text({ proxy: Array.from({ length: 11 }, () => line) }), 'and 3 more: prefect-auth metrics')
  t.notMatch(text({ proxy: [{ ...line, token: 'x\u001b[2J' }] }), '\u001b')
  const refused = [
    { operation: 'DELETE /admin/storage', count: 2 },
    { operation: 'x\u001b[2J', count: 1 },
  ]
  t.match(text({ proxy: [{ ...line, refused }] }), 'refused DELETE /admin/storage (2 times)')
  t.notMatch(text({ proxy: [{ ...line, refused }] }), '\u001b')
  t.match(
    text({ proxy_strangers: { refused: 3, last_at: line.last_at } }),
    'proxy      3 requests without a valid token refused, last 20 seconds ago',
  )
})

t.test('keeps text from elsewhere from controlling the terminal', async (t) => {
  const evil = sampleProfileStatus({
    name: 'cloud',
    because: 'x\u001b[2J',
    owner: { kind: 'user', id: 'u', handle: 'a\u001b]0;t\u0007', email: 'b\u009b1m@x' },
    workspace: { handle: 'w\u202e', account_id: 'a', workspace_id: 'w' },
    notices: ['n\u001b[31m'],
  })

  t.notMatch(text({ profiles: [evil] }).replaceAll('\n', ''), /[\p{Cc}\u202e]/u)
})

const NEW_YEAR = Date.UTC(2026, 0, 2)
const renewal = (changes: object) => renewalView.parse({ plan: 'scheduled', old_keys: [], ...changes })

const PLANS = [
  [{ at: '2026-01-20T00:00:00.000Z' }, 'in 18 days (2026-01-20)'],
  [{ at: '2026-01-01T00:00:00.000Z' }, 'due now'],
  [
    { at: '2026-01-20T00:00:00.000Z', last: { at: '2026-01-01T00:00:00.000Z', outcome: 'done' } },
    'in 18 days (2026-01-20), last on 2026-01-01',
  ],
  [
    { at: '2026-01-01T00:00:00.000Z', last: { at: '2026-01-01T00:00:00.000Z', outcome: 'failed' } },
    'due now, last attempt failed on 2026-01-01',
  ],
  [{ plan: 'not_renewable', why: 'it was pasted\u001b[31m' }, 'not possible: it was pasted[31m'],
  [{ plan: 'not_needed', why: 'x' }, 'not needed'],
] as const

t.test('describes the plan and the last renewal in one line', async (t) => {
  for (const [changes, line] of PLANS) t.equal(describeRenewal(renewal(changes), NEW_YEAR), line)
})

t.test('lists old keys with their expiry, and nothing if there are none', async (t) => {
  const old = { fingerprint: 'sha256:1', handed_out: true, retired_at: '2026-01-01T00:00:00.000Z' }
  t.equal(describeOldKeys(renewal({})), undefined)
  t.equal(
    describeOldKeys(renewal({ old_keys: [{ ...old, expires_at: '2026-01-20T00:00:00.000Z' }] })),
    '1 still valid: sha256:1 until 2026-01-20',
  )
  t.match(
    describeOldKeys(renewal({ old_keys: [old, old, old, old] })),
    /^4 still valid: .*\(expiry unknown\).*\.\.\.$/,
  )
})
