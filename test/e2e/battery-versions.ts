/** What the battery lets the proxy add for an older version: what that version cannot read of its own table, and nothing else. */
import t from 'tap'
import { hasGaps, withoutAdded } from './fixtures/version-gaps.js'

const PROFILES = `
[profiles.auth]
PREFECT_API_AUTH_STRING = 'user:of-auth'
[profiles."h 1"]
PREFECT_CLIENT_CUSTOM_HEADERS = '{"X-Of": "headers"}'
`
const BASIC = `Basic ${Buffer.from('user:of-auth').toString('base64')}`
const OF_ANOTHER = `Basic ${Buffer.from('user:of-another').toString('base64')}`

const receivedWith = (headers: Readonly<Record<string, string>>) =>
  JSON.stringify([{ url: 'http://x/api', headers }])
const AUTH = { 'x-profile': 'auth' }
const HEADERS = { 'x-profile': 'h%201' }

const CASES: readonly (readonly [
  title: string,
  version: string,
  received: Readonly<Record<string, string>>,
  kept: Readonly<Record<string, string>>,
])[] = [
  ['takes the auth string off before 3.1.8', '3.1.7', { ...AUTH, authorization: BASIC }, AUTH],
  ...(['3.1.8', '3.2.15', '3.10.0', '4.0.0'] as const).map((version) => {
    const received = { ...AUTH, authorization: BASIC }
    return [`keeps the auth string of ${version}`, version, received, received] as const
  }),
  ['takes a header off before 3.4.8', '3.4.7', { ...HEADERS, 'x-of': 'headers' }, HEADERS],
  ...(['3.4.8', '3.10.0'] as const).map((version) => {
    const received = { ...HEADERS, 'x-of': 'headers' }
    return [`keeps a header of ${version}`, version, received, received] as const
  }),
  ...[
    { ...AUTH, authorization: OF_ANOTHER },
    { ...HEADERS, authorization: BASIC },
    { ...HEADERS, 'x-of': 'another' },
    { ...AUTH, 'x-of': 'headers' },
    { 'x-profile': 'gone', authorization: BASIC },
  ].map(
    (received, at) =>
      [`keeps what is not of the chosen table: ${at + 1}`, '3.0.11', received, received] as const,
  ),
]

for (const [title, version, received, kept] of CASES)
  t.test(title, async (t) =>
    t.equal(withoutAdded(version, PROFILES, receivedWith(received)), receivedWith(kept)),
  )

t.test('leaves alone what is not a request', async (t) =>
  t.equal(withoutAdded('3.0.11', 'not TOML', 'own_server'), 'own_server'),
)

t.test('knows which versions it adds something for', async (t) => {
  for (const version of ['3.0.11', '3.3.7', '3.4.7']) t.ok(hasGaps(version), version)
  for (const version of ['2.20.27', '3.4.8', '3.10.0', '4.0.0']) t.notOk(hasGaps(version), version)
})
