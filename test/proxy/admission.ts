/** Admission: where a profile's API is. */
import t from 'tap'
import { upstreamOf } from '../../src/proxy/admission.js'

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

t.test('finds the upstream of a profile', async (t) => {
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
