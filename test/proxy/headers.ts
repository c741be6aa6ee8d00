/** Headers through the proxy: what passes, where redirects lead, and URLs that point back at us. */
import t from 'tap'
import { unproxiedUrl, upstreamUrlOf } from '../../src/prefect/proxied.js'
import {
  acceptedHeaders,
  byName,
  contentLength,
  handshakeHeaders,
  localLocation,
  requestHeaders,
  responseHeaders,
} from '../../src/proxy/headers.js'

const ids = '/accounts/11111111-1111-1111-1111-111111111111/workspaces/22222222-2222-2222-2222-222222222222'
t.test('keeps all but the headers of the connection and its own', async (t) => {
  const table = [
    [
      ['Accept', 'a', 'accept', 'b'],
      ['Accept', 'a', 'accept', 'b'],
    ],
    [
      ['Connection', 'X-One, close', 'x-one', '1', 'X-Two', '2'],
      ['X-Two', '2'],
    ],
    [['TE', 'trailers', 'Keep-Alive', '1', 'Upgrade', 'h2c', 'Proxy-Authorization', 'x'], []],
    [['Authorization', 'x', 'HOST', 'h', 'Content-Length', '1', 'X-Forwarded-For', 'me', 'Via', 'x'], []],
    [['Cookie'], []],
  ] as const
  for (const [raw, kept] of table) t.same(requestHeaders(raw), kept, raw.join(' '))
  const response = [
    'Set-Cookie',
    'a',
    'Content-Length',
    '1',
    'Location',
    '/x',
    'Transfer-Encoding',
    'chunked',
  ]
  t.same(
    responseHeaders(response, (location) => `/here${location}`),
    ['Content-Length', '1', 'Location', '/here/x'],
  )
  t.equal(contentLength(response), 1)
  t.equal(contentLength(['X', '1']), undefined)
  t.same(byName(['Link', 'a', 'link', 'b']), { link: ['a', 'b'] })
})

t.test('offers only permessage-deflate, and asks for messages without context', async (t) => {
  const name = 'Sec-WebSocket-Extensions'
  t.same(handshakeHeaders([name, 'x-strange, permessage-deflate; a=1', 'X', '1'], false), [
    name,
    'permessage-deflate; a=1',
    'X',
    '1',
  ])
  t.same(handshakeHeaders([name, 'x-strange'], false), [])
  const accepted = [name, 'permessage-deflate', 'X', '1', 'Set-Cookie', 'a=b']
  t.same(acceptedHeaders(accepted), [name, 'permessage-deflate; client_no_context_takeover', 'X', '1'])
  t.same(acceptedHeaders([name, 'x-other']), [name, 'x-other'])
})

t.test('offers no extension, and `prefect` alone, for a handshake that was accepted before', async (t) => {
  const offered = [
    ...['Sec-WebSocket-Extensions', 'permessage-deflate', 'Sec-WebSocket-Protocol', 'other'],
    ...['sec-websocket-protocol', 'prefect', 'X', '1'],
  ]
  t.same(handshakeHeaders(offered, true), ['X', '1', 'sec-websocket-protocol', 'prefect'])
})

t.test('drops cookies, and whatever names another path or method, however it is written', async (t) => {
  const hostile = [
    ...[
      'Cookie',
      'COOKIE',
      'Cookie2',
      'X-Original-URL',
      'X-Original-URI',
      'X-Original-Method',
      'X-Original-Host',
    ],
    ...['X-Rewrite-URL', 'X-Rewrite-Uri', 'X-HTTP-Method-Override', 'X-HTTP-Method', 'X-Method-Override'],
    ...[
      'X-Method',
      'x_original_url',
      'X_HTTP_Method_Override',
      'X-HTTP_Method-Override',
      'HTTP-Method-Override',
    ],
    ...[
      'X-Forwarded-For',
      'X_Forwarded_Host',
      'X-Host',
      'Authorization',
      'Content_Length',
      'Transfer_Encoding',
    ],
  ]
  t.same(requestHeaders(hostile.flatMap((name) => [name, '1'])), [])
  const kept = ['X-Prefect-Worker-Id', 'Prefect-Csrf-Token', 'X-Request-Id', 'User-Agent', 'X-Originally']
  t.same(
    requestHeaders(kept.flatMap((name) => [name, '1'])),
    kept.flatMap((name) => [name, '1']),
  )
})

t.test('maps a redirect below the API to itself and leaves all others alone', async (t) => {
  const upstream = { origin: 'https://api.prefect.cloud', host: 'api.prefect.cloud', basePath: '/api' }
  const ours = { origin: 'http://127.0.0.1:1', prefix: '/proxy/x/api' }
  const table = [
    ['https://api.prefect.cloud/api/flows/?a=b#c', 'http://127.0.0.1:1/proxy/x/api/flows/?a=b#c'],
    ['http://api.prefect.cloud/api/flows/', 'http://127.0.0.1:1/proxy/x/api/flows/'],
    ['https://api.prefect.cloud/api', 'http://127.0.0.1:1/proxy/x/api'],
    ['/api/flows/', '/proxy/x/api/flows/'],
    ['https://api.prefect.cloud:8443/api/x', 'https://api.prefect.cloud:8443/api/x'],
    ['https://api.prefect.cloud.evil/api/x', 'https://api.prefect.cloud.evil/api/x'],
    ['https://api.prefect.cloud/apix', 'https://api.prefect.cloud/apix'],
    ['/login', '/login'],
    ['flows/', 'flows/'],
    ['http://[', 'http://['],
  ] as const
  for (const [from, to] of table) t.equal(localLocation(from, upstream, ours), to, from)
})

t.test('recognises a URL of its own and what it stands for', async (t) => {
  const own = ['127.0.0.1:4280', 'localhost:4280', 'broker.internal:4280']
  const table = [
    [`http://127.0.0.1:4280/proxy/cloud/api${ids}`, { profile: 'cloud', path: ids }],
    ['http://localhost:4280/proxy/a%20b/api/', { profile: 'a b', path: '' }],
    [`http://broker.internal:4280/proxy/cloud/api${ids}/`, { profile: 'cloud', path: ids }],
    [`http://127.0.0.1:9/proxy/cloud/api${ids}`, { profile: 'cloud', path: ids }],
    ['http://localhost:8888/proxy/4200/api', undefined],
    [`https://example.com/proxy/cloud/api${ids}`, undefined],
    ['http://127.0.0.1:4280/api', undefined],
    ['not a URL', undefined],
  ] as const
  for (const [url, expected] of table) t.same(unproxiedUrl(url, own), expected, url)
  const cloud = 'https://api.prefect.cloud/api'
  t.equal(upstreamUrlOf({ profile: 'cloud', path: ids }, cloud), `${cloud}${ids}`)
  t.equal(upstreamUrlOf({ profile: 'cloud', path: '' }, cloud), undefined)
})
