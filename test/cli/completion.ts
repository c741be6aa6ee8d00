/** Completion scripts, run by the shells they are for. */
import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { defined } from '../../src/std/defined.js'
import { printable } from '../../src/std/text.js'
import { buildCli } from '../fixtures/built-cli.js'
import { type Script, startScriptedDaemon } from '../fixtures/scripted-daemon.js'

t.setTimeout(300_000)
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
  ['prefect-auth token create --power us', ['use']],
  ['prefect-auth token create --may de', ['deploy']],
  ['prefect-auth exec --proxy --may re', ['read']],
  ['prefect-auth env --ask wr', ['write']],
  ['prefect-auth env --format po', ['powershell']],
  ['prefect-auth completion z', ['zsh']],
] as const

async function start(
  t: Parameters<typeof startScriptedDaemon>[0] & { testdir(content?: undefined): string },
  script: Script = { 'GET /v1/profiles': { json: list } },
) {
  const daemon = await startScriptedDaemon(t, script)
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
async function ask(
  shell: string,
  script: string,
  env: Record<string, string>,
  cwd?: string,
): Promise<string[]> {
  const { spawn } = await import('node:child_process')
  const child = spawn(shell, ['-c', script], {
    env,
    ...defined({ cwd }),
    stdio: ['ignore', 'pipe', 'inherit'],
  })
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

/** Names that run, split, match or lie if a script does more than read, compare and quote them. */
const HOSTILE = [
  '$(touch pwned)',
  '`touch pwned`',
  // biome-ignore lint/suspicious/noTemplateCurlyInString: the shell's own
  '$(touch${IFS}pwned)',
  // biome-ignore lint/suspicious/noTemplateCurlyInString: the shell's own
  'x${HOME}y',
  '; touch pwned;',
  "a'b; touch pwned; '",
  'a"b$(touch pwned)"',
  'one two',
  '*',
  '?[a-z]*',
  '~root',
  '{a,b}',
  '!!',
  '(e)$(touch pwned)',
  '-rf',
  'two\nlines',
  '\u001b]0;x\u0007esc',
  'back\\slash',
  'grün',
]
/** What a completion can offer: one line, and not an option. */
const OFFERED = HOSTILE.filter((name) => !name.startsWith('-') && printable(name) === name).sort()

const view = (name: string) => ({ ...profiles[0], name, active: false })
const workspace = (handle: string) => ({ account_id: 'a', workspace_id: 'w', handle, current: false })
const token = (id: string) => ({
  id,
  name: 'x',
  power: 'proxy',
  profiles: ['*'],
  created_at: '2026-01-01T00:00:00Z',
  expires_at: '2027-01-01T00:00:00Z',
})
const hostile = {
  'GET /v1/profiles': { json: { ...list, profiles: HOSTILE.map(view) } },
  'GET /v1/profiles/cloud/workspaces': {
    json: { profile: 'cloud', workspaces: HOSTILE.map(workspace) },
  },
  'GET /v1/tokens': { json: { tokens: HOSTILE.map(token) } },
  'GET /v1/policies': {
    json: { policies: [], operations: HOSTILE.map((operation) => ({ operation, effect: 'reads' })) },
  },
  'GET /v1/keys': {
    json: { keys: HOSTILE.map((id) => ({ profile: 'cloud', state: 'at_prefect', id })), notices: [] },
  },
  'GET /v1/service-accounts': {
    json: {
      profile: 'cloud',
      account_id: 'a',
      service_accounts: HOSTILE.map((name) => ({ id: 'b', name, profiles: [] })),
    },
  },
}

const PLACES = [
  'prefect-auth profile use',
  'prefect-auth profile delete',
  'prefect-auth status -p',
  'prefect-auth env --profile',
  'prefect-auth workspace set',
  'prefect-auth login -w',
  'prefect-auth token revoke',
  'prefect-auth token keep',
  'prefect-auth token show',
  'prefect-auth token create --allow',
  'prefect-auth exec --proxy --deny',
  'prefect-auth keys delete',
  'prefect-auth service-account delete',
  'prefect-auth service-account rotate',
]
const WORDS = ['', '$', "'", '$(touch pwned)', 'on']

/** At every place, in a directory in which nothing may appear; at the first place with every typed word. */
async function attack(t: Test, shell: string, script: (place: string) => string) {
  const env = await start(t, hostile)
  const cwd = emptyDirectory(t)
  for (const [at, place] of PLACES.entries()) {
    for (const word of at === 0 ? WORDS : ['']) {
      const got = await ask(shell, script(place), { ...env, WORD: word }, cwd)
      t.same(readdirSync(cwd), [], `${place} ${word}: nothing ran`)
      if (word === '') t.same(got.filter((name) => !name.startsWith('--')).sort(), OFFERED, place)
    }
  }
}

function emptyDirectory(t: Test): string {
  const cwd = mkdtempSync(join(tmpdir(), 'pab-tab-'))
  t.after(() => rmSync(cwd, { recursive: true, force: true }))
  return cwd
}

// `eval` stands for pressing Enter: what is put into the command line is the name, and runs nothing either.
const bashAttack = (place: string) => `eval "$(prefect-auth completion bash)"
  COMP_WORDS=(${place} "$WORD"); COMP_CWORD=$((\${#COMP_WORDS[@]} - 1)); _prefect_auth
  for reply in "\${COMPREPLY[@]}"; do eval "printf '%s\\n' $reply"; done`

t.test('bash runs nothing that a name contains', { skip: has('bash') }, async (t) => {
  await attack(t, 'bash', bashAttack)
  const env = await start(t, hostile)
  t.same(await ask('bash', `set -o posix; set -u; ${bashAttack(PLACES[0] ?? '')}`, { ...env, WORD: 'o' }), [
    'one two',
  ])
})

t.test('the script for bash needs nothing that bash 3.2 lacks', async (t) => {
  const { stdout } = await cli.run(['completion', 'bash'], { env: {} })
  const code = stdout.replace(/^#.*$/gm, '')
  t.notMatch(code, /mapfile|readarray|compopt|declare -A|local -n|\|&|&>>|coproc|<\(|\$\{\w+[,^@]|compgen -W/)
})

t.test('a program on the PATH with a hostile name is only text', { skip: has('bash') }, async (t) => {
  const env = await start(t, hostile)
  const bin = env.PATH.split(':')[0] ?? ''
  for (const name of ['zz$(touch pwned)', 'zz*', 'zz two'])
    writeFileSync(join(bin, name), '', { mode: 0o755 })
  const cwd = emptyDirectory(t)
  const got = await ask('bash', bashAttack('prefect-auth exec --'), { ...env, WORD: 'zz' }, cwd)
  t.same(got.sort(), ['zz two', 'zz$(touch pwned)', 'zz*'].sort())
  t.same(readdirSync(cwd), [])
})

t.test('zsh runs nothing that a name contains', { skip: has('zsh') }, async (t) => {
  // The function itself, as zle calls it; compadd prints what it is given.
  await attack(
    t,
    'zsh',
    (place) => `setopt globsubst shwordsplit
      compdef() { : }; _describe() { : }
      compadd() { shift; print -rl -- "$@" }
      eval "$(prefect-auth completion zsh)"
      words=(${place} "$WORD"); CURRENT=\${#words}; _prefect_auth`,
  )
})

t.test('zsh inserts such a name as one quoted word', { skip: has('zsh') }, async (t) => {
  const names = { json: { ...list, profiles: [view('$(touch pwned) *')] } }
  const env = await start(t, { 'GET /v1/profiles': names })
  const cwd = emptyDirectory(t)
  // A terminal: Tab completes, Ctrl-A and `print` show the words that Enter would run.
  const script = `zmodload zsh/zpty; zpty z "cd ${cwd}; TERM=dumb zsh -f -i"
    zpty -w z 'PS1=; autoload -U compinit; compinit -D -u; eval "$(prefect-auth completion zsh)"; print RE""ADY'
    zpty -r z out '*READY*'
    zpty -w -n z $'prefect-auth status -p \\t\\C-aprint -r -- "<END>" \\n'
    zpty -r z out $'*<END> prefect*\\n'; print -r -- "$out"; zpty -d z`
  t.match((await ask('zsh', script, env, cwd)).join('\n'), '<END> prefect-auth status -p $(touch pwned) *')
  t.same(readdirSync(cwd), [])
})

t.test('fish runs nothing that a name contains', { skip: has('fish') }, async (t) => {
  await attack(
    t,
    'fish',
    (place) =>
      `prefect-auth completion fish | source; complete --do-complete (string join ' ' -- '${place}' (string escape -- $WORD; or true))`,
  )
})

t.test('rejects an unknown shell', async (t) => {
  t.match(await cli.run(['completion', 'tcsh'], { env: {} }), { code: 2, stderr: /bash, zsh, fish/ })
})
