/** The pair that the caller means: whole or none, of the caller's own file, and with a word about what stands around. */
import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { runToEnd } from '../fixtures/run-to-end.js'
import { type Shipped, startShipped } from '../fixtures/shipped.js'

const PROGRAM = fileURLToPath(new URL('../../dist/auth.cjs', import.meta.url))
const WORKSPACE =
  '/accounts/11111111-1111-4111-8111-111111111111/workspaces/22222222-2222-4222-8222-222222222222'
const CLOUD = 'https://api.prefect.cloud/api'
const KEY = `pnu_${'k'.repeat(36)}`
const SERVER = 'http://127.0.0.1:4299/api'
const HEADERS = `PREFECT_CLIENT_CUSTOM_HEADERS = '{"Authorization": "Bearer gateway", "x-way": "1"}'`

const FILE = `active = "a"
[profiles.a]
PREFECT_API_URL = "${CLOUD}${WORKSPACE}"
PREFECT_API_KEY = "${KEY}"
[profiles.b]
PREFECT_API_URL = "${SERVER}"
[profiles.auth]
PREFECT_API_URL = "${SERVER}"
PREFECT_API_AUTH_STRING = "u:p"
[profiles.work]
PREFECT_LOGGING_LEVEL = "INFO"
[profiles.headers]
PREFECT_API_URL = "${CLOUD}${WORKSPACE}"
PREFECT_API_KEY = "${KEY}"
PREFECT_API_TLS_INSECURE_SKIP_VERIFY = "true"
${HEADERS}
`

t.setTimeout(600_000)

const broker = await start(t, FILE)

/** A daemon in whose home stands `file`. */
async function start(t: Test, file: string): Promise<Shipped> {
  const folder = newFolder(t)
  mkdirSync(join(folder, '.prefect'))
  writeFileSync(join(folder, '.prefect', 'profiles.toml'), file)
  return startShipped(t, { HOME: folder, XDG_STATE_HOME: join(folder, 'state') })
}

/** Not `t.testdir()`, which every run empties and whose paths are too long for a socket. */
function newFolder(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'pab-pair-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

type Env = Record<string, string>

/** Runs the command line in a directory with these files; nothing else of Prefect's is in its environment. */
async function run(
  t: Test,
  args: readonly string[],
  {
    env = {},
    files = {},
    of = broker,
    input = '',
  }: { env?: Env; files?: Env; of?: Shipped; input?: string } = {},
) {
  const cwd = join(t.testdir(files))
  return runToEnd(process.execPath, [PROGRAM, ...args], {
    env: { PATH: process.env.PATH ?? '', HOME: of.userHome, PREFECT_AUTH_SOCKET: of.socket, ...env },
    cwd,
    input,
  })
}

t.test('a group in .env does not decide where the key goes', async (t) => {
  const files = {
    '.env': 'PREFECT_API={"url": "http://evil/api"}\nPREFECT_CLOUD={"api_url": "http://evil/api"}\n',
  }
  const show = ['sh', '-c', 'echo "$PREFECT_API"; echo "$PREFECT_CLOUD"']
  const { stdout } = await run(t, ['exec', '-p', 'b', '--', ...show], { files })
  const [api = '', cloud = ''] = stdout.split('\n')
  t.same(JSON.parse(api), { url: SERVER, key: '', auth_string: '' })
  t.match(JSON.parse(cloud), { api_url: CLOUD })
  t.match(
    (await run(t, ['env', '-p', 'b'], { files })).stderr,
    /PREFECT_API in \.env .* wins over what env prints/,
  )
})

const SHOW = ['sh', '-c', 'env | grep -i "^prefect_" | grep -v ^PREFECT_AUTH_ | sort']

t.test('gives every variable of the profile and empties the rest, whatever the caller has', async (t) => {
  const env = {
    PREFECT_API_KEY: KEY,
    PREFECT_API_AUTH_STRING: 'u:p',
    PREFECT_PROFILE: 'a',
    PREFECT_API: '{"key": "pnu_group"}',
    PREFECT_CLOUD: '{"api_url": "http://group/api"}',
    prefect_api_url: 'http://small/api',
    Prefect_Api_Key: 'pnu_mixed',
  }
  const wanted = [
    'PREFECT_API_AUTH_STRING=',
    'PREFECT_API_KEY=',
    `PREFECT_API_URL=${SERVER}`,
    `PREFECT_CLOUD_API_URL=${CLOUD}`,
    'PREFECT_PROFILE=b',
  ]
  const exec = await run(t, ['exec', '-p', 'b', '--', ...SHOW], { env })
  t.same(exec.stdout.trim().split('\n'), wanted)
  for (const name of [
    'PREFECT_API_KEY',
    'PREFECT_API',
    'PREFECT_CLOUD',
    'prefect_api_url',
    'Prefect_Api_Key',
  ]) {
    t.match(exec.stderr, new RegExp(`^prefect-auth: ${name} from your environment is replaced`, 'm'))
  }
  t.notMatch(exec.stderr, /pnu_|u:p/)
  const script = 'eval "$("$@")"; env | grep -i "^prefect_" | grep -v ^PREFECT_AUTH_ | sort'
  const shell = await runToEnd('sh', ['-c', script, 'sh', process.execPath, PROGRAM, 'env', '-p', 'b'], {
    env: { PATH: process.env.PATH ?? '', HOME: broker.userHome, PREFECT_AUTH_SOCKET: broker.socket, ...env },
  })
  t.same(shell.stdout.trim().split('\n'), wanted)
  for (const [format, pattern] of [
    ['fish', /^set -gx PREFECT_API_KEY '';$/m],
    ['powershell', /^\$Env:PREFECT_API_KEY = ''$/m],
    ['dotenv', /^PREFECT_API_KEY=$/m],
    ['json', /"PREFECT_API_KEY":""/],
  ] as const) {
    const { stdout } = await run(t, ['env', '-p', 'b', '--format', format])
    t.match(stdout, pattern)
    t.match(stdout, /PREFECT_PROFILE['"]?(?: = |=|:| )['"]?b\b/, format)
  }
})

t.test('chooses a profile that was named, and no other', async (t) => {
  for (const [args, env, wanted] of [
    [['-p', 'a'], {}, 'a'],
    [[], { PREFECT_PROFILE: 'auth' }, 'auth'],
    [[], {}, 'unset'],
    [['-p', 'local'], {}, 'local'],
  ] as const) {
    for (const way of [[], ['--proxy']]) {
      // biome-ignore lint/suspicious/noTemplateCurlyInString: the shell's own
      const command = ['sh', '-c', 'echo "${PREFECT_PROFILE-unset}"']
      const { stdout } = await run(t, ['exec', ...way, ...args, '--', ...command], { env: { ...env } })
      t.equal(stdout, `${wanted}\n`, [...way, ...args].join(' '))
    }
  }
})

t.test('without a pair it fails, unless that is wanted', async (t) => {
  for (const args of [
    ['-p', 'work'],
    ['-p', 'ephemeral'],
    ['-p', 'test'],
    ['-p', 'cloud'],
    ['-p', 'gone'],
  ]) {
    for (const way of [[], ['--proxy']]) {
      const exec = await run(t, ['exec', ...way, ...args, '--', 'echo', 'ran'])
      t.match(
        exec,
        { code: 125, stdout: '', stderr: /\ntry: prefect-auth (?:login|profile ls)/ },
        args.join(' '),
      )
      const env = await run(t, ['env', ...way, ...args])
      t.match(env, { code: 3, stdout: /false\n$/ }, args.join(' '))
    }
  }
  for (const way of [[], ['--proxy']]) {
    const env = { PREFECT_API_KEY: KEY, PREFECT_API_URL: SERVER }
    const exec = await run(t, ['exec', ...way, '--allow-none', '-p', 'work', '--', ...SHOW], { env })
    t.match(exec, { code: 0 })
    t.same(exec.stdout.trim().split('\n').slice(0, 3), [
      'PREFECT_API_AUTH_STRING=',
      'PREFECT_API_KEY=',
      `PREFECT_CLOUD_API_URL=${CLOUD}`,
    ])
    const text = await run(t, ['env', ...way, '--allow-none', '-p', 'work'])
    t.match(text, { code: 0, stdout: /^export PREFECT_API_KEY='';$/m })
  }
  t.match((await run(t, ['exec', '--allow-none', '-p', 'b', '--', ...SHOW])).stdout, SERVER)
})

t.test('a file that was never read is not an empty one', async (t) => {
  const broken = await start(t, `<<<<<<< HEAD\n${FILE}`)
  for (const args of [[], ['-p', 'a'], ['-p', 'nobody'], ['-p', 'local']]) {
    for (const way of [[], ['--proxy']]) {
      const exec = await run(t, ['exec', ...way, ...args, '--', 'echo', 'ran'], { of: broken })
      t.match(exec, { code: 125, stdout: '', stderr: /\(profiles_file_invalid\)\ntry: fix / }, args.join(' '))
      t.match(await run(t, ['env', ...way, ...args], { of: broken }), { code: 3 })
    }
  }
  const { stdout } = await run(t, ['status'], { of: broken })
  t.match(stdout, /no profile is known until it is fixed/)
  t.notMatch(stdout, /last good|last valid|has no Prefect API URL/)
  t.notMatch((await run(t, ['doctor'], { of: broken })).stdout, /last good|last valid/)
  t.match(await run(t, ['exec', '--allow-none', 'echo', 'ran'], { of: broken }), { stdout: 'ran\n' })
})

t.test('a login leaves the profiles alone that are built into Prefect', async (t) => {
  for (const name of ['ephemeral', 'local', 'test']) {
    const login = await run(t, ['login', '--profile', name, '--no-browser', '--key-stdin'], {
      input: KEY,
    })
    t.match(login, { code: 1, stderr: /profile_not_cloud\)\ntry: prefect-auth login --profile cloud/ }, name)
  }
})

t.test('refuses the profiles of another file than the caller has chosen', async (t) => {
  const ours = join(broker.userHome, '.prefect')
  const other = newFolder(t)
  writeFileSync(join(other, 'profiles.toml'), 'active = "stage"\n')
  const chosen: [string, Env, Env][] = [
    ['PREFECT_HOME', { PREFECT_HOME: other }, {}],
    ['PREFECT_HOME', { PREFECT_HOME: join(other, 'missing') }, {}],
    ['PREFECT_PROFILES_PATH', { PREFECT_PROFILES_PATH: join(other, 'profiles.toml') }, {}],
    ['PREFECT_PROFILES_PATH', { PREFECT_PROFILES_PATH: 'profiles.toml' }, { 'profiles.toml': '' }],
    ['.env', {}, { '.env': `export PREFECT_PROFILES_PATH="${other}/profiles.toml" # stage\n` }],
    // biome-ignore lint/suspicious/noTemplateCurlyInString: the file's own
    ['.env', { X: other }, { '.env': 'PREFECT_PROFILES_PATH=${X}/profiles.toml\n' }],
    ['prefect.toml', {}, { 'prefect.toml': `profiles_path = '${other}/profiles.toml'\n` }],
    ['pyproject.toml', {}, { 'pyproject.toml': `[tool.prefect]\nprofiles_path = "${other}/p.toml"\n` }],
  ]
  for (const [by, env, files] of chosen) {
    for (const way of [[], ['--proxy']]) {
      const exec = await run(t, ['exec', ...way, '--', 'echo', 'ran'], { env, files })
      t.match(exec, { code: 125, stdout: '', stderr: /\(profiles_file_mismatch\)\ntry: / }, by)
      t.match(exec.stderr, by)
      t.match(exec.stderr, join(ours, 'profiles.toml'), 'names both')
      t.match(await run(t, ['env', ...way], { env, files }), { code: 3 }, by)
    }
    t.match((await run(t, ['status'], { env, files })).stdout, `the daemon reads ${ours}/profiles.toml`)
    t.match((await run(t, ['doctor'], { env, files })).stdout, /^problem +profile path /m)
  }
  const link = join(other, 'link')
  symlinkSync(ours, link)
  for (const env of [
    { PREFECT_HOME: ours },
    { PREFECT_HOME: link },
    { PREFECT_HOME: '~/.prefect' },
    { PREFECT_PROFILES_PATH: join(link, 'profiles.toml'), PREFECT_HOME: other },
  ]) {
    t.match(await run(t, ['exec', 'echo', 'ran'], { env }), { code: 0, stdout: 'ran\n', stderr: '' })
  }
})

const AUTH = '{"x-way": "1", "authorization": "Bearer gateway"}'

t.test('names what wins over the profile or loses to it, one line each', async (t) => {
  const table: [Env, Env, RegExp[]][] = [
    [
      {},
      { '.env': `PREFECT_API_KEY=pnu_other\nPREFECT_API_URL=${SERVER}\n` },
      [/^\.env in .* PREFECT_API_URL, PREFECT_API_KEY; .*'a' win/],
    ],
    [{}, { 'prefect.toml': '[api]\nurl = "http://x/api"\n' }, [/^prefect\.toml in .* PREFECT_API_URL;/]],
    [
      {},
      { 'pyproject.toml': 'tool.prefect.api = { auth_string = "u:p" }\n' },
      [/^pyproject\.toml in .* PREFECT_API_AUTH_STRING;/],
    ],
    [{}, { '.env': 'PREFECT_API={"key": "pnu_x"}\n' }, [/^\.env in .* PREFECT_API; .*'a' win/]],
    [
      { PREFECT_CLIENT_CUSTOM_HEADERS: AUTH },
      {},
      [/^PREFECT_CLIENT_CUSTOM_HEADERS in your environment contains an Authorization/],
    ],
    [
      {},
      { 'prefect.toml': '[client.custom_headers]\nAuthorization = "Bearer x"\n' },
      [/^PREFECT_CLIENT_CUSTOM_HEADERS in prefect.toml contains/],
    ],
    [
      { PREFECT_CLIENT: `{"custom_headers": ${AUTH}}` },
      {},
      [/^PREFECT_CLIENT_CUSTOM_HEADERS in your environment contains/],
    ],
    [{ PREFECT_API_TLS_INSECURE_SKIP_VERIFY: '1' }, {}, [/SKIP_VERIFY in your environment switches/]],
    [{}, { '.env': 'prefect_api_tls_insecure_skip_verify=true\n' }, [/SKIP_VERIFY in \.env switches/]],
    [{ PREFECT_API_SSL_CERT_FILE: '/ca.pem' }, {}, [/SSL_CERT_FILE in your environment decides/]],
    [{ PREFECT_PROFILE: '' }, {}, [/^PREFECT_PROFILE is empty/]],
    [{ PREFECT_API_TLS_INSECURE_SKIP_VERIFY: '0', PREFECT_CLIENT_CUSTOM_HEADERS: '{"x-way": "1"}' }, {}, []],
    [{}, { 'pyproject.toml': '[project]\ndependencies = ["prefect==3.9"]\n', '.env': 'OTHER=1\n' }, []],
  ]
  for (const [env, files, wanted] of table) {
    const { stderr } = await run(t, ['exec', 'true'], { env, files })
    const lines = stderr
      .split('\n')
      .filter(Boolean)
      .map((line) => line.replace(/^prefect-auth: /, ''))
    t.match(lines, wanted, JSON.stringify([env, files]))
    t.equal(lines.length, wanted.length, stderr)
    t.notMatch(stderr, /pnu_|Bearer|u:p/)
  }
  for (const [env, files, wanted] of [...table.slice(0, 1), ...table.slice(4, 5), ...table.slice(-2)]) {
    const status = await run(t, ['status'], { env, files })
    const doctor = await run(t, ['doctor'], { env, files })
    const said = wanted.length > 0
    t.equal(
      /in (?:this directory|your environment|\.env|prefect\.toml)/.test(status.stdout),
      said,
      status.stdout,
    )
    t.equal(/^warning +surroundings/m.test(doctor.stdout), said, doctor.stdout)
  }
  const profile = await run(t, ['exec', '-p', 'headers', 'true'])
  t.match(profile.stderr, /CUSTOM_HEADERS of the profile contains an Authorization/)
  t.match(profile.stderr, /SKIP_VERIFY of the profile switches/)
  t.match((await run(t, ['status', '-p', 'headers'])).stdout, /CUSTOM_HEADERS of the profile .*config unset/)
})

t.test('through the proxy no Authorization takes the place of the token', async (t) => {
  // biome-ignore lint/suspicious/noTemplateCurlyInString: the shell's own
  const show = ['sh', '-c', 'echo "$PREFECT_API_KEY ${PREFECT_CLIENT_CUSTOM_HEADERS-unset}"']
  const TOKEN = /^pab_[\w-]{43} /
  const from = async (args: string[], env: Env, files: Env) => {
    const { stdout } = await run(t, ['exec', '--proxy', ...args, '--', ...show], { env, files })
    t.match(stdout, TOKEN)
    return stdout.trim().replace(/pab_[\w-]{43}/g, 'TOKEN')
  }
  t.equal(await from([], {}, {}), 'TOKEN unset')
  t.equal(await from([], { PREFECT_CLIENT_CUSTOM_HEADERS: AUTH }, {}), 'TOKEN {"x-way":"1"}')
  const toml = { 'prefect.toml': '[client.custom_headers]\nAuthorization = "Bearer x"\n' }
  t.equal(await from([], {}, toml), 'TOKEN {"Authorization":"Bearer TOKEN"}', 'Prefect merges all sources')
  t.equal(await from(['-p', 'headers'], {}, {}), 'TOKEN {"Authorization":"Bearer TOKEN"}')
  t.equal(
    await from(['-p', 'headers'], { PREFECT_CLIENT_CUSTOM_HEADERS: AUTH }, {}),
    'TOKEN {"x-way":"1","Authorization":"Bearer TOKEN"}',
  )
})

t.test('after our own eval nothing is foreign', async (t) => {
  const line = (args: string) => `
    run() { '${process.execPath}' '${PROGRAM}' "$@"; }
    eval "$(run env ${args})"
    run exec true; run exec --proxy true; eval "$(run env)"; run exec --proxy true; run exec true
    eval "$(run env ${args})"; run status; run doctor`
  for (const args of ['', '--proxy', '-p b', '-p b --proxy', '-p auth', '-p auth --proxy']) {
    const { stdout, stderr } = await runToEnd('sh', ['-c', line(args)], {
      env: { PATH: process.env.PATH ?? '', HOME: broker.userHome, PREFECT_AUTH_SOCKET: broker.socket },
      cwd: t.testdir(),
    })
    t.equal(stderr, '', args)
    t.notMatch(stdout, /set to something else in this shell|set in this shell/, args)
    t.match(stdout, /^ok +surroundings/m, args)
  }
})

t.test('keeps NO_PROXY and no_proxy apart, and a star alone', async (t) => {
  const show = ['sh', '-c', 'echo "$NO_PROXY $no_proxy"']
  for (const [env, wanted] of [
    [{}, '127.0.0.1,localhost 127.0.0.1,localhost'],
    [{ NO_PROXY: 'corp' }, 'corp,127.0.0.1,localhost corp,127.0.0.1,localhost'],
    [{ no_proxy: 'corp' }, 'corp,127.0.0.1,localhost corp,127.0.0.1,localhost'],
    [{ NO_PROXY: 'a', no_proxy: 'b' }, 'a,127.0.0.1,localhost b,127.0.0.1,localhost'],
    [{ NO_PROXY: '*' }, '* *'],
    [{ NO_PROXY: ' * ', no_proxy: 'b' }, '* b,127.0.0.1,localhost'],
  ] as const) {
    t.equal((await run(t, ['exec', '--proxy', '--', ...show], { env: { ...env } })).stdout.trim(), wanted)
  }
})

t.test('flaws of the profile file are told', async (t) => {
  const flawed = await start(t, `\ufeff${FILE}`)
  chmodSync(join(flawed.userHome, '.prefect', 'profiles.toml'), 0o644)
  for (const command of ['status', 'doctor']) {
    const { stdout } = await run(t, [command], { of: flawed })
    t.match(stdout, /byte order mark/, command)
    t.match(stdout, /chmod 600/, command)
  }
})
