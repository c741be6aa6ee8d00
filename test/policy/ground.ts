/** The ground floor: which operations a token may ask for, whatever its policy. */
import fc from 'fast-check'
import t from 'tap'
import { createGround, isMethodAllowed, operationOf } from '../../src/policy/ground.js'
import { ADMINISTRATION, KEY_NOUN, WRITABLE } from '../../src/policy/table.js'

const findFlaw = createGround([])

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
    `/accounts/${A}/workspaces`,
    '/me',
    '/me/',
    '/me/workspaces',
    '/me/accounts',
    '/health',
    '/collections/views/aggregate-worker-metadata',
  ]
  for (const path of paths) t.equal(findFlaw('GET', path, cloud), undefined, path)
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
  for (const path of paths) t.type(findFlaw('GET', path, cloud), 'string', path)
  for (const path of ['/me/', '/health']) t.type(findFlaw('POST', path, cloud), 'string', `POST ${path}`)
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
    t.type(findFlaw('GET', `${own}/${part}/${part}/x`, cloud), 'string', shown)
    t.type(findFlaw('GET', `/x/${part}/y`, { kind: 'server' }), 'string', `${shown} at a server`)
  }
  t.type(findFlaw('GET', `/accounts/${A}/%62ots`, cloud), 'string', 'a letter in percent signs')
  t.type(findFlaw('GET', `/accounts/${A}/%2562ots`, cloud), 'string', 'twice')
  t.type(findFlaw('GET', `//accounts/${X}`, cloud), 'string')
})

t.test('refuses whatever administers the workspace, and lets everything else of it pass', async (t) => {
  const refused = [
    ['PATCH', own],
    ['DELETE', own],
    ['DELETE', `${own}/`],
    ['PUT', own],
    ['POST', `${own}/transfer`],
    ...['user_access', 'bot_access', 'team_access', 'access', 'User_Access', 'user-access'].flatMap(
      (noun) => [
        ['POST', `${own}/${noun}/`],
        ['PUT', `${own}/${noun}`],
        ['DELETE', `${own}/${noun}/${X}`],
        ['GET', `${own}/${noun}`],
      ],
    ),
    ['POST', `${own}/%75ser_access`],
    ['POST', `${own}/%2575ser_access`],
    ['POST', `${own}/user_access;x`],
    ['POST', `${own}/invitations`],
    ['POST', `${own}/admin/database/clear`],
    ['PUT', `${own}/admin/storage`],
  ]
  for (const [method = '', path = ''] of refused)
    t.type(findFlaw(method, path, cloud), 'string', `${method} ${path}`)
  const passed = [
    ['GET', own],
    ['HEAD', own],
    ['OPTIONS', `${own}/flows/`],
    ['POST', `${own}/flows/`],
    ['DELETE', `${own}/variables/name/transfer`],
    ['PATCH', `${own}/deployments/${X}`],
    ['PUT', `${own}/block_types/slug/user_access`],
    ['GET', `${own}/admin/version`],
    ['POST', `${own}/automations/`],
    ['POST', `${own}/webhooks/`],
  ]
  for (const [method = '', path = ''] of passed)
    t.equal(findFlaw(method, path, cloud), undefined, `${method} ${path}`)
})

t.test('lets nothing be written outside the workspace', async (t) => {
  const account = `/accounts/${A}`
  const paths = [
    ...['', '/', '/me', '/health', '/collections/views/x', '/admin/storage', '/admin/database/clear'],
    ...['', '/settings', '/ip_allowlist', '/account_memberships', `/account_memberships/${X}`, '/teams'].map(
      (path) => `${account}${path}`,
    ),
    ...[
      '/invitations',
      '/workspaces',
      '/workspaces/',
      '/domains',
      '/sso',
      '/account_roles',
      '/events/in',
    ].map((path) => `${account}${path}`),
  ]
  for (const path of paths) {
    for (const method of ['POST', 'PUT', 'PATCH', 'DELETE']) {
      t.type(findFlaw(method, path, cloud), 'string', `${method} ${path}`)
    }
  }
  t.equal(findFlaw('POST', `${account}/workspaces/filter`, cloud), undefined, 'a question in a body')
  for (const noun of ['account_memberships', 'invitations', 'teams', 'audit_logs', 'billing']) {
    t.type(findFlaw('GET', `${account}/${noun}`, cloud), 'string', `nor ${noun} be read`)
  }
})

t.test('lets a self-hosted server be used, not administered', async (t) => {
  const server = { kind: 'server' } as const
  const passed = [
    ['GET', ''],
    ['GET', '/health'],
    ['GET', '/admin/version'],
    ['GET', '/admin/settings'],
    ['GET', '/csrf-token'],
    ['GET', '/something/new'],
    ['POST', '/flows/filter'],
    ['DELETE', `/flow_runs/${X}`],
    ['PATCH', '/v2/concurrency_limits/x'],
    ['POST', '/work_pools/a%20b/get_scheduled_flow_runs'],
  ]
  for (const [method = '', path = ''] of passed)
    t.equal(findFlaw(method, path, server), undefined, `${method} ${path}`)
  const refused = [
    ['POST', '/admin/database/clear'],
    ['POST', '/admin/database/drop'],
    ['POST', '/Admin/database/drop'],
    ['POST', '/%61dmin/database/drop'],
    ['POST', '/api/admin/database/drop'],
    ['PUT', '/admin/storage'],
    ['DELETE', '/admin/storage'],
    ['GET', '/admin/secrets'],
    ['POST', '/something/new'],
    ['DELETE', ''],
    ['POST', '/users/x/api_keys'],
    ['GET', '/users/x/api_keys'],
    ['POST', '/accounts/x/bots/'],
    ['GET', '/me/api_keys'],
    ['DELETE', `/accounts/${A}/workspaces/${W}`],
    ['POST', '/user_access'],
    ['GET', '/api_keys'],
  ]
  for (const [method = '', path = ''] of refused)
    t.type(findFlaw(method, path, server), 'string', `${method} ${path}`)
})

t.test('lets the owner add operations, but no keys and no other workspace', async (t) => {
  const findMore = createGround([
    'DELETE /admin/storage',
    'POST /accounts/{account}/workspaces/{workspace}/user_access/',
    'GET /accounts/{account}/workspaces/{any}/flows',
    'POST /accounts/{any}/bots',
    'GET /accounts/{any}/teams',
  ])
  t.equal(findMore('DELETE', '/admin/storage', { kind: 'server' }), undefined)
  t.type(findMore('PUT', '/admin/storage', { kind: 'server' }), 'string', 'another method')
  t.equal(findMore('POST', `${own}/user_access`, cloud), undefined)
  t.type(findMore('POST', `${own}/user_access/${X}`, cloud), 'string', 'another path')
  t.type(findMore('GET', `/accounts/${A}/workspaces/${X}/flows`, cloud), 'string')
  t.type(findMore('GET', `/accounts/${X}/teams`, cloud), 'string')
  t.equal(findMore('GET', `/accounts/${A}/teams`, cloud), undefined)
  t.type(findMore('POST', `/accounts/${A}/bots`, cloud), 'string')
})

t.test('names an operation without ids and chosen names', async (t) => {
  const table = [
    ['DELETE', `${own}/`, 'DELETE /accounts/{account}/workspaces/{workspace}'],
    ['POST', `${own}/user_access/${X}`, 'POST /accounts/{account}/workspaces/{workspace}/user_access/{id}'],
    ['PUT', '/accounts/acme/teams/42', 'PUT /accounts/{account}/teams/{id}'],
    ['POST', '/users/x1/api_keys', 'POST /users/{id}/api_keys'],
    ['GET', '/a/../b', 'GET /{ambiguous}'],
    ['GET', '/\u001b[31mred', 'GET /{ambiguous}'],
    ['GET', '/%C3%BCber', 'GET /{id}'],
    ['TRACE', '', 'TRACE /'],
  ] as const
  for (const [method, path, expected] of table) t.equal(operationOf(method, path), expected)
})

t.test('knows seven methods', async (t) => {
  for (const method of ['TRACE', 'CONNECT', 'PROPFIND', 'PURGE', 'M-SEARCH', 'QUERY', 'get', '']) {
    t.equal(isMethodAllowed(method), false, method)
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
      if (findFlaw('GET', path, cloud) !== undefined) return
      for (const seen of [path, path.replaceAll('\\', '/'), decodeURIComponent(path)]) {
        const { pathname } = new URL(`http://x${encodeURI(seen).replace(/[?#]/g, '_')}`)
        if (!pathname.toLowerCase().startsWith(own)) throw new Error(`${path} became ${pathname}`)
      }
    }),
    { numRuns: 5_000 },
  )
})

t.test('no noun that passes unexamined is about keys or administration', async (t) => {
  for (const noun of WRITABLE) {
    t.notMatch(noun, KEY_NOUN)
    t.notMatch(noun, ADMINISTRATION)
    t.not(noun, 'admin')
  }
})
