/** Login sessions from start to end, with the real listener and a fake Prefect. */
import t from 'tap'
import { BrokerError } from '../../src/base/errors.js'
import type { LoginOutcome } from '../../src/login/login.js'
import { Secret } from '../../src/std/secret.js'
import { KEY, MALLORY, OUTCOME, PROD, STAGING, TERRY } from '../fixtures/login-parts.js'
import type { createManualClock } from '../fixtures/manual-clock.js'
import { rawRequest, sendRaw } from '../fixtures/raw-http.js'
import { BOT_KEY, deliver, JUNK, MALLORYS_KEY, portOf, start, types, until } from './fixtures/login-desk.js'

t.test('takes a login from its URL to the stored key', async (t) => {
  const { sessions, events, deliveries } = start(t)
  const { login, isJoined } = await sessions.begin({})
  t.equal(isJoined, false)
  t.match(
    login.url,
    /^https:\/\/app\.prefect\.cloud\/auth\/client\?callback=http%3A\/\/localhost%3A\d+&g=true$/,
  )
  t.equal(login.state, 'waiting')

  t.equal(await deliver(login), 204)
  const verified = await until(sessions, login.id, 'verified')
  t.match(verified, { owner: TERRY, isOwnerKnown: false, workspace: PROD })
  t.equal(deliveries.length, 0, 'nothing is stored before the owner is confirmed')

  await sessions.confirm(login.id, { accept: true })
  const stored = await until(sessions, login.id, 'stored')
  t.match(stored, { key: OUTCOME.key, exchange: OUTCOME.exchange, owner: TERRY, workspace: PROD })
  t.match(deliveries, [{ via: 'browser', exchange: true, profile: 'cloud', workspace: PROD }])
  t.strictSame(types(events), [
    'login.started',
    'login.received',
    'login.verified',
    'login.confirmed',
    'login.stored',
  ])
  t.notMatch(JSON.stringify([stored, events.since(0)]), KEY.reveal())
  t.match(await sessions.cancel(login.id), { state: 'stored' }, 'cancelling it afterwards changes nothing')
})

t.test('stores a key of the known owner without asking', async (t) => {
  const { sessions, events, deliveries } = start(t, {
    targets: { cloud: { owner: TERRY, isToBeActive: true } },
  })
  const { login } = await sessions.begin({})
  await deliver(login)
  await until(sessions, login.id, 'stored')
  t.match(deliveries, [{ isToBeActive: true }])
  t.match(types(events), [
    'login.started',
    'login.received',
    'login.verified',
    'login.confirmed',
    'login.stored',
  ])
})

t.test("rejects another owner's key and still takes the right one", async (t) => {
  const { sessions } = start(t, { targets: { cloud: { owner: TERRY } } })
  const { login } = await sessions.begin({})
  await deliver(login, MALLORYS_KEY)
  const waiting = await until(sessions, login.id, 'waiting')
  t.match(waiting, { refused: 1, notice: /mallory/ })
  await deliver(login)
  await until(sessions, login.id, 'stored')
})

t.test("takes the right key after a stranger's key was declined", async (t) => {
  const { sessions, deliveries } = start(t)
  const { login } = await sessions.begin({})
  await deliver(login, MALLORYS_KEY)
  await until(sessions, login.id, 'verified')
  t.equal(await deliver(login), 205, 'one key at a time')
  const waiting = await sessions.confirm(login.id, { accept: false })
  t.match(waiting, { state: 'waiting', url: login.url })
  await deliver(login)
  await until(sessions, login.id, 'verified')
  await sessions.confirm(login.id, { accept: true })
  await until(sessions, login.id, 'stored')
  t.match(deliveries, [{ owner: TERRY }])
  t.equal(deliveries.length, 1)
})

t.test('checks at most five keys from the browser, then still takes a pasted one', async (t) => {
  const { sessions, prefect, deliveries } = start(t)
  const { login } = await sessions.begin({})
  for (let count = 1; count <= 5; count += 1) {
    t.equal(await deliver(login, JUNK), 204)
    while (sessions.get(login.id).state !== 'waiting') await until(sessions, login.id, 'waiting')
  }
  t.equal(await deliver(login, JUNK), 205)
  t.equal(prefect.asked, 5)
  t.match(sessions.get(login.id), { state: 'waiting', refused: 6 })
  await sessions.submitKey(login.id, KEY, { exchange: false })
  await until(sessions, login.id, 'stored')
  t.match(deliveries, [{ via: 'pasted', exchange: false }])
})

t.test('keeps a delivered key while Prefect is unreachable', async (t) => {
  const { sessions, clock, prefect } = start(t)
  const { login } = await sessions.begin({})
  prefect.isReachable = false
  await deliver(login)
  let view = sessions.get(login.id)
  while (view.notice === undefined) {
    view = await sessions.waitForChange(login.id, view.version, 60_000, new AbortController().signal)
  }
  t.match(view, { state: 'received', notice: /trying again/ })
  prefect.isReachable = true
  clock.pass(1_000)
  await until(sessions, login.id, 'verified')
})

t.test('shares one login per profile among its callers', async (t) => {
  const { sessions } = start(t)
  const begun = await Promise.all([
    sessions.begin({ profile: 'a' }),
    sessions.begin({ profile: 'a', workspace: 'acme/other' }),
    sessions.begin({ profile: 'b' }),
  ])
  t.strictSame(
    begun.map(({ isJoined }) => isJoined),
    [false, true, false],
  )
  const [first, second, other] = begun.map(({ login }) => login)
  t.equal(first?.id, second?.id)
  t.not(first?.id, other?.id)
  t.match(second?.notice, /acme\/other/)
  t.match(await sessions.begin({ profile: 'a' }), { isJoined: true, login: { id: first?.id } })
  t.equal(sessions.list().length, 2)
})

t.test('keeps at most twenty logins pending', async (t) => {
  const { sessions } = start(t)
  const begun = await Promise.all([...Array(20).keys()].map((n) => sessions.begin({ profile: `p${n}` })))
  await t.rejects(sessions.begin({ profile: 'one-more' }), { code: 'too_many_requests' })
  await sessions.cancel(begun[0]?.login.id ?? '')
  await t.resolves(sessions.begin({ profile: 'one-more' }))
})

t.test('reports what is wrong with a typed key at once and keeps waiting', async (t) => {
  const { sessions, prefect } = start(t, { targets: { mine: { owner: MALLORY } } })
  const { login } = await sessions.begin({})
  const submit = (key: Secret, id = login.id) => sessions.submitKey(id, key, { exchange: true })
  await t.rejects(submit(new Secret('two words')), { code: 'key_malformed' })
  t.equal(prefect.asked, 0)
  await t.rejects(submit(JUNK), { code: 'key_rejected' })
  const { login: mine } = await sessions.begin({ profile: 'mine' })
  await t.rejects(submit(KEY, mine.id), { code: 'owner_mismatch', hint: /--switch-owner/ })
  t.match([sessions.get(login.id).state, sessions.get(mine.id).state], ['waiting', 'waiting'])
  await submit(KEY)
  await until(sessions, login.id, 'stored')
  await t.rejects(submit(KEY), { code: 'login_state' })
  await t.rejects(submit(KEY, 'login-99'), { code: 'login_not_found' })
})

t.test('knows a service account by its account, and asks for a workspace if there are several', async (t) => {
  const { sessions, deliveries } = start(t, { workspaces: [PROD, STAGING] })
  const { login } = await sessions.begin({})
  t.match(await sessions.submitKey(login.id, BOT_KEY, { exchange: false }), {
    state: 'verified',
    isOwnerKnown: true,
    owner: { kind: 'service_account', handle: 'acme' },
  })
  await t.rejects(sessions.confirm(login.id, { accept: true }), { code: 'workspace_required' })
  await t.rejects(sessions.confirm(login.id, { accept: true, workspace: 'x/y' }), {
    code: 'workspace_not_found',
  })
  await sessions.confirm(login.id, { accept: true, workspace: 'acme/staging' })
  await until(sessions, login.id, 'stored')
  t.match(deliveries, [{ workspace: STAGING, owner: { kind: 'service_account', id: PROD.accountId } }])
})

t.test('expires a login that nobody finishes: awake, asleep, and with the clock set back', async (t) => {
  for (const [name, wait] of [
    ['awake', (clock: ReturnType<typeof createManualClock>) => clock.pass(121_000)],
    ['asleep', (clock: ReturnType<typeof createManualClock>) => clock.sleep(8 * 3_600_000)],
    [
      'with the clock set back',
      (clock: ReturnType<typeof createManualClock>) => {
        clock.setWall(0)
        clock.pass(121_000)
      },
    ],
  ] as const) {
    const { sessions, clock, events } = start(t)
    const { login } = await sessions.begin({})
    wait(clock)
    t.match(sessions.get(login.id), { state: 'expired', error: { code: 'login_expired' } }, name)
    t.match(types(events), ['login.started', 'login.expired'])
    await sessions.close()
    await t.rejects(deliver(login), { code: 'ECONNREFUSED' })
  }
})

t.test('wakes waiting callers when the login expires', async (t) => {
  const { sessions, clock } = start(t)
  const { login } = await sessions.begin({})
  const waiting = until(sessions, login.id, 'expired')
  clock.pass(120_000)
  t.match(await waiting, { state: 'expired' })
})

t.test('keeps ended logins for ten minutes', async (t) => {
  const { sessions, clock } = start(t)
  const { login } = await sessions.begin({})
  const { login: other } = await sessions.begin({ profile: 'other' })
  await sessions.cancel(login.id)
  t.strictSame(
    sessions.list().map(({ id }) => id),
    [other.id, login.id],
    'pending ones first',
  )
  t.match(await sessions.cancel(login.id), { state: 'cancelled' }, 'cancelling twice is harmless')
  clock.pass(599_000)
  t.match(sessions.get(login.id), { state: 'cancelled' })
  clock.pass(1_000)
  t.throws(() => sessions.get(login.id), { code: 'login_not_found' })
})

t.test('ends a wait on a change, after the time, or when the caller leaves', async (t) => {
  const { sessions, clock } = start(t)
  const { login } = await sessions.begin({})
  const { signal } = new AbortController()
  const timed = sessions.waitForChange(login.id, login.version, 1_000, signal)
  clock.pass(1_000)
  t.match(await timed, { version: login.version })

  const caller = new AbortController()
  const aborted = sessions.waitForChange(login.id, login.version, 60_000, caller.signal)
  caller.abort()
  t.match(await aborted, { version: login.version })

  const changed = sessions.waitForChange(login.id, login.version, 60_000, signal)
  await sessions.cancel(login.id)
  t.match(await changed, { state: 'cancelled' })
  t.match(await sessions.waitForChange(login.id, login.version, 60_000, signal), { state: 'cancelled' })
})

t.test('fails with the reason if the key cannot be stored', async (t) => {
  for (const [thrown, code] of [
    [
      new BrokerError('vault_locked', 'the keyring is locked', { hint: 'prefect-auth unlock' }),
      'vault_locked',
    ],
    [new TypeError('a bug'), 'internal'],
  ] as const) {
    const { sessions } = start(t, { keep: () => Promise.reject(thrown) })
    const { login } = await sessions.begin({})
    await sessions.submitKey(login.id, KEY, { exchange: true })
    t.match(await until(sessions, login.id, 'failed'), { error: { code } })
  }
})

t.test("shows a failure that Prefect's page reports, and keeps waiting", async (t) => {
  const { sessions } = start(t)
  const { login } = await sessions.begin({})
  const port = portOf(login)
  const headers = [
    ['Host', `localhost:${port}`],
    ['Origin', 'https://app.prefect.cloud'],
    ['Content-Type', 'application/json'],
  ] as const
  await sendRaw(port, rawRequest('POST /failure HTTP/1.1', headers, '{"reason":"cancelled by the user"}'))
  t.match(sessions.get(login.id), {
    state: 'waiting',
    notice: /cancelled by the user/,
    refusedBy: { failure: 1 },
  })
  t.equal(await deliver(login), 204, 'a key is still accepted')
})

t.test('requires the state in the path that is in the URL', async (t) => {
  const { sessions, lines } = start(t, { stateInPath: true })
  const { login } = await sessions.begin({})
  t.match(login.url, /callback=http%3A\/\/localhost%3A\d+\/Zx3fQ&g=true$/)
  t.equal(await deliver(login), 205)
  t.match(sessions.get(login.id), { state: 'waiting', refused: 1 })
  t.match(lines.join(), /refused/)
  t.notMatch(lines.join(), /Zx3fQ|pnu_/, 'logs neither state nor key')
})

t.test('on close cancels pending logins, waits for keys being stored, and starts nothing more', async (t) => {
  let finish: (outcome: LoginOutcome) => void = () => undefined
  const stored = new Promise<LoginOutcome>((resolve) => {
    finish = resolve
  })
  const { sessions } = start(t, { keep: () => stored })
  const { login: waits } = await sessions.begin({ profile: 'waits' })
  const { login: stores } = await sessions.begin({ profile: 'stores' })
  await sessions.submitKey(stores.id, KEY, { exchange: true })
  const closing = sessions.close()
  finish(OUTCOME)
  await closing
  t.match([sessions.get(waits.id).state, sessions.get(stores.id).state], ['cancelled', 'stored'])
  await t.rejects(deliver(waits), { code: 'ECONNREFUSED' })
  await t.rejects(sessions.begin({}), { code: 'shutting_down' })
})

t.test('starts nothing if the UI URL is not a web address', async (t) => {
  const { sessions, events } = start(t, { targets: { odd: { cloudUiUrl: 'javascript:alert(1)' } } })
  await t.rejects(sessions.begin({ profile: 'odd' }), { code: 'api_url_invalid' })
  t.strictSame(types(events), [])
})
