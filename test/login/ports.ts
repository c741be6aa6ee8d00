/** The ports of ended logins: nobody else gets them, and a late key waits for the next login. */
import { createServer } from 'node:net'
import t from 'tap'
import { BrokerError } from '../../src/base/errors.js'
import type { LoginSessions, LoginView } from '../../src/login/login.js'
import { lateKeyNotices, NO_PORTS } from '../../src/login/ports.js'
import { KEY, MALLORY, OTHER_KEY, TERRY } from '../fixtures/login-parts.js'
import { createManualClock } from '../fixtures/manual-clock.js'
import { memoryDocument } from '../fixtures/memory-parts.js'
import { rawRequest, sendRaw } from '../fixtures/raw-http.js'
import { deliver, JUNK, MALLORYS_KEY, portOf, start, types, until } from './fixtures/login-desk.js'

const HALF_HOUR_MS = 30 * 60_000

/** Whether another program could take the port on this address, as the attacker tries. */
function canBeTaken(port: number, host: string): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer()
    server.once('error', () => resolve(false))
    server.listen({ port, host, exclusive: true }, () => server.close(() => resolve(true)))
  })
}

async function takenFamilies(port: number): Promise<readonly string[]> {
  const families = ['127.0.0.1', '::1']
  const taken = await Promise.all(families.map((host) => canBeTaken(port, host)))
  return families.filter((_, index) => taken[index])
}

type Desk = ReturnType<typeof start>

/** Every way in which a login ends. */
const ENDS: readonly (readonly [name: string, end: (desk: Desk, login: LoginView) => Promise<unknown>])[] = [
  ['it expired', async ({ clock }) => clock.pass(120_000)],
  ['it was cancelled', ({ sessions }, { id }) => sessions.cancel(id)],
  [
    'its key was stored',
    async ({ sessions }, login) => {
      await sessions.submitKey(login.id, KEY, { exchange: false })
      await until(sessions, login.id, 'stored')
    },
  ],
]

for (const [name, end] of ENDS) {
  t.test(`keeps the port after a login: ${name}`, async (t) => {
    const desk = start(t)
    const { sessions, clock, events } = desk
    const { login } = await sessions.begin({})
    const port = portOf(login)
    await end(desk, login)
    t.notOk(['waiting', 'confirmed'].includes(sessions.get(login.id).state))
    t.strictSame(await takenFamilies(port), [], 'no other program can bind it')
    t.match(sessions.ports(), [{ port, profile: 'cloud', lateKeys: 0 }])

    t.equal(await deliver(login, OTHER_KEY), 205, 'a late click leaves no key in the browser')
    t.equal(await deliver(login, OTHER_KEY), 205, 'a repeated request is the same delivery')
    t.match(sessions.ports(), [{ lateKeys: 1 }])
    t.equal(types(events).filter((type) => type === 'login.late_key').length, 1)
    t.match(lateKeyNotices(sessions.ports()), [/arrived after the login had ended; run: prefect-auth login/])

    clock.pass(HALF_HOUR_MS - 1_000)
    t.strictSame(await takenFamilies(port), [], 'not even shortly before the half hour is over')
    clock.pass(1_000)
    t.strictSame(sessions.ports(), [])
    await freed(port)
    t.notMatch(JSON.stringify(events.since(0)), OTHER_KEY.reveal())
  })
}

/** Resolves once the port is free: closing takes a moment. */
async function freed(port: number): Promise<void> {
  while ((await takenFamilies(port)).length < 2) await new Promise((resolve) => setImmediate(resolve))
}

t.test('does not take a repeated delivery of the stored key for a late one', async (t) => {
  const { sessions } = start(t, { targets: { cloud: { owner: TERRY } } })
  const { login } = await sessions.begin({})
  t.equal(await deliver(login), 204)
  await until(sessions, login.id, 'stored')
  t.equal(await deliver(login), 205)
  t.match(sessions.ports(), [{ lateKeys: 0 }])
})

/** A login that ended without a click, and the click. */
async function clickLate(sessions: LoginSessions, ...keys: (typeof KEY)[]): Promise<void> {
  const { login } = await sessions.begin({})
  await sessions.cancel(login.id)
  for (const key of keys) t.equal(await deliver(login, key), 205)
}

t.test('the next login asks about the owner of a late key before it is stored', async (t) => {
  const { sessions, deliveries } = start(t)
  await clickLate(sessions, KEY)
  const { login } = await sessions.begin({})
  t.match(await until(sessions, login.id, 'verified'), { owner: TERRY, isOwnerKnown: false })
  t.equal(deliveries.length, 0)
  await sessions.confirm(login.id, { accept: true })
  await until(sessions, login.id, 'stored')
  t.match(deliveries, [{ key: KEY, via: 'browser', exchange: true }])
  t.match(sessions.ports(), [{ lateKeys: 0 }, { lateKeys: 0 }])
})

t.test('stores a late key of the known owner without a question', async (t) => {
  const { sessions } = start(t, { targets: { cloud: { owner: TERRY } } })
  await clickLate(sessions, KEY)
  const { login } = await sessions.begin({})
  t.match(await until(sessions, login.id, 'stored'), { owner: TERRY })
})

t.test('junk and foreign keys that came late cost the next login nothing', async (t) => {
  const { sessions } = start(t, { targets: { cloud: { owner: TERRY } } })
  await clickLate(sessions, JUNK, MALLORYS_KEY, KEY)
  const { login } = await sessions.begin({})
  t.match(await until(sessions, login.id, 'stored'), { owner: TERRY, refusedBy: { 'late key': 1, key: 1 } })
})

t.test('a declined late key is not offered again, and the login waits for another', async (t) => {
  const { sessions } = start(t)
  await clickLate(sessions, MALLORYS_KEY)
  const { login } = await sessions.begin({})
  t.match(await until(sessions, login.id, 'verified'), { owner: MALLORY })
  await sessions.confirm(login.id, { accept: false })
  t.match(sessions.get(login.id), { state: 'waiting' })
  t.equal(await deliver(login), 204)
  t.match(await until(sessions, login.id, 'verified'), { owner: TERRY })
})

t.test('a click in the tab of the last login counts for the one that waits now', async (t) => {
  const { sessions } = start(t)
  const { login: old } = await sessions.begin({})
  await sessions.cancel(old.id)
  const { login } = await sessions.begin({})
  t.equal(await deliver(old), 205)
  t.match(await until(sessions, login.id, 'verified'), { owner: TERRY })
})

t.test('a late key waits while Prefect is not reached', async (t) => {
  const { sessions, prefect, clock } = start(t)
  await clickLate(sessions, KEY)
  prefect.isReachable = false
  const { login } = await sessions.begin({})
  while (prefect.asked === 0) await new Promise((resolve) => setImmediate(resolve))
  t.match(sessions.get(login.id), { state: 'waiting', refused: 0 })
  prefect.isReachable = true
  await new Promise((resolve) => setImmediate(resolve))
  clock.pass(30_000)
  t.match(await until(sessions, login.id, 'verified'), { owner: TERRY })
})

t.test('sends no late key to another API, and gives none to another profile', async (t) => {
  const targets: Record<string, { cloudApiUrl?: string }> = { cloud: {}, other: {} }
  const { sessions, prefect } = start(t, { targets })
  await clickLate(sessions, KEY)
  targets.cloud = { cloudApiUrl: 'https://staging.example/api' }
  const { login } = await sessions.begin({})
  const { login: other } = await sessions.begin({ profile: 'other' })
  t.match([sessions.get(login.id).state, sessions.get(other.id).state], ['waiting', 'waiting'])
  t.equal(prefect.asked, 0)
})

t.test('keeps at most eight ports, five keys each, and closes the oldest first', async (t) => {
  const { sessions } = start(t)
  const ports: number[] = []
  for (let count = 0; count < 10; count += 1) {
    const { login } = await sessions.begin({})
    ports.push(portOf(login))
    await sessions.cancel(login.id)
  }
  t.strictSame(
    sessions.ports().map(({ port }) => port),
    ports.slice(2),
  )
  await freed(ports[0] ?? 0)
  const port = ports.at(-1) ?? 0
  for (let count = 0; count < 7; count += 1) {
    const key = `pnu_late${String(count).padStart(32, '0')}`
    await sendRaw(port, rawRequest(`GET /?key=${key} HTTP/1.1`, [['Host', `localhost:${port}`]]))
  }
  t.equal(sessions.ports().at(-1)?.lateKeys, 5)
})

t.test('counts what a kept port refuses, by reason', async (t) => {
  const { sessions } = start(t)
  const { login } = await sessions.begin({})
  await sessions.cancel(login.id)
  const port = portOf(login)
  const bad = [
    ['Host', `localhost:${port}`],
    ['Origin', 'https://evil.example'],
  ] as const
  for (let count = 0; count < 3; count += 1) await sendRaw(port, rawRequest('POST /failure HTTP/1.1', bad))
  await sendRaw(port, rawRequest('GET / HTTP/1.1', [['Host', 'evil.example']]))
  t.match(sessions.ports(), [{ refusedBy: { origin: 3, host: 1 }, lateKeys: 0 }])
})

t.test('the next start binds the ports of the last run again, also of a run that was killed', async (t) => {
  const ports = memoryDocument(NO_PORTS)
  const killed = start(t, { ports })
  const { login: pending } = await killed.sessions.begin({})
  const list = JSON.stringify(ports.read())
  t.match(list, String(portOf(pending)), 'durable before the URL is known')
  t.notMatch(list, /Zx3fQ|pnu_/, 'no secrets')
  await killed.sessions.close()
  t.strictSame((await takenFamilies(portOf(pending))).length, 2, 'the attacker could take it now')

  const next = start(t, { ports })
  await next.sessions.resume()
  t.strictSame(await takenFamilies(portOf(pending)), [])
  t.equal(await deliver(pending), 205)
  const { login } = await next.sessions.begin({})
  t.match(await until(next.sessions, login.id, 'verified'), { owner: TERRY })
})

t.test('a port with a state in its path asks for it after a restart too', async (t) => {
  const ports = memoryDocument(NO_PORTS)
  const first = start(t, { ports, stateInPath: true })
  const { login } = await first.sessions.begin({})
  await first.sessions.close()
  t.notMatch(JSON.stringify(ports.read()), 'Zx3fQ')
  const next = start(t, { ports, stateInPath: true })
  await next.sessions.resume()
  t.equal(await deliver(login), 205)
  t.match(next.sessions.ports(), [{ lateKeys: 0, refusedBy: { state: 1 } }])
  const port = portOf(login)
  const right = rawRequest(`GET /Zx3fQ?key=${KEY.reveal()} HTTP/1.1`, [['Host', `localhost:${port}`]])
  t.equal((await sendRaw(port, right)).status, 205)
  t.match(next.sessions.ports(), [{ lateKeys: 1 }])
})

t.test('warns if another program has the port at the next start, and forgets what is over', async (t) => {
  const clock = createManualClock()
  const facts = { profile: 'cloud', cloudApiUrl: 'https://x/api', uiOrigin: 'https://x' }
  const thief = createServer()
  await new Promise<void>((resolve) => thief.listen({ port: 0, host: '::' }, resolve))
  t.teardown(() => thief.close())
  const address = thief.address()
  const port = typeof address === 'object' && address !== null ? address.port : 0
  const ports = memoryDocument({
    ports: [
      { ...facts, port, until: clock.now() + HALF_HOUR_MS },
      { ...facts, port: 1, until: clock.now() - 1 },
    ],
  })
  const { sessions, lines } = start(t, { ports })
  await sessions.resume()
  t.strictSame(sessions.ports(), [])
  t.strictSame(ports.read(), { ports: [] })
  t.match(lines.join(), /another program may receive a late key/)
})

t.test('a list that cannot be written stops no login', async (t) => {
  const broken = {
    read: () => NO_PORTS,
    update: () => Promise.reject(new BrokerError('disk_failed', 'full')),
  }
  const { sessions, lines } = start(t, { ports: broken })
  const { login } = await sessions.begin({})
  t.equal(await deliver(login), 204)
  t.match(lines.join(), /list of login ports was not written/)
})
