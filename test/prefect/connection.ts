/** What a profile's table says of certificates and headers, as Prefect's client reads it. */
import t from 'tap'
import { connectionOf } from '../../src/prefect/connection.js'

const SKIP = 'PREFECT_API_TLS_INSECURE_SKIP_VERIFY'
const CA = 'PREFECT_API_SSL_CERT_FILE'
const HEADERS = 'PREFECT_CLIENT_CUSTOM_HEADERS'

const tell = (settings: Record<string, string>) => {
  const { tls, headers = [] } = connectionOf(settings) ?? {}
  return [tls, headers.map(([name, value]) => `${name}: ${value.reveal()}`)]
}
const own = { caFile: '/ca.pem', namedBy: CA }

const ROWS: readonly (readonly [
  name: string,
  settings: Record<string, string>,
  tls: unknown,
  headers: string[],
])[] = [
  ['nothing', {}, undefined, []],
  ['empty settings', { [CA]: '', [SKIP]: '', [HEADERS]: '{}' }, undefined, []],
  ['a file of certificates', { [CA]: '/ca.pem' }, own, []],
  ['no verification', { [SKIP]: 'true' }, { isUnverified: true }, []],
  ['a TOML boolean', { [SKIP]: 'True' }, { isUnverified: true }, []],
  ['no verification beside a file', { [SKIP]: '1', [CA]: '/ca.pem' }, { isUnverified: true }, []],
  ['verification', { [SKIP]: 'false', [CA]: '/ca.pem' }, own, []],
  [
    'headers of Cloudflare Access',
    { [HEADERS]: '{"CF-Access-Client-Id": "id", "CF-Access-Client-Secret": "s"}' },
    undefined,
    ['CF-Access-Client-Id: id', 'CF-Access-Client-Secret: s'],
  ],
  ['a cookie', { [HEADERS]: '{"Cookie": "CF_Authorization=x"}' }, undefined, ['Cookie: CF_Authorization=x']],
  ['headers that are not JSON', { [HEADERS]: 'X-A=b' }, undefined, []],
  ['headers that are a list', { [HEADERS]: '["a", "b"]' }, undefined, []],
  ['a value that is no text', { [HEADERS]: '{"X-A": 1, "X-B": "b"}' }, undefined, ['X-B: b']],
  ...[
    ...['Authorization', 'AUTHORIZATION', 'Proxy-Authorization', 'Host', 'Connection', 'Content-Length'],
    ...['Content-Type', 'Transfer-Encoding', 'Upgrade', 'Sec-WebSocket-Protocol', 'Accept-Encoding'],
    ...['User-Agent', 'Prefect-Csrf-Token', 'Expect', 'a name', 'a\r\nX-Evil', ''],
  ].map((name) => {
    const row = [
      `the header ${JSON.stringify(name)}`,
      { [HEADERS]: JSON.stringify({ [name]: 'v' }) },
    ] as const
    return [...row, undefined, [] as string[]] as const
  }),
  ['a value with a line break', { [HEADERS]: '{"X-A": "b\\r\\nX-Evil: 1"}' }, undefined, []],
]

for (const [name, settings, tls, headers] of ROWS) {
  t.test(name, (t) => {
    t.strictSame(tell(settings), [tls, headers])
    t.end()
  })
}

t.test('a header cannot be printed by accident: it may be a secret', (t) => {
  const connection = connectionOf({ [HEADERS]: '{"CF-Access-Client-Secret": "hunter2"}' })
  t.notMatch(JSON.stringify(connection), 'hunter2')
  t.end()
})
