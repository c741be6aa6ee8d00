/** `prefect-auth exec` as a real process: environment, exit codes, signals, and what stays in memory. */
import { chmodSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { bareEnv, buildCli } from '../fixtures/built-cli.js'
import { openPseudoTerminal } from '../fixtures/pseudo-terminal.js'
import { problem, startScriptedDaemon } from '../fixtures/scripted-daemon.js'
import { API_KEY, API_URL, sampleCredentials } from '../fixtures/wire-samples.js'

const script = { 'GET /v1/credentials': { json: sampleCredentials() } }

const cli = await buildCli(t)

async function start(t: Parameters<typeof startScriptedDaemon>[0]) {
  return { daemon: await startScriptedDaemon(t, script) }
}

t.test('passes credentials, arguments and stdin, and reports the variables it replaced', async (t) => {
  const { daemon } = await start(t)
  const env = {
    ...daemon.env,
    PREFECT_API_KEY: 'pnu_old',
    PREFECT_API_AUTH_STRING: 'a:b',
    PREFECT_PROFILE: 'dev',
  }
  const command = ['sh', '-c', 'cat; env | grep ^PREFECT_; echo "$0|$1"', 'a b', '']

  const outcome = await cli.run(['exec', '-p', 'cloud', '--', ...command], { env, input: 'stdin\n' })

  t.match(outcome, { code: 0, stdout: /^stdin\n/ })
  const lines = outcome.stdout.split('\n')
  for (const line of [
    `PREFECT_API_URL=${API_URL}`,
    `PREFECT_API_KEY=${API_KEY}`,
    'PREFECT_PROFILE=dev',
    'a b|',
  ]) {
    t.ok(lines.includes(line), line)
  }
  t.ok(lines.includes('PREFECT_API_AUTH_STRING='), 'empty, so that no other source fills it')
  t.match(
    outcome.stderr,
    /PREFECT_API_KEY from your environment is replaced by the value of profile 'cloud'\n/,
  )
  t.match(outcome.stderr, /PREFECT_API_AUTH_STRING from your environment/)
  t.notMatch(outcome.stderr, 'pnu_')
  t.match(daemon.asked.at(-1), {
    query: { profile: 'cloud' },
    headers: { 'user-agent': /^prefect-auth\/\S+ exec$/ },
  })
})

t.test("exits with the command's own code, or the one a shell would use", async (t) => {
  const { daemon } = await start(t)
  const folder = t.testdir({ plain: 'x', bare: 'exit 7\n', orphan: '#!/no/such/sh\n' })
  for (const file of ['bare', 'orphan']) chmodSync(join(folder, file), 0o755)
  const table = [
    [['sh', '-c', 'exit 42'], { code: 42 }],
    [['no-such-command-at-all'], { code: 127, stderr: /no-such-command-at-all: command not found/ }],
    [[join(folder, 'plain')], { code: 126, stderr: /permission denied/ }],
    [[join(folder, 'bare')], { code: 7 }],
    [[join(folder, 'orphan')], { code: 127 }],
  ] as const

  for (const [command, expected] of table) {
    t.match(await cli.run(['exec', '--', ...command], { env: daemon.env }), expected, command.join(' '))
  }
  const killed = await cli.run(['exec', 'sh', '-c', 'kill -TERM $$'], { env: daemon.env })
  // If the command replaced us, the signal ended it; a shell reports 128+n for both.
  t.ok(killed.code === 143 || killed.signal === 'SIGTERM')
})

t.test('exits with 125 and the reason if the command was never started', async (t) => {
  const refused = problem('login_required', 'login', 401, 'no key', 'prefect-auth login')
  const daemon = await startScriptedDaemon(t, { 'GET /v1/credentials': refused })
  const nonsense = await startScriptedDaemon(t, { 'GET /v1/credentials': { json: { profile: 7 } } })
  const marker = join(t.testdir(), 'ran')
  const table = [
    [daemon.env, ['touch', marker], /no key \(login_required\)\ntry: prefect-auth login/],
    [nonsense.env, ['touch', marker], /not_understood/],
    [bareEnv(t.testdirName), ['touch', marker], /daemon_not_running/],
    [daemon.env, [], /exec needs a command/],
    [daemon.env, ['--bogus', 'touch', marker], /unknown option/],
  ] as const

  for (const [env, args, stderr] of table) {
    t.match(await cli.run(['exec', ...args], { env }), { code: 125, stdout: '', stderr })
  }
  t.throws(() => readFileSync(marker), { code: 'ENOENT' })
})

t.test('passes signals to the command', async (t) => {
  const { daemon } = await start(t)
  for (const signal of ['SIGTERM', 'SIGHUP', 'SIGINT', 'SIGQUIT', 'SIGUSR1', 'SIGUSR2'] as const) {
    const name = signal.slice(3)
    const folder = t.testdir()
    const ready = join(folder, 'ready')
    const command = `trap 'echo got ${name}; exit 9' ${name}; : > ${ready}; while :; do sleep 0.05; done`
    const outcome = await cli.run(['exec', 'sh', '-c', command], {
      env: daemon.env,
      onSpawn: (_pid, kill) => {
        const timer = setInterval(() => {
          try {
            readFileSync(ready)
          } catch {
            return
          }
          clearInterval(timer)
          kill(signal)
        }, 20)
      },
    })
    t.match(outcome, { code: 9, stdout: `got ${name}\n` })
  }
})

t.test('gives the command no ignored signals and no open files', async (t) => {
  const { daemon } = await start(t)
  const command = 'grep SigIgn /proc/self/status; ls /proc/$$/fd'

  const { stdout } = await cli.run(['exec', 'sh', '-c', command], { env: daemon.env })

  t.match(stdout, /SigIgn:\t0000000000000000\n/)
  t.same(
    stdout.split('\n').filter((line) => /^[3-9]$/.test(line)),
    [],
  )
})

t.test('is replaced by the command with execve, and its parent without', async (t) => {
  const { daemon } = await start(t)

  let ours = 0
  const { stdout } = await cli.run(['exec', 'sh', '-c', 'echo $$'], {
    env: daemon.env,
    onSpawn: (pid) => {
      ours = pid
    },
  })

  t.equal(Number(stdout) === ours, typeof Reflect.get(process, 'execve') === 'function')
})

t.test('lets Ctrl-C at a terminal reach the command once, not twice', async (t) => {
  const { daemon } = await start(t)
  const inner =
    "let n = 0; process.on('SIGINT', () => { console.log('interrupted'); if (++n === 1) setTimeout(() => { console.log('over'); process.exit() }, 500) }); setInterval(() => {}, 1000); console.log('ready')"
  const terminal = openPseudoTerminal(t, {
    env: { ...daemon.env, INNER: inner },
    command: `exec ${process.execPath} ${cli.program} exec -- ${process.execPath} -e "$INNER"`,
  })

  await terminal.waitFor('ready')
  terminal.type('\u0003')
  await terminal.waitFor('over')
  await terminal.ended

  t.equal(terminal.screen().split('interrupted').length - 1, 1)
})
