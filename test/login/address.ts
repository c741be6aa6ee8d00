/** An address that a person copied from the browser: what is taken, and what is named instead. */
import t from 'tap'
import { Secret } from '../../src/std/secret.js'
import { KEY, TERRY } from '../fixtures/login-parts.js'
import { JUNK, MALLORYS_KEY, portOf, start, until } from './fixtures/login-desk.js'

const addressOf = (port: number, key = KEY, path = '/') =>
  new Secret(`http://localhost:${port}${path}?key=${key.reveal()}`)

t.test(
  'takes the key like one from the browser: its owner is asked about, and it is exchanged',
  async (t) => {
    const { sessions, deliveries, lines } = start(t)
    const { login } = await sessions.begin({})
    const view = await sessions.submitAddress(login.id, addressOf(portOf(login)))
    t.match(view, { state: 'verified', isOwnerKnown: false, owner: TERRY })
    t.equal(deliveries.length, 0, 'anybody may have put a key into an address')
    await sessions.confirm(login.id, { accept: true })
    await until(sessions, login.id, 'stored')
    t.match(deliveries, [{ via: 'browser', exchange: true }])
    t.notMatch(JSON.stringify([view, lines]), KEY.reveal())
  },
)

t.test('asks nothing about the stored owner, and takes what browsers show', async (t) => {
  const forms = [
    (text: string) => text,
    (text: string) => text.replace('http://', ''),
    (text: string) => ` "${text}" `,
    (text: string) => text.replace('localhost', '127.0.0.1'),
    (text: string) => text.replace('localhost', '[::1]'),
  ]
  for (const form of forms) {
    const { sessions } = start(t, { targets: { cloud: { owner: TERRY } } })
    const { login } = await sessions.begin({})
    const text = form(addressOf(portOf(login)).reveal())
    await sessions.submitAddress(login.id, new Secret(text))
    await until(sessions, login.id, 'stored')
  }
})

t.test('names what was pasted instead, never repeats it, and keeps waiting', async (t) => {
  const { sessions, prefect } = start(t)
  const { login } = await sessions.begin({})
  const port = portOf(login)
  const key = KEY.reveal()
  const table: readonly (readonly [string, RegExp])[] = [
    [login.url ?? '', /address of the login page/],
    [`https://localhost:${port}/?key=${key}`, /does not begin with http:\/\/localhost:/],
    [`http://evil.example:${port}/?key=${key}`, /does not begin with http:\/\/localhost:/],
    [`http://localhost.evil.example:${port}/?key=${key}`, /does not begin with/],
    ['javascript:alert(1)', /does not begin with/],
    [`http://localhost:${port}/`, /no key in it/],
    [`http://localhost:${port}/?key=`, /not one/],
    [`http://localhost:${port}/?key=${key}&key=${key}`, /not one/],
    [`http://localhost:${port}/?key=a%20b`, /not one/],
    [`http://localhost:${port}/other?key=${key}`, /its path/],
    [`http://localhost:${port}/?key=${key} and more`, /no address/],
    [key, /no address/],
  ]
  for (const [text, problem] of table) {
    const refused = sessions.submitAddress(login.id, new Secret(text))
    await t.rejects(refused, { code: 'address_malformed', message: problem }, text)
    await refused.catch((error: unknown) => t.notMatch(String(error), key))
  }
  t.equal(prefect.asked, 0, 'none of them is sent to Prefect')
  t.equal(sessions.get(login.id).state, 'waiting')
  await sessions.submitAddress(login.id, addressOf(port))
  t.equal(sessions.get(login.id).state, 'verified')
})

t.test('names the login that an address belongs to', async (t) => {
  const { sessions } = start(t)
  const ended = await sessions.begin({})
  await sessions.cancel(ended.login.id)
  const other = await sessions.begin({ profile: 'other' })
  const { login } = await sessions.begin({})
  const submit = (port: number) => sessions.submitAddress(login.id, addressOf(port))
  await t.rejects(submit(portOf(ended.login)), {
    code: 'address_mismatch',
    message: /a login that has ended, of profile 'cloud'/,
  })
  await t.rejects(submit(portOf(other.login)), {
    code: 'address_mismatch',
    message: /another login, of profile 'other'/,
    hint: 'prefect-auth login --profile other',
  })
  await t.rejects(submit(1), { code: 'address_mismatch', message: /port 1, and this login has port \d+/ })
  await t.rejects(sessions.submitAddress(ended.login.id, addressOf(portOf(ended.login))), {
    code: 'login_state',
    message: /cancelled/,
  })
})

t.test('an address after the time is over names the end of the login', async (t) => {
  const { sessions, clock } = start(t)
  const { login } = await sessions.begin({})
  clock.pass(121_000)
  await t.rejects(sessions.submitAddress(login.id, addressOf(portOf(login))), { code: 'login_expired' })
})

t.test('with a state in the path, the address must have it', async (t) => {
  const { sessions } = start(t, { stateInPath: true })
  const { login } = await sessions.begin({})
  const submit = (path: string) => sessions.submitAddress(login.id, addressOf(portOf(login), KEY, path))
  for (const path of ['/', '/wrong', '/wrong/Zx3fQ']) {
    await t.rejects(submit(path), { code: 'address_mismatch', message: /state/ }, path)
  }
  await t.rejects(submit('/Zx3fQ/more'), { code: 'address_malformed', message: /its path/ })
  await submit('/Zx3fQ')
  t.equal(sessions.get(login.id).state, 'verified')
})

t.test("tells the person what Prefect says, and refuses another owner's key", async (t) => {
  const { sessions, deliveries } = start(t, { targets: { cloud: { owner: TERRY } } })
  const { login } = await sessions.begin({})
  const submit = (key: Secret) => sessions.submitAddress(login.id, addressOf(portOf(login), key))
  for (let count = 0; count < 6; count += 1) await t.rejects(submit(JUNK), { code: 'key_rejected' })
  await t.rejects(submit(MALLORYS_KEY), { code: 'owner_mismatch' })
  t.equal(deliveries.length, 0)
  await submit(KEY)
  await until(sessions, login.id, 'stored')
})
