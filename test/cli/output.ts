/** Where output goes: pipes that close, devices that are full, terminals that know no escapes, Ctrl-C, and no HOME. */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import type { ServerResponse } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { buildCli } from '../fixtures/built-cli.js'
import { openPseudoTerminal } from '../fixtures/pseudo-terminal.js'
import { runToEnd } from '../fixtures/run-to-end.js'
import { startScriptedDaemon } from '../fixtures/scripted-daemon.js'
import { startScriptedLogin } from '../fixtures/scripted-login.js'
import { KEY, OWNER, sampleStatus, WORKSPACE } from '../fixtures/wire-samples.js'

t.setTimeout(300_000)
const cli = await buildCli(t)
const program = `'${process.execPath}' '${cli.program}'`
const sh = (line: string, env: Record<string, string>) =>
  runToEnd('bash', ['-c', line], { env: { PATH: process.env.PATH ?? '', ...env }, timeout: 120_000 })
const event = { id: 'e-1', at: '2026-11-20T18:45:52.000Z', type: 'x', facts: {} }
/** For ever, as the daemon does. */
function sendEvents(response: ServerResponse): void {
  response.writeHead(200, { 'content-type': 'text/event-stream' })
  const timer = setInterval(() => response.write(`id: e\ndata: ${JSON.stringify(event)}\n\n`), 50)
  response.on('close', () => clearInterval(timer))
}
const ESCAPE = '\u001b'

t.test('a reader that leaves ends every command quietly, also one that would go on for ever', async (t) => {
  const { env } = await startScriptedDaemon(t, {
    'GET /v1/status': { json: sampleStatus() },
    'GET /v1/events': { handle: sendEvents },
  })
  for (const [command, first] of [
    ['completion bash', /^# eval/],
    ['status', /./],
    ['events', /2026-11-20/],
    ['status --watch', /./],
    ['status --watch --json', /^\{/],
  ] as const) {
    const ran = await sh(`${program} ${command} | head -n 1; echo "\${PIPESTATUS[0]}" >&2`, env)
    t.match(ran.stdout, first, command)
    t.equal(ran.stderr, '0\n', `${command}: nothing is said`)
  }
})

t.test('a full device is named, and is no success', async (t) => {
  const { env } = await startScriptedDaemon(t, {
    'GET /v1/status': { json: sampleStatus() },
    'GET /v1/env': { text: 'export PREFECT_API_KEY=pnu_x\n' },
  })
  for (const command of ['--help', 'completion zsh', 'status', 'status --json', 'env', 'version'])
    t.match(
      await sh(`${program} ${command} >/dev/full`, env),
      { code: 1, stderr: /^prefect-auth: cannot write the output: no space is left there\n$/ },
      command,
    )
  t.match(
    await sh(`${program} nonsense 2>/dev/full`, env),
    { code: 2, stdout: '' },
    'where errors go nowhere',
  )
})

t.test('Ctrl-C ends --watch without a word', async (t) => {
  const { env } = await startScriptedDaemon(t, {
    'GET /v1/status': { json: sampleStatus() },
    'GET /v1/events': { handle: sendEvents },
  })
  for (const term of ['xterm', 'dumb']) {
    const terminal = openPseudoTerminal(t, {
      env: { ...env, TERM: term },
      command: `exec ${program} status --watch`,
    })
    await terminal.waitFor('profile')
    terminal.type('\u0003')
    t.equal(await terminal.ended, 130, term)
    t.notMatch(terminal.screen(), /bug|rror:/)
  }
})

t.test('a dumb terminal gets no escapes: status, doctor, help, and a whole login', async (t) => {
  const { env } = await startScriptedDaemon(t, { 'GET /v1/status': { json: sampleStatus() } })
  for (const command of ['status', 'doctor', '--help', 'nonsense']) {
    const terminal = openPseudoTerminal(t, {
      env: { ...env, TERM: 'dumb' },
      command: `${program} ${command}`,
    })
    await terminal.ended
    t.notOk(terminal.screen().includes(ESCAPE), `${command}: ${JSON.stringify(terminal.screen())}`)
    t.match(terminal.screen(), /\w/, command)
  }
  const workspaces = ['acme/a', 'acme/b', 'acme/c'].map((handle, at) => ({
    ...{ ...WORKSPACE, handle, workspace_id: `id-${at}`, current: at === 1 },
  }))
  const key = { ...KEY, expires_at: '2026-12-20T10:00:00.000Z' }
  const scripted = await startScriptedLogin(t, {
    onConfirm: [
      { state: 'confirmed' },
      { state: 'stored', owner: OWNER, workspace: { ...WORKSPACE, current: true }, key },
    ],
  })
  const terminal = openPseudoTerminal(t, {
    env: { ...scripted.daemon.env, TERM: 'dumb' },
    command: `${program} login`,
  })
  await terminal.waitFor('paste an API key')
  scripted.become({ state: 'verified', owner: OWNER, owner_known: false, workspaces })
  await terminal.waitFor('[y/N]')
  terminal.type('y\r')
  await terminal.waitFor(/ 2 {2}acme\/b {2}\(current\)[\s\S]*Workspace, 1 to 3: /)
  terminal.type('9\r')
  await terminal.waitFor('Workspace, 1 to 3: ')
  terminal.type('3\r')
  t.equal(await terminal.ended, 0)
  t.match(scripted.bodies('POST /v1/logins/login-1/confirm'), [{ accept: true, workspace: 'id-2' }])
  t.notOk(terminal.screen().includes(ESCAPE), JSON.stringify(terminal.screen()))
})

t.test('without HOME the account database says where it is', async (t) => {
  const { env } = await startScriptedDaemon(t, { 'GET /v1/status': { json: sampleStatus() } })
  const { HOME: _, ...homeless } = env
  t.match(await cli.run(['status'], { env: homeless }), { code: 0, stderr: '' })
})

t.test('a key file in UTF-16 is named as such', async (t) => {
  const { env } = await startScriptedDaemon(t, {})
  const dir = mkdtempSync(join(tmpdir(), 'pab-utf16-'))
  t.teardown(() => rmSync(dir, { recursive: true, force: true }))
  const text = 'pnu_0123456789abcdef0123456789abcdef0123'
  const little = Buffer.concat([Buffer.from([0xff, 0xfe]), Buffer.from(`${text}\r\n`, 'utf16le')])
  for (const [name, bytes] of [
    ['little-endian, as PowerShell writes it', little],
    ['big-endian', Buffer.from(little).swap16()],
    ['without a mark', Buffer.from(text, 'utf16le')],
  ] as const) {
    writeFileSync(join(dir, 'key.txt'), bytes)
    const ran = spawnSync('bash', ['-c', `${program} login --key-stdin <'${dir}/key.txt'`], {
      env: { PATH: process.env.PATH ?? '', ...env },
      encoding: 'utf8',
    })
    t.match(
      ran,
      { status: 2, stdout: '', stderr: /not UTF-8 text; save the file as UTF-8, not UTF-16/ },
      name,
    )
    t.notMatch(ran.stderr, /pnu/)
  }
})
