/** `prefect-auth login` at a terminal, as people see it. */
import { chmodSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { buildCli } from '../fixtures/built-cli.js'
import { openPseudoTerminal } from '../fixtures/pseudo-terminal.js'
import { problem } from '../fixtures/scripted-daemon.js'
import { startScriptedLogin } from '../fixtures/scripted-login.js'
import { until } from '../fixtures/shipped.js'
import { API_KEY, KEY, OWNER, sampleLogin, WORKSPACE } from '../fixtures/wire-samples.js'

const cli = await buildCli(t)
const login = `exec ${process.execPath} ${cli.program} login`
const PASTE = 'paste an API key or address here'
const key = { ...KEY, expires_at: '2026-12-20T10:00:00.000Z' }
const workspaces = (count: number) =>
  Array.from({ length: count }, (_, at) => ({
    ...WORKSPACE,
    handle: `acme/ws-${at}`,
    workspace_id: `id-${at}`,
    current: at === 1,
  }))
const verified = (count: number, changes: object = {}) => ({
  state: 'verified',
  owner: OWNER,
  owner_known: false,
  workspaces: workspaces(count),
  ...changes,
})
const stored = { state: 'stored', owner: OWNER, workspace: { ...WORKSPACE, current: true }, key }

t.test(
  'waits for the browser, confirms the owner, and chooses the workspace with the arrow keys',
  async (t) => {
    const scripted = await startScriptedLogin(t, { onConfirm: [{ state: 'confirmed' }, stored] })
    const terminal = openPseudoTerminal(t, { env: scripted.daemon.env, command: login })

    await terminal.waitFor(PASTE)
    scripted.become({ state: 'received' })
    await terminal.waitFor('Key received')
    scripted.become(verified(3))
    await terminal.waitFor('The key belongs to terry (terry@example.com).')
    await terminal.waitFor('Use it for profile cloud? [y/N]')
    terminal.type('y\r')
    // A list listens before it draws itself; `●` marks the choice.
    await terminal.waitFor('acme/ws-2')
    terminal.type('\u001b[B')
    await terminal.waitFor(/●[^\n]*acme\/ws-2/)
    terminal.type('\r')

    t.equal(await terminal.ended, 0)
    t.same(scripted.bodies('POST /v1/logins/login-1/confirm'), [{ accept: true, workspace: 'id-2' }])
    t.match(
      terminal.screen(),
      'Logged in as terry (terry@example.com), workspace prefect/terry, profile cloud',
    )
  },
)

t.test('goes back to waiting unless the answer is y', async (t) => {
  const scripted = await startScriptedLogin(t, { onConfirm: [{ state: 'waiting', notice: 'not taken' }] })
  const terminal = openPseudoTerminal(t, { env: scripted.daemon.env, command: login })

  await terminal.waitFor(PASTE)
  for (const answer of ['\r', 'n\r', 'maybe\r']) {
    scripted.become(verified(1))
    await terminal.waitFor('[y/N]')
    terminal.type(answer)
    await terminal.waitFor(PASTE)
  }
  terminal.type('\u0003')

  t.equal(await terminal.ended, 130)
  t.same(scripted.bodies('POST /v1/logins/login-1/confirm'), Array(3).fill({ accept: false }))
})

t.test('narrows 500 workspaces while one types', async (t) => {
  const scripted = await startScriptedLogin(t, { onConfirm: [stored] })
  const terminal = openPseudoTerminal(t, { env: scripted.daemon.env, command: login })

  await terminal.waitFor(PASTE)
  scripted.become(verified(500, { owner_known: true }))
  await terminal.waitFor('type to search')
  terminal.type('WS-417')
  await terminal.waitFor('1 match')
  terminal.type('\r')

  t.equal(await terminal.ended, 0)
  t.same(scripted.bodies('POST /v1/logins/login-1/confirm'), [{ accept: true, workspace: 'id-417' }])
})

t.test('never shows a pasted key, not even while another one is being checked', async (t) => {
  const scripted = await startScriptedLogin(t, {})
  let tries = 0
  let onTyped = () => undefined as unknown
  const typed = new Promise<void>((resolve) => {
    onTyped = resolve
  })
  scripted.daemon.script['POST /v1/logins/login-1/key'] = async () => {
    tries += 1
    // Time for an echo to show up, should there be one.
    await typed
    await new Promise((resolve) => setTimeout(resolve, 300))
    if (tries === 1)
      return problem('key_rejected', 'login', 401, 'Prefect refused this key', 'prefect-auth login')
    scripted.become(stored)
    return { json: sampleLogin({ ...stored, version: 99 }) }
  }
  const terminal = openPseudoTerminal(t, { env: scripted.daemon.env, command: login })

  await terminal.waitFor(PASTE)
  terminal.type('pnu_firstfirstfirst\r')
  await terminal.waitFor('[19 characters]')
  // Prefect has not judged the first one yet.
  await until(
    () => tries === 1,
    () => 'the first key was not submitted',
  )
  terminal.type(`${API_KEY}\r`)
  onTyped()
  await terminal.waitFor('Prefect refused this key (key_rejected)')

  t.equal(await terminal.ended, 0)
  t.same(scripted.bodies('POST /v1/logins/login-1/key'), [
    { api_key: 'pnu_firstfirstfirst' },
    { api_key: API_KEY },
  ])
  t.notMatch(terminal.screen(), /pnu_/)
})

t.test('takes the address that a browser elsewhere ended on, and never shows it', async (t) => {
  const scripted = await startScriptedLogin(t, { onConfirm: [stored] })
  const sent: unknown[] = []
  scripted.daemon.script['POST /v1/logins/login-1/address'] = ({ body }) => {
    sent.push(body)
    if (sent.length === 1)
      return problem('address_mismatch', 'conflict', 409, 'it has port 1', 'prefect-auth login')
    const changes = verified(1, { workspace: { ...WORKSPACE, current: true } })
    scripted.become(changes)
    return { json: sampleLogin({ ...changes, version: 99 }) }
  }
  const terminal = openPseudoTerminal(t, { env: scripted.daemon.env, command: login })
  const address = (port: number) => `localhost:${port}/?key=${API_KEY}`
  await terminal.waitFor(PASTE)
  terminal.type(`${address(1)}\r`)
  await terminal.waitFor('it has port 1 (address_mismatch)')
  await terminal.waitFor(PASTE)
  terminal.type(`\u001b[200~http://${address(2)}\u001b[201~\r`)
  await terminal.waitFor("in that browser's history")
  await terminal.waitFor('Enter alone is no')
  terminal.type('y\r')
  t.equal(await terminal.ended, 0)
  t.same(sent, [{ address: address(1) }, { address: `http://${address(2)}` }])
  t.notMatch(terminal.screen(), /pnu_/)
})

t.test('prints notices above the prompt and keeps what was typed', async (t) => {
  const scripted = await startScriptedLogin(t, { onKey: [stored] })
  const terminal = openPseudoTerminal(t, { env: scripted.daemon.env, command: login })

  await terminal.waitFor(PASTE)
  terminal.type(API_KEY.slice(0, 10))
  await terminal.waitFor('[10 characters]')
  scripted.become({ refused: 1, notice: 'a \u001b[2Jjunk key came' })
  await terminal.waitFor('note: a [2Jjunk key came')
  await terminal.waitFor('[10 characters]')
  terminal.type(`${API_KEY.slice(10)}\r`)

  t.equal(await terminal.ended, 0)
  t.same(scripted.bodies('POST /v1/logins/login-1/key'), [{ api_key: API_KEY }])
})

t.test('cancels its own login on Ctrl-C, leaves a joined one alone, and restores the echo', async (t) => {
  for (const isJoined of [false, true]) {
    const scripted = await startScriptedLogin(t, { isJoined })
    const command = `${login.replace('exec ', '')}; echo "code $?"; stty -a`
    const terminal = openPseudoTerminal(t, { env: scripted.daemon.env, command })
    await terminal.waitFor(PASTE)
    terminal.type('\u0003')
    await terminal.waitFor(isJoined ? 'Stopped waiting; the login goes on.' : 'Login cancelled.')
    await terminal.waitFor('code 130')
    await terminal.ended
    t.match(terminal.screen(), / echo /)
    t.equal(scripted.bodies('DELETE /v1/logins/login-1').length, isJoined ? 0 : 1)
  }
})

t.test('opens the browser once, but not with --no-browser or for a joined login', async (t) => {
  const url = sampleLogin().url ?? ''
  for (const [flag, isJoined, isOpened] of [
    ['', false, true],
    ['--no-browser', false, false],
    ['', true, false],
  ] as const) {
    const folder = t.testdir({ 'xdg-open': '#!/bin/sh\necho "$1" >> "$OPENED"\n' })
    chmodSync(join(folder, 'xdg-open'), 0o755)
    const opened = join(folder, 'opened')
    const scripted = await startScriptedLogin(t, { isJoined })
    const { env } = scripted.daemon
    const desk = { ...env, DISPLAY: ':0', OPENED: opened, PATH: `${folder}:${env.PATH}` }
    const terminal = openPseudoTerminal(t, { env: desk, command: `${login} ${flag}` })
    await terminal.waitFor(url)
    await terminal.waitFor(PASTE)
    const readOpened = () => readFile(opened, 'utf8').catch(() => '')
    if (isOpened) {
      await until(
        async () => (await readOpened()) !== '',
        () => 'the browser was not opened',
      )
    }
    terminal.type('\u0003')
    await terminal.ended
    t.equal(await readOpened(), isOpened ? `${url}\n` : '')
    t.equal(terminal.screen().includes('Opening your browser'), isOpened)
  }
})

t.test('counts down while it waits, and says what was refused when the time is over', async (t) => {
  const scripted = await startScriptedLogin(t, {})
  const terminal = openPseudoTerminal(t, { env: scripted.daemon.env, command: login })
  await terminal.waitFor(PASTE)
  scripted.become({ state: 'waiting', expires_at: new Date(Date.now() + 3_600_000).toISOString() })
  await terminal.waitFor(/\([1-9]\d?:\d\d left\) Waiting for the browser/)
  const error = {
    type: 'urn:prefect-auth:login_expired',
    title: 'expired',
    status: 409,
    detail: 'the login expired',
    code: 'login_expired',
    kind: 'conflict',
  }
  scripted.become({ state: 'expired', refused: 3, refused_by: { origin: 2, host: 1 }, error })
  await terminal.waitFor("3 requests to the login's port were refused: 2 origin, 1 host")
  await terminal.waitFor('within half an hour, run prefect-auth login again')
  t.not(await terminal.ended, 0)
})
