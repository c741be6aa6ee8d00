/** The simulator's API over plain HTTP: the responses of Prefect Cloud. */
import { request as httpRequest } from 'node:http'
import t, { type Test } from 'tap'
import { z } from 'zod'
import { type Simulator, type SimulatorOptions, startCloudSimulator } from '../../sim/simulator.js'

const Key = z.object({
  id: z.uuid(),
  created: z.string(),
  name: z.string(),
  expiration: z.string().nullable(),
  key: z.string().optional(),
})
const Bot = z.object({ id: z.uuid(), api_key: Key })

async function open(t: Test, options: SimulatorOptions = {}): Promise<Simulator> {
  const sim = await startCloudSimulator(options)
  t.teardown(() => sim.close())
  return sim
}

async function ask(sim: Simulator, method: string, path: string, key?: string, body?: unknown) {
  const answer = await fetch(`${sim.apiUrl}${path}`, {
    method,
    headers: key === undefined ? {} : { authorization: `Bearer ${key}` },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  })
  const text = await answer.text()
  const value: unknown = text === '' ? undefined : JSON.parse(text)
  return { status: answer.status, headers: answer.headers, value }
}

const TWO_USERS = { users: [{ handle: 'terry' }, { handle: 'ada', admin: false }] }

t.test('tells who a key belongs to', async (t) => {
  const sim = await open(t, { bots: [{ name: 'ci', account: 'prefect' }] })
  const key = sim.issueKey()
  const terry = sim.directory.user('terry')
  t.strictSame((await ask(sim, 'GET', '/me/', key)).value, {
    id: terry.id,
    email: 'terry@example.com',
    handle: 'terry',
    first_name: 'Terry',
    last_name: 'Example',
  })
  t.match((await ask(sim, 'GET', '/me/workspaces', key)).value, [
    { account_handle: 'prefect', workspace_handle: 'terry', workspace_name: 'terry' },
  ])
  t.match((await ask(sim, 'GET', '/me/accounts', key)).value, [{ account_handle: 'prefect' }])

  const bot = sim.issueBotKey({ bot: 'ci' })
  t.match(bot, /^pnb_[A-Za-z0-9]{36}$/)
  t.match(await ask(sim, 'GET', '/me/', bot), {
    status: 403,
    value: { detail: 'Only users (not service accounts) can access this endpoint.' },
  })
  t.equal((await ask(sim, 'GET', '/me/workspaces', bot)).status, 200)
  t.equal((await ask(sim, 'GET', '/health')).status, 200, 'health needs no key')
})

t.test('lists 500 workspaces', async (t) => {
  const sim = await open(t, { accounts: [{ handle: 'big', workspaces: 500 }] })
  const { value } = await ask(sim, 'GET', '/me/workspaces', sim.issueKey())
  t.equal(z.array(z.object({ workspace_id: z.uuid() })).parse(value).length, 500)
})

t.test('refuses what Prefect Cloud refuses', async (t) => {
  const sim = await open(t, TWO_USERS)
  const key = sim.issueKey()
  const terry = sim.directory.user('terry').id
  const ada = sim.directory.user('ada').id
  const account = [...sim.directory.accounts.keys()].join()
  const wrong = `pnu_${'x'.repeat(36)}`
  const cases = [
    { name: 'no key', method: 'GET', path: '/me/', status: 401 },
    { name: 'a wrong key', method: 'GET', path: '/me/', key: wrong, status: 401 },
    { name: 'a wrong key on an unknown path', method: 'GET', path: '/nothing', key: wrong, status: 401 },
    { name: 'a missing slash', method: 'GET', path: '/me', key, status: 404 },
    { name: 'a slash too many', method: 'GET', path: '/me/workspaces/', key, status: 404 },
    { name: 'an unknown key id', method: 'GET', path: `/users/${terry}/api_keys/nope`, key, status: 404 },
    { name: "another user's keys", method: 'POST', path: `/users/${ada}/api_keys`, key, status: 403 },
    { name: 'a list of keys', method: 'GET', path: `/users/${terry}/api_keys`, key, status: 405 },
    { name: 'a change of a key', method: 'PATCH', path: `/users/${terry}/api_keys`, key, status: 405 },
    {
      name: 'a member who makes service accounts',
      method: 'POST',
      path: `/accounts/${account}/bots/`,
      key: sim.issueKey({ user: 'ada' }),
      status: 403,
    },
    {
      name: 'a workspace that is not ours',
      method: 'GET',
      path: `/accounts/${account}/workspaces/00000000-0000-4000-8000-000000000000/health`,
      key,
      status: 404,
    },
  ]
  for (const { name, method, path, key: presented, status } of cases) {
    const body = method === 'GET' ? undefined : { name: 'x' }
    t.equal((await ask(sim, method, path, presented, body)).status, status, name)
  }
  t.strictSame((await ask(sim, 'GET', '/me/')).value, { detail: 'Invalid authentication credentials' })
})

t.test('mints, shows and deletes keys for the user itself', async (t) => {
  const sim = await open(t, { clock: { start: Date.parse('2026-01-01T00:00:00Z'), frozen: true } })
  const key = sim.issueKey()
  const path = `/users/${sim.directory.user('terry').id}/api_keys`

  const answer = await ask(sim, 'POST', path, key, { name: 'ours', expiration: '2026-01-31T00:00:00Z' })
  t.equal(answer.status, 201)
  const minted = Key.parse(answer.value)
  t.match(minted.key, /^pnu_[A-Za-z0-9]{36}$/)
  t.equal(minted.expiration, '2026-01-31T00:00:00Z', 'echoed unchanged')
  const fresh = minted.key ?? ''

  const shown = await ask(sim, 'GET', `${path}/${minted.id}`, fresh)
  t.equal(Key.parse(shown.value).key, undefined, 'the text is shown once')
  t.equal(Key.parse((await ask(sim, 'POST', path, key, { name: 'without expiry' })).value).expiration, null)
  t.equal((await ask(sim, 'POST', path, key, { name: 'x', expiration: 'soon' })).status, 422)
  t.equal((await ask(sim, 'POST', path, key, {})).status, 422)

  t.equal((await ask(sim, 'DELETE', `${path}/${minted.id}`, key)).status, 204)
  t.equal((await ask(sim, 'DELETE', `${path}/${minted.id}`, key)).status, 404)
  sim.clock.advance(299_999)
  t.equal((await ask(sim, 'GET', '/me/', fresh)).status, 200, 'a deleted key is accepted for five minutes')
  sim.clock.advance(1)
  t.equal((await ask(sim, 'GET', '/me/', fresh)).status, 401)

  sim.allowMinting(false)
  t.equal((await ask(sim, 'POST', path, key, { name: 'x' })).status, 403)
})

t.test('a key expires on time, and the Date header carries simulated time', async (t) => {
  const start = Date.parse('2026-01-01T00:00:00Z')
  const sim = await open(t, { clock: { start, frozen: true } })
  const key = sim.issueKey({ expiresAt: start + 60_000 })
  sim.clock.advance(59_999)
  t.equal((await ask(sim, 'GET', '/me/', key)).status, 200)
  sim.clock.set(start + 60_000)
  const { status, headers } = await ask(sim, 'GET', '/me/', key)
  t.equal(status, 401)
  t.equal(headers.get('date'), 'Thu, 01 Jan 2026 00:01:00 GMT')
})

t.test('lists keys only if enabled', async (t) => {
  const sim = await open(t, { keyListing: true })
  const key = sim.issueKey({ name: 'mine' })
  const path = `/users/${sim.directory.user('terry').id}/api_keys`
  t.match((await ask(sim, 'GET', path, key)).value, [{ name: 'mine', expiration: null }])
})

t.test('rotates the key of a service account with a grace period', async (t) => {
  const sim = await open(t, { clock: { frozen: true } })
  const admin = sim.issueKey()
  const path = `/accounts/${sim.directory.workspace('prefect/terry').accountId}/bots`
  const made = await ask(sim, 'POST', `${path}/`, admin, { name: 'ci' })
  t.equal(made.status, 201)
  const bot = Bot.parse(made.value)
  const old = bot.api_key.key ?? ''

  const rotated = await ask(sim, 'POST', `${path}/${bot.id}/rotate_api_key`, admin, {
    api_key_expiration: null,
    old_key_expires_in_seconds: 60,
  })
  t.equal(rotated.status, 201)
  const fresh = Bot.parse(rotated.value).api_key.key ?? ''
  t.not(fresh, old)
  t.equal((await ask(sim, 'GET', '/me/workspaces', old)).status, 200, 'the old one works on')
  sim.clock.advance(60_000)
  t.equal((await ask(sim, 'GET', '/me/workspaces', old)).status, 401)
  t.equal((await ask(sim, 'GET', '/me/workspaces', fresh)).status, 200)

  const wanted = { service_accounts: { name: { any_: ['ci'] } } }
  const listed = await ask(sim, 'POST', `${path}/filter`, admin, wanted)
  t.equal(z.array(Bot).parse(listed.value).length, 1)
  t.equal((await ask(sim, 'DELETE', `${path}/${bot.id}`, admin)).status, 204)
  t.equal((await ask(sim, 'GET', `${path}/${bot.id}`, admin)).status, 404)
})

t.test(
  'a rotation may end every earlier key but the one that it replaces, and answers may be old',
  async (t) => {
    const sim = await open(t, { clock: { frozen: true }, bots: [{ name: 'ci', account: 'prefect' }] })
    const admin = sim.issueKey()
    const { id } = sim.directory.bot('ci')
    const path = `/accounts/${sim.directory.workspace('prefect/terry').accountId}/bots`
    const rotate = async () => {
      sim.clock.advance(1000)
      const overlap = { old_key_expires_in_seconds: 60 }
      const { value } = await ask(sim, 'POST', `${path}/${id}/rotate_api_key`, admin, overlap)
      return Bot.parse(value).api_key
    }
    const works = ({ key = '' }: z.output<typeof Key>) => sim.keys.authenticate(key) !== undefined
    const newest = async () => Bot.parse((await ask(sim, 'GET', `${path}/${id}`, admin)).value).api_key.id
    const [first, second, third] = [await rotate(), await rotate(), await rotate()]
    t.strictSame([first, second, third].map(works), [true, true, true])
    sim.keepOnePrevious(true)
    const fourth = await rotate()
    t.strictSame([first, second, third, fourth].map(works), [false, false, true, true])
    t.equal(await newest(), fourth.id)
    sim.ageServiceAccounts(() => 500)
    t.equal(await newest(), third.id)
    sim.clock.advance(500)
    t.equal(await newest(), fourth.id)
    sim.ageServiceAccounts(() => 10_000)
    t.equal(await newest(), first.id, 'never none')
  },
)

t.test('limits the rate with a Retry-After in seconds, and forbids on demand', async (t) => {
  const start = Date.parse('2026-01-01T00:00:15Z')
  const sim = await open(t, { clock: { start, frozen: true }, requestsPerMinute: 1 })
  const key = sim.issueKey()
  t.equal((await ask(sim, 'GET', '/me/', key)).status, 200)
  const limited = await ask(sim, 'GET', '/me/', key)
  t.equal(limited.status, 429)
  t.equal(limited.headers.get('retry-after'), '45')
  sim.clock.advance(45_000)
  t.equal((await ask(sim, 'GET', '/me/', key)).status, 200)

  sim.limit(undefined)
  const lift = sim.forbid('not from here')
  t.match(await ask(sim, 'GET', '/me/', key), { status: 403, value: { detail: 'not from here' } })
  lift()
  t.equal((await ask(sim, 'GET', '/me/', key)).status, 200)
})

t.test('requires a Content-Length of at most 5 MiB', async (t) => {
  const sim = await open(t)
  const statusOf = (headers: Record<string, string>) =>
    new Promise<number | undefined>((resolve, reject) => {
      const outgoing = httpRequest(`${sim.apiUrl}/users/x/api_keys`, {
        method: 'POST',
        headers,
        agent: false,
      })
      outgoing.on('response', (response) => {
        response.resume()
        resolve(response.statusCode)
        outgoing.destroy()
      })
      outgoing.on('error', reject)
      outgoing.flushHeaders()
    })
  t.equal(await statusOf({ 'transfer-encoding': 'chunked' }), 411)
  t.equal(await statusOf({ 'content-length': String(5 * 1024 * 1024 + 1) }), 413)
})

t.test('logs requests with fingerprints and never with a key', async (t) => {
  const sim = await open(t)
  const key = sim.issueKey()
  await ask(sim, 'GET', '/me/', key)
  t.match(sim.requests, [{ method: 'GET', path: '/api/me/', status: 200, key: /^sha256:[0-9a-f]{12}$/ }])
  t.equal(sim.requests[0]?.key, sim.keys.find(key)?.fingerprint)
  t.notMatch(JSON.stringify([sim.requests, sim.keys.all()]), key)
})
