/** Admission: which paths a token may ask for, and where a profile's API is. */
import fc from 'fast-check'
import t from 'tap'
import { findPathFlaw, upstreamOf } from '../../src/proxy/admission.js'

const A = '11111111-1111-1111-1111-aaaaaaaaaaaa'
const W = '22222222-2222-2222-2222-bbbbbbbbbbbb'
const X = '33333333-3333-3333-3333-cccccccccccc'
const cloud = { kind: 'cloud', workspaces: [{ accountId: A, workspaceId: W }] } as const
const own = `/accounts/${A}/workspaces/${W}`

t.test('allows what Prefect’s clients ask for', async (t) => {
  const paths = [
    '',
    '/',
    own,
    `${own}/`,
    `${own}/flow_runs/filter`,
    `${own}/deployments/name/my%20flow/rotate_api_keys`,
    `${own}/variables/name/50%25`,
    `${own}/work_pools/%C3%BCber/get_scheduled_flow_runs`,
    `${own}/block_types/slug/bots/block_documents/name/api_keys`,
    `/accounts/${A.toUpperCase()}/workspaces/${W.toUpperCase()}/flows/`,
    `/accounts/${A}`,
    `/accounts/${A}/`,
    `/accounts/${A}/settings`,
    `/accounts/${A}/ip_allowlist/my_access`,
    `/accounts/${A}/events/out`,
    `/accounts/${A}/workspaces/filter`,
    '/me',
    '/me/',
    '/me/workspaces',
    '/me/accounts',
    '/health',
    '/collections/views/aggregate-worker-metadata',
  ]
  for (const path of paths) t.equal(findPathFlaw('GET', path, cloud), undefined, path)
})

t.test('refuses paths of others and of keys', async (t) => {
  const paths = [
    `/accounts/${X}`,
    `/accounts/${X}/workspaces/${W}/flows`,
    `/accounts/${A}/workspaces/${X}/flows`,
    `/accounts/${A}/workspaces/${X}`,
    `/accounts/${A}/bots`,
    `/accounts/${A}/bots/`,
    `/accounts/${A}/bots/filter`,
    `/accounts/${A}/Bots/`,
    `/accounts/${A}/bots/x/rotate_api_key`,
    `/accounts/${A}/service_accounts`,
    `/accounts/${A}/users/x/api_keys`,
    `${own}/bots`,
    `${own}/api_keys`,
    '/users/x',
    '/users/x/api_keys',
    '/users/x/api_keys/filter',
    '/auth/login',
    '/me/api_keys',
    '/me/workspaces/x',
    '/anything',
    '/ACCOUNTS/x',
  ]
  for (const path of paths) t.type(findPathFlaw('GET', path, cloud), 'string', path)
  for (const path of ['/me/', '/health']) t.type(findPathFlaw('POST', path, cloud), 'string', `POST ${path}`)
})

t.test('refuses a path that can be read in two ways', async (t) => {
  const up = [
    '..',
    '.',
    '%2e%2e',
    '%2E%2e',
    '.%2e',
    '..;',
    '..;x=1',
    '.;',
    '%252e%252e',
    '%25252e',
    '%2f',
    '%2F',
    '%252f',
    '%5c',
    '\\',
    '%255c',
    '%00',
    '%0d%0a',
    '%7f',
    '%',
    '%2',
    '%zz',
    '%ff',
    '#',
    '\u0000',
    '',
    '%c0%ae%c0%ae',
  ]
  for (const part of up) {
    const shown = JSON.stringify(part)
    t.type(findPathFlaw('GET', `${own}/${part}/${part}/x`, cloud), 'string', shown)
    t.type(findPathFlaw('GET', `/x/${part}/y`, { kind: 'server' }), 'string', `${shown} at a server`)
  }
  t.type(findPathFlaw('GET', `/accounts/${A}/%62ots`, cloud), 'string', 'a letter in percent signs')
  t.type(findPathFlaw('GET', `/accounts/${A}/%2562ots`, cloud), 'string', 'twice')
  t.type(findPathFlaw('GET', `//accounts/${X}`, cloud), 'string')
})

t.test('refuses key paths of a server, and nothing else', async (t) => {
  for (const path of ['', '/flows/filter', '/admin/version', '/csrf-token', '/anything/at/all']) {
    t.equal(findPathFlaw('POST', path, { kind: 'server' }), undefined, path)
  }
  for (const path of ['/users/x/api_keys', '/accounts/x/bots/']) {
    t.type(findPathFlaw('POST', path, { kind: 'server' }), 'string', path)
  }
})

t.test('allows no path that leaves the workspace however it is normalised', async () => {
  const part = fc.oneof(
    fc.constantFrom(
      '..',
      '.',
      '%2e',
      '%2E%2E',
      '%2f',
      '\\',
      ';',
      '..;',
      '',
      'a',
      A,
      W,
      X,
      'accounts',
      'workspaces',
      'users',
      'bots',
    ),
    fc.string({ maxLength: 6 }),
    fc.webFragments(),
  )
  fc.assert(
    fc.property(fc.array(part, { maxLength: 8 }), (parts) => {
      const path = `${own}/${parts.join('/')}`
      if (findPathFlaw('GET', path, cloud) !== undefined) return
      for (const seen of [path, path.replaceAll('\\', '/'), decodeURIComponent(path)]) {
        const { pathname } = new URL(`http://x${encodeURI(seen).replace(/[?#]/g, '_')}`)
        if (!pathname.toLowerCase().startsWith(own)) throw new Error(`${path} became ${pathname}`)
      }
    }),
    { numRuns: 5_000 },
  )
})

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
