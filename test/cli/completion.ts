/** Completion scripts, run by the shells they are for. */
import { spawnSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { buildCli } from '../fixtures/built-cli.js'
import { startScriptedDaemon } from '../fixtures/scripted-daemon.js'

const cli = await buildCli(t)
const profiles = ['cloud', 'prod'].map((name) => ({
  name,
  active: name === 'cloud',
  source: 'file',
  kind: 'none',
  because: 'x',
  key: 'none',
  auth_string: 'none',
  login_required: false,
  settings: {},
  warnings: [],
}))
const list = { file: { path: '/p', state: 'good' }, active: 'cloud', profiles }

const table = [
  ['prefect-auth lo', ['login', 'logout', 'logs', 'lock']],
  ['prefect-auth profile re', ['rename']],
  ['prefect-auth profile use pr', ['prod']],
  ['prefect-auth login --key', ['--key-stdin']],
  ['prefect-auth status -p cl', ['cloud']],
  ['prefect-auth token create --pow', ['--power']],
] as const

async function start(t: Parameters<typeof startScriptedDaemon>[0] & { testdir(): string }) {
  const daemon = await startScriptedDaemon(t, { 'GET /v1/profiles': { json: list } })
  const bin = join(t.testdir(), 'bin')
  mkdirSync(bin, { recursive: true })
  writeFileSync(join(bin, 'prefect-auth'), `#!/bin/sh\nexec ${process.execPath} ${cli.program} "$@"\n`, {
    mode: 0o755,
  })
  return { ...daemon.env, PATH: `${bin}:${daemon.env.PATH}` }
}

/** Skips the test of a shell that is missing, unless everything has to be installed. */
function has(shell: string): string | false {
  if (process.env.PAB_REQUIRE_REAL === '1') return false
  return spawnSync('sh', ['-c', `command -v ${shell}`]).status === 0 ? false : `${shell} is not installed`
}

/** The shell runs asynchronously, so that the daemon in this process can respond. */
async function ask(shell: string, script: string, env: Record<string, string>): Promise<string[]> {
  const { spawn } = await import('node:child_process')
  const child = spawn(shell, ['-c', script], { env, stdio: ['ignore', 'pipe', 'inherit'] })
  let text = ''
  for await (const chunk of child.stdout) text += String(chunk)
  return text
    .split('\n')
    .flatMap((line) => line.split('\t').slice(0, 1))
    .filter((word) => word !== '')
}

t.test('bash completes commands, options and profiles', { skip: has('bash') }, async (t) => {
  const env = await start(t)
  for (const [line, expected] of table) {
    const script = `eval "$(prefect-auth completion bash)"
      COMP_WORDS=(${line}); COMP_CWORD=$((\${#COMP_WORDS[@]} - 1)); _prefect_auth; printf '%s\\n' "\${COMPREPLY[@]}"`
    t.same((await ask('bash', script, env)).sort(), [...expected].sort(), line)
  }
})

t.test('fish completes commands, options and profiles', { skip: has('fish') }, async (t) => {
  const env = await start(t)
  for (const [line, expected] of table) {
    const script = `prefect-auth completion fish | source; complete --do-complete '${line}'`
    t.same((await ask('fish', script, env)).sort(), [...expected].sort(), line)
  }
})

t.test('zsh loads its script', { skip: has('zsh') }, async (t) => {
  const env = await start(t)
  const script =
    'autoload -U compinit; compinit -u; eval "$(prefect-auth completion zsh)"; echo $_comps[prefect-auth]'
  t.same(await ask('zsh', script, env), ['_prefect_auth'])
})

t.test('rejects an unknown shell', async (t) => {
  t.match(await cli.run(['completion', 'tcsh'], { env: {} }), { code: 2, stderr: /bash, zsh, fish/ })
})
