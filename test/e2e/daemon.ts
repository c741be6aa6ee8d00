/** The daemon as a real process: login, restart, refused starts, damaged files, shutdown. */
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import t from 'tap'
import { startCloudSimulator } from '../../sim/simulator.js'
import { makeRoot } from '../fixtures/broker.js'
import { buildDaemon, everyFile, logInWithKey, servedKey, startProgram } from '../fixtures/daemon-program.js'
import { openPseudoTerminal } from '../fixtures/pseudo-terminal.js'

const program = await buildDaemon(t)

t.test(
  'a login with a key: the minted key is served, the file gets the URL and no key, a restart changes nothing',
  async (t) => {
    const sim = await startCloudSimulator()
    t.after(() => sim.close())
    const root = await makeRoot(t)
    const daemon = startProgram(t, { program, root, sim, env: { PREFECT_AUTH_PORT: '0' } })
    await daemon.up()
    const delivered = sim.issueKey({ name: 'delivered' })
    t.match(await logInWithKey(daemon, delivered), {
      state: 'stored',
      exchange: { done: true },
      key: { origin: 'minted' },
    })
    const served = (await servedKey(daemon)) ?? ''
    t.not(served, delivered)
    t.match(sim.keys.find(served)?.name, /^prefect-auth /)
    const file = readFileSync(daemon.profilesFile, 'utf8')
    t.match(file, sim.workspaceUrl('prefect/terry'))
    t.notMatch(file, 'pnu_')
    const { etag, body } = await daemon.ask('GET', '/v1/credentials')
    t.match(body, {
      profile: 'cloud',
      kind: 'cloud',
      owner: { handle: 'terry' },
      workspace: { handle: 'prefect/terry' },
    })
    await daemon.ask('GET', '/v1/doctor')

    // No file that the daemon writes contains a key.
    const log = `${daemon.stdout()}${daemon.stderr()}`
    t.match(log, /"level":"debug"/)
    for (const key of [served, delivered]) {
      t.notMatch(log, key)
      for (const { path, bytes } of everyFile(root)) t.equal(bytes.includes(key), false, path)
    }

    t.equal(await daemon.stop(), 0)
    t.equal(existsSync(daemon.socket), false)
    t.strictSame(readdirSync(join(daemon.stateDir, 'lock')), [])
    t.strictSame(
      everyFile(root).filter(({ path }) => path.endsWith('.tmp')),
      [],
    )
    const again = startProgram(t, { program, root, sim })
    await again.up()
    t.equal(await servedKey(again), served)
    t.equal((await again.ask('GET', '/v1/credentials')).etag, etag)
    t.equal(
      (await again.ask('GET', '/v1/credentials', undefined, { 'if-none-match': etag ?? '' })).status,
      304,
    )
    t.equal(await again.stop(), 0)
  },
)

t.test('a second daemon fails and says why; the first keeps running', async (t) => {
  const root = await makeRoot(t)
  const first = startProgram(t, { program, root })
  await first.up()
  const second = startProgram(t, { program, root })
  t.equal(await second.ended(), 1)
  t.match(
    second.stderr(),
    /prefect-authd: another prefect-authd already uses .*state\n {2}try: prefect-auth status/,
  )
  t.equal(second.stdout(), '')
  const elsewhere = await makeRoot(t)
  const third = startProgram(t, { program, root: elsewhere, env: { PREFECT_AUTH_SOCKET: first.socket } })
  t.equal(await third.ended(), 1)
  t.match(third.stderr(), /another program answers there\n {2}try: prefect-auth status/)
  t.equal((await first.ask('GET', '/v1/status')).status, 200)
  t.equal(await first.stop(), 0)
})

t.test('after a kill the next start takes over, stale socket and all', async (t) => {
  const root = await makeRoot(t)
  const first = startProgram(t, { program, root })
  await first.up()
  first.child.kill('SIGKILL')
  await first.ended()
  t.equal(existsSync(first.socket), true)
  const second = startProgram(t, { program, root })
  await second.up()
  t.equal((await second.ask('GET', '/livez')).status, 200)
  t.equal(readdirSync(join(root, 'state', 'lock')).length, 1)
  t.equal(await second.stop(), 0)
})

t.test('a taken port is not fatal: status names the listener', async (t) => {
  const root = await makeRoot(t)
  const holder = createServer()
  await new Promise<void>((resolve) => holder.listen(0, '127.0.0.1', resolve))
  t.after(() => holder.close())
  const address = holder.address()
  const port = String(typeof address === 'object' ? address?.port : '')
  const daemon = startProgram(t, { program, root, env: { PREFECT_AUTH_PORT: port } })
  await daemon.up()
  const { text } = await daemon.ask('GET', '/v1/status')
  t.match(text, new RegExp(`port ${port} is taken by .*\\(pid ${process.pid}\\)`))
  t.match(daemon.stdout(), `port ${port} is taken by`)
  t.equal(await daemon.stop(), 0)
})

interface Refusal {
  readonly name: string
  readonly code: number
  readonly says: RegExp
  readonly env?: (root: string) => Record<string, string>
  readonly args?: readonly string[]
  readonly prepare?: (root: string) => void
}

const REFUSALS: readonly Refusal[] = [
  {
    name: 'a socket path that is too long',
    code: 1,
    says: /longer than 103 bytes\n {2}try: set PREFECT_AUTH_SOCKET/,
    env: (root) => ({ PREFECT_AUTH_SOCKET: join(root, 's'.repeat(110)) }),
  },
  {
    name: 'a state directory that others may enter',
    code: 1,
    says: /mode 755 lets other users reach it\n {2}try: chmod 700 \/.*state/,
    prepare: (root) => {
      mkdirSync(join(root, 'state'))
      chmodSync(join(root, 'state'), 0o755)
    },
  },
  {
    name: 'a ledger that others can read',
    code: 1,
    says: /ledger\.json: mode 644.*\n {2}try: chmod 600 /,
    prepare: (root) => {
      mkdirSync(join(root, 'state'), { mode: 0o700 })
      writeFileSync(join(root, 'state', 'ledger.json'), '{"profiles":{},"keys":{}}')
      chmodSync(join(root, 'state', 'ledger.json'), 0o644)
    },
  },
  {
    name: 'a vault.json that is not ours',
    code: 1,
    says: /vault\.json/,
    prepare: (root) => {
      mkdirSync(join(root, 'state'), { mode: 0o700 })
      writeFileSync(join(root, 'state', 'vault.json'), '{"backend":', { mode: 0o600 })
    },
  },
  {
    name: 'an unknown setting in the environment',
    code: 2,
    says: /unknown setting in the environment variable PREFECT_AUTH_PROT/,
    env: () => ({ PREFECT_AUTH_PROT: '1' }),
  },
  {
    name: 'an unknown flag',
    code: 2,
    says: /--nonsense/,
    args: ['--nonsense'],
  },
  {
    name: 'a bad value in the settings file',
    code: 2,
    says: /setting login\.timeout in .*config\.toml is not valid: expected a duration/,
    env: (root) => ({ PREFECT_AUTH_CONFIG: join(root, 'config.toml') }),
    prepare: (root) => writeFileSync(join(root, 'config.toml'), 'login.timeout = "soon"\n'),
  },
]

for (const { name, code, says, env, args = [], prepare } of REFUSALS) {
  t.test(`${name} fails the start with a clear message`, async (t) => {
    const root = await makeRoot(t)
    prepare?.(root)
    const daemon = startProgram(t, { program, root, args, env: env?.(root) ?? {} })
    t.equal(await daemon.ended(), code)
    t.match(daemon.stderr(), says)
    t.notMatch(daemon.stderr(), /\n\s+at /, 'no stack')
    t.equal(daemon.stdout(), '')
    t.equal(
      existsSync(join(root, 'state', 'lock')) && readdirSync(join(root, 'state', 'lock')).length > 0,
      false,
    )
  })
}

t.test('a corrupt ledger is set aside, the previous version is used, and status says so', async (t) => {
  const sim = await startCloudSimulator()
  t.after(() => sim.close())
  const root = await makeRoot(t)
  const first = startProgram(t, { program, root, sim })
  await first.up()
  await logInWithKey(first, sim.issueKey())
  const served = await servedKey(first)
  t.equal(await first.stop(), 0)
  for (const name of ['ledger.json', 'tokens.json']) {
    writeFileSync(join(root, 'state', name), '{"profiles":', { mode: 0o600 })
  }
  const second = startProgram(t, { program, root, sim })
  await second.up()
  t.equal(await servedKey(second), served)
  t.match((await second.ask('GET', '/v1/status')).text, /ledger\.json was corrupt and was renamed to/)
  t.match((await second.ask('GET', '/v1/doctor')).text, /tokens\.json was corrupt/)
  t.equal(readdirSync(join(root, 'state')).filter((name) => name.includes('.corrupt-')).length, 2)
  t.equal(await second.stop(), 0)
})

t.test('a damaged vault record is reported, and a new login repairs it', async (t) => {
  const sim = await startCloudSimulator()
  t.after(() => sim.close())
  const root = await makeRoot(t)
  const first = startProgram(t, { program, root, sim })
  await first.up()
  await logInWithKey(first, sim.issueKey(), false)
  t.equal(await first.stop(), 0)
  const vault = join(root, 'state', 'vault')
  for (const name of readdirSync(vault).filter((one) => /^[0-9a-f]{64}$/.test(one))) {
    writeFileSync(join(vault, name), 'rubbish', { mode: 0o600 })
  }
  const second = startProgram(t, { program, root, sim })
  await second.up()
  t.equal(await servedKey(second), 'vault_corrupt')
  await logInWithKey(second, sim.issueKey())
  t.match(await servedKey(second), /^pnu_/)
  t.equal(await second.stop(), 0)
})

t.test(
  'SIGTERM while a client waits and Prefect does not respond: exits with 0, leaves nothing',
  async (t) => {
    const sim = await startCloudSimulator()
    t.after(() => sim.close())
    const root = await makeRoot(t)
    const daemon = startProgram(t, { program, root, sim })
    await daemon.up()
    await logInWithKey(daemon, sim.issueKey())
    const { etag = '' } = await daemon.ask('GET', '/v1/credentials')
    const waiting = daemon.ask('GET', '/v1/credentials', undefined, {
      'if-none-match': etag,
      prefer: 'wait=300',
    })
    const hung = sim.faults.always({ path: '/api/me/workspaces' }, { kind: 'silence' })
    const asking = daemon.ask('GET', '/v1/profiles/cloud/workspaces').catch(() => undefined)
    while (hung.struck === 0) await new Promise((resolve) => setTimeout(resolve, 5))
    t.equal(await daemon.stop(), 0)
    t.match((await waiting).text, /shutting_down/)
    await asking
    t.equal(existsSync(daemon.socket), false)
    t.strictSame(readdirSync(join(root, 'state', 'lock')), [])
  },
)

t.test('POST /v1/shutdown stops it like SIGTERM', async (t) => {
  const root = await makeRoot(t)
  const daemon = startProgram(t, { program, root })
  await daemon.up()
  t.equal((await daemon.ask('POST', '/v1/shutdown')).status, 202)
  t.equal(await daemon.ended(), 0)
  t.equal(existsSync(daemon.socket), false)
})

t.test('help and version need nothing and write nothing', async (t) => {
  const root = await makeRoot(t)
  const help = startProgram(t, { program, root, args: ['--help'] })
  t.equal(await help.ended(), 0)
  t.match(help.stdout(), /--renewal-key-lifetime=…/)
  const version = startProgram(t, { program, root, args: ['--version'] })
  t.equal(await version.ended(), 0)
  t.match(version.stdout(), /^\d+\.\d+\.\d+\n$/)
  t.strictSame(readdirSync(root), [])
})

t.test('the first start at a terminal: a greeting on the screen, the log in a file', async (t) => {
  const root = await makeRoot(t)
  const terminal = openPseudoTerminal(t, {
    env: { PATH: process.env.PATH ?? '', HOME: root, PREFECT_AUTH_VAULT_BACKEND: 'file', TERM: 'xterm' },
    command: `echo $$ > ${join(root, 'pid')}; exec ${process.execPath} ${program} --port=off --vault-key-wrap=key-file`,
  })
  await terminal.waitFor('next, in another terminal: prefect-auth login')
  process.kill(Number(readFileSync(join(root, 'pid'), 'utf8')), 'SIGINT')
  t.equal(await terminal.ended, 0)
  t.notMatch(terminal.screen(), '{"level"')
  t.match(readFileSync(join(root, '.local/state/prefect-auth/authd.log'), 'utf8'), '"reason":"SIGINT"')
})
