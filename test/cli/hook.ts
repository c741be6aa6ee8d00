/** The hook of a shell: real shells at real prompts, beside the daemon as it is shipped. */
import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { defined } from '../../src/std/defined.js'
import { pairMark } from '../../src/wire/pair-mark.js'
import { runToEnd } from '../fixtures/run-to-end.js'
import { startShipped } from '../fixtures/shipped.js'

t.setTimeout(600_000)

const PROGRAM = fileURLToPath(new URL('../../dist/auth.cjs', import.meta.url))
const URL_OF_A =
  'https://api.prefect.cloud/api/accounts/11111111-1111-4111-8111-111111111111/workspaces/22222222-2222-4222-8222-222222222222'
const URL_OF_B = 'http://127.0.0.1:4299/api'
const KEY = `pnu_${'k'.repeat(36)}`
const FILE = `active = "a"
[profiles.a]
PREFECT_API_URL = "${URL_OF_A}"
PREFECT_API_KEY = "${KEY}"
[profiles.b]
PREFECT_API_URL = "${URL_OF_B}"
[profiles."$(touch ran)"]
PREFECT_API_URL = "${URL_OF_B}"
`

/** How each shell is told to read its lines at prompts, and how it says what the lines of the table need. */
const SHELLS = {
  bash: { args: ['--norc', '-i'], start: 'eval "$(prefect-auth hook bash)"', prompt: ':' },
  zsh: { args: ['-f', '-i'], start: 'eval "$(prefect-auth hook zsh)"', prompt: ':' },
  fish: { args: ['--no-config'], start: 'prefect-auth hook fish | source', prompt: 'emit fish_prompt' },
} as const
type Shell = keyof typeof SHELLS

function has(shell: string): string | false {
  if (process.env.PAB_REQUIRE_REAL === '1') return false
  return spawnSync('sh', ['-c', `command -v ${shell}`]).status === 0 ? false : `${shell} is not installed`
}

for (const shell of ['bash', 'zsh', 'fish'] as const) {
  t.test(`${shell}: the pair follows at the prompt`, { skip: has(shell) }, async (t) => {
    const at = await start(t, shell)
    const { said, calls } = await at.type([
      at.now('first'),
      ...Array.from({ length: 5 }, () => at.prompt),
      'echo quiet >> "$CALLS"',
      'prefect-auth profile use b',
      'waitnew',
      at.prompt,
      at.now('switched'),
    ])
    t.match(said, `first ${URL_OF_A} ${KEY} a\n`)
    t.match(said, `switched ${URL_OF_B}  b\n`, 'and the key of the profile before is not left')
    t.same(
      calls.slice(0, calls.indexOf('quiet')),
      ['hook', 'env'],
      'a prompt without a change starts nothing',
    )
  })

  t.test(`${shell}: what the user set stays, and it is said once`, { skip: has(shell) }, async (t) => {
    const at = await start(t, shell)
    const { said, noise } = await at.type([
      at.set('PREFECT_API_URL', 'http://mine/api'),
      at.prompt,
      at.prompt,
      at.now('mine'),
      at.unset('PREFECT_API_URL PREFECT_API_KEY'),
      at.prompt,
      at.now('again'),
    ])
    t.match(said, 'mine http://mine/api')
    t.equal(noise.split('set by hand').length - 1, 1)
    t.match(said, `again ${URL_OF_A} ${KEY} a\n`)
  })

  t.test(
    `${shell}: a shell pinned by PREFECT_PROFILE is told, and stays`,
    { skip: has(shell) },
    async (t) => {
      const at = await start(t, shell)
      const { said, noise } = await at.type([
        at.set('PREFECT_PROFILE', '$(touch ran)'),
        at.prompt,
        at.prompt,
        at.now('pinned'),
        'test -e ran && echo ran',
      ])
      t.match(said, `pinned ${URL_OF_B}  $(touch ran)\n`)
      t.equal(noise.split('this shell stays with profile').length - 1, 1)
      t.notMatch(said, /^ran$/m, 'names are text')
    },
  )

  t.test(`${shell}: after a logout nothing is left`, { skip: has(shell) }, async (t) => {
    const at = await start(t, shell)
    const { said, noise } = await at.type([
      at.now('in'),
      'prefect-auth logout -p a',
      'waitnew',
      at.prompt,
      at.now('out'),
    ])
    t.match(said, `in ${URL_OF_A} ${KEY} a\n`)
    t.match(said, /^out {3}$/m)
    t.match(noise, /prefect-auth login/)
  })

  t.test(`${shell}: a daemon that is gone slows no prompt`, { skip: has(shell) }, async (t) => {
    const at = await start(t, shell)
    const { said, calls } = await at.type([
      `kill ${at.daemonPid}`,
      'waitgone',
      at.set('PREFECT_PROFILE', 'b'),
      'echo gone >> "$CALLS"',
      ...Array.from({ length: 12 }, () => at.prompt),
      at.now('kept'),
    ])
    t.match(said, `kept ${URL_OF_A} ${KEY} a\n`, 'what the shell has stays')
    t.ok(calls.slice(calls.indexOf('gone') + 1).length <= 2, calls.join(' '))
  })
}

t.test('a mark says whether the pair is still the one that was set', async (t) => {
  const pair = { PREFECT_API_URL: 'u', PREFECT_API_KEY: 'k' }
  t.equal(pairMark({}), '')
  t.equal(pairMark({ PREFECT_API_URL: '' }), '')
  t.equal(pairMark(pair), pairMark({ ...pair, PREFECT_API_AUTH_STRING: '' }))
  for (const other of [{}, { ...pair, PREFECT_API_KEY: 'K' }, { PREFECT_API_URL: 'uk' }]) {
    t.not(pairMark(other), pairMark(pair))
  }
})

/** A daemon with the file above, and a shell that has just evaluated the hook. */
async function start(t: Test, shell: Shell) {
  const { args, start: line, prompt } = SHELLS[shell]
  const isFish = shell === 'fish'
  const folder = mkdtempSync(join(tmpdir(), 'pab-hook-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  mkdirSync(join(folder, '.prefect'))
  writeFileSync(join(folder, '.prefect', 'profiles.toml'), FILE)
  const broker = await startShipped(t, { HOME: folder, XDG_STATE_HOME: join(folder, 'state') })
  const bin = join(folder, 'bin')
  mkdirSync(bin)
  const calls = join(folder, 'calls')
  const generation = join(broker.socket, '../generation')
  const programs = {
    'prefect-auth': `echo "$1" >> '${calls}'\nexec '${process.execPath}' '${PROGRAM}' "$@"`,
    // Commands of the table: until the file has another line, until the socket is gone.
    waitnew: `old="$(cat '${folder}/seen' 2>/dev/null)"\nuntil [ "$(cat '${generation}')" != "$old" ]; do sleep 0.05; done\ncat '${generation}' > '${folder}/seen'`,
    waitgone: `while [ -S '${broker.socket}' ]; do sleep 0.05; done`,
  }
  for (const [name, body] of Object.entries(programs)) {
    writeFileSync(join(bin, name), `#!/bin/sh\n${body}\n`, { mode: 0o755 })
  }
  const env = {
    PATH: `${bin}:${process.env.PATH}`,
    HOME: folder,
    TERM: 'dumb',
    CALLS: calls,
    PREFECT_AUTH_SOCKET: broker.socket,
  }
  return {
    prompt,
    daemonPid: broker.daemon().pid,
    set: (name: string, value: string) =>
      isFish ? `set -gx ${name} '${value}'` : `export ${name}='${value}'`,
    unset: (name: string) => (isFish ? `set -e ${name}` : `unset ${name}`),
    now: (label: string) =>
      `echo "${label} $PREFECT_API_URL $PREFECT_API_KEY $PREFECT_AUTH_PROFILE" >> '${folder}/said'`,
    async type(lines: readonly string[]) {
      const input = ['waitnew', line, prompt, ...lines, 'exit', ''].join('\n')
      // fish reads no script from a pipe.
      const given = isFish ? { args: [...args, '-c', input] } : { args, input }
      const { stderr } = await runToEnd(shell, given.args, {
        env,
        cwd: folder,
        timeout: 120_000,
        ...defined({ input: given.input }),
      })
      const read = (name: string) => spawnSync('cat', [join(folder, name)], { encoding: 'utf8' }).stdout
      return { said: read('said'), noise: stderr, calls: read('calls').split('\n').filter(Boolean) }
    },
  }
}
