import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import type { ConnectionSettings } from '../../src/prefect/connection.js'
import type { ResolvedProfile } from '../../src/profiles/profile.js'
import { judgeCertificates } from '../../src/status/connections.js'

const caFile = join(t.testdir({}), 'ca.pem')
writeFileSync(caFile, 'a certificate')

const profile = (name: string, tls: ConnectionSettings['tls'], kind: ResolvedProfile['kind'] = 'cloud') => ({
  resolved: {
    ...{
      name,
      kind,
      because: '',
      source: 'file',
      isActive: false,
      cloudApiUrl: 'x',
      cloudUiUrl: 'y',
      warnings: [],
    },
    ...(tls === undefined ? {} : { connection: { tls } }),
  } satisfies ResolvedProfile,
})

const ROWS: readonly (readonly [
  name: string,
  profiles: Parameters<typeof judgeCertificates>[0],
  found: object,
])[] = [
  ['nothing set', [profile('a', undefined)], { verdict: 'ok' }],
  ['a file that is there', [profile('a', { caFile })], { verdict: 'ok' }],
  [
    'a file that is missing',
    [profile('a', undefined), profile('my b', { caFile: '/no/such.pem' }, 'server')],
    {
      verdict: 'problem',
      finding: /PREFECT_API_SSL_CERT_FILE of profile 'my b'.*\/no\/such\.pem/,
      remedy: "prefect --profile 'my b' config unset --yes PREFECT_API_SSL_CERT_FILE",
    },
  ],
  ['a directory', [profile('a', { caFile: t.testdirName })], { verdict: 'problem' }],
  ['a relative path', [profile('a', { caFile: 'ca.pem' })], { verdict: 'problem', finding: /absolute/ }],
  [
    'no verification',
    [profile('a', { isUnverified: true }), profile('b', { caFile }), profile('c', { isUnverified: true })],
    { verdict: 'warning', finding: /'a', 'c'.*the key included/, remedy: /--profile a .*SKIP_VERIFY/ },
  ],
  ['a profile that leads nowhere', [profile('a', { isUnverified: true }, 'none')], { verdict: 'ok' }],
]

for (const [name, profiles, found] of ROWS) {
  t.test(name, async (t) => t.match(await judgeCertificates(profiles), found))
}
