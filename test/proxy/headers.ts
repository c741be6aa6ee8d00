/** Where the proxy's requests go, where redirects lead, and URLs that point back at us. */
import t from 'tap'
import { unproxiedUrl, upstreamUrlOf } from '../../src/prefect/proxied.js'
import { upstreamOf } from '../../src/proxy/admission.js'
import { localLocation } from '../../src/proxy/headers.js'

const ids = '/accounts/11111111-1111-1111-1111-111111111111/workspaces/22222222-2222-2222-2222-222222222222'
const base = {
  name: 'x',
  because: '',
  source: 'file',
  isActive: true,
  cloudApiUrl: 'https://api.prefect.cloud/api',
  cloudUiUrl: '',
  warnings: [],
} as const

t.test('the upstream is the profile’s own API', async (t) => {
  t.same(upstreamOf({ ...base, kind: 'cloud', apiUrl: `https://api.prefect.cloud/api${ids}` }), {
    origin: 'https://api.prefect.cloud',
    host: 'api.prefect.cloud',
    basePath: '/api',
  })
  t.same(upstreamOf({ ...base, kind: 'server', apiUrl: 'http://me:h%40%@host:4200/x/api/' }), {
    origin: 'http://host:4200',
    host: 'host:4200',
    basePath: '/x/api',
    userinfo: 'me:h%40%',
  })
  t.equal(upstreamOf({ ...base, kind: 'none' }), undefined)
})

t.test('a redirect below the API leads to us, every other one stays what it is', async (t) => {
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

t.test('a URL of our own proxy is known, and what it stands for', async (t) => {
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
