/** The fast path: the arguments of env and exec, what they load, and how they read answers. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { build } from 'esbuild'
import t from 'tap'
import { commandFirst, parseEnvArguments, parseExecArguments } from '../../src/cli/fast/options.js'
import { ENV_FORMATS } from '../../src/wire/kinds.js'
import { buildCli, type RunOptions } from '../fixtures/built-cli.js'
import { startRawDaemon } from '../fixtures/raw-daemon.js'
import { runToEnd } from '../fixtures/run-to-end.js'
import { problemText, startScriptedDaemon } from '../fixtures/scripted-daemon.js'
import { sampleCredentials } from '../fixtures/wire-samples.js'

const cli = await buildCli(t)
const SCRIPT = {
  'GET /v1/credentials': { json: sampleCredentials() },
  'GET /v1/env': { text: "export PREFECT_API_KEY='x';\n" },
}

t.test('parses the profile and format of env', async (t) => {
  const table = [
    [[], { kind: 'env', format: 'sh' }],
    [['--format', 'fish'], { kind: 'env', format: 'fish' }],
    [['--format=dotenv', '-p', 'prod'], { kind: 'env', format: 'dotenv', profile: 'prod' }],
    [['-pprod'], { kind: 'env', format: 'sh', profile: 'prod' }],
    [['--profile=a=b'], { kind: 'env', format: 'sh', profile: 'a=b' }],
    [['--json'], { kind: 'env', format: 'json' }],
    [['-h'], { kind: 'help' }],
    [['--format', 'tcsh'], { kind: 'usage' }],
    [['--format'], { kind: 'usage' }],
    [['--profile='], { kind: 'usage' }],
    [['--bogus'], { kind: 'usage' }],
    [['prod'], { kind: 'usage' }],
    [['--', 'prod'], { kind: 'usage' }],
    [['-p', `pnu_${'k'.repeat(36)}`], { kind: 'usage', message: /looks like a key/ }],
  ] as const

  for (const [args, expected] of table) t.match(parseEnvArguments(args), expected, args.join(' '))
  for (const format of ENV_FORMATS) t.match(parseEnvArguments(['--format', format]), { kind: 'env', format })
})

t.test('takes everything after the first word, or after --, as the command', async (t) => {
  const key = `pnu_${'k'.repeat(36)}`
  const table = [
    [['--', 'a', '-p', 'x'], { kind: 'exec', command: 'a', args: ['-p', 'x'] }],
    [['a', '--help'], { kind: 'exec', command: 'a', args: ['--help'] }],
    [['-p', 'prod', 'a', '--', 'b'], { kind: 'exec', profile: 'prod', command: 'a', args: ['--', 'b'] }],
    [['--profile', 'prod', '--', '-a'], { kind: 'exec', profile: 'prod', command: '-a', args: [] }],
    [['a', key], { kind: 'exec', command: 'a', args: [key] }],
    [['--help'], { kind: 'help' }],
    [[], { kind: 'usage' }],
    [['--'], { kind: 'usage' }],
    [['--', ''], { kind: 'usage' }],
    [['--json', 'a'], { kind: 'usage' }],
    [['--proxy', 'a'], { kind: 'exec', command: 'a', isProxied: true }],
    [['-p', key, 'a'], { kind: 'usage', message: /looks like a key/ }],
  ] as const

  for (const [args, expected] of table) t.match(parseExecArguments(args), expected, args.join(' '))
})

t.test('never repeats what was typed in a usage message', async (t) => {
  const secret = 'hunter2hunter2'
  for (const args of [[`--${secret}`], [`--format=${secret}`], [`--${secret}=${secret}`]]) {
    t.notMatch(JSON.stringify(parseEnvArguments(args)), secret)
  }
})

t.test('loads no package, because start-up is the cost', async (t) => {
  const { metafile } = await build({
    entryPoints: ['src/cli/fast/env.ts', 'src/cli/fast/exec.ts'],
    bundle: true,
    platform: 'node',
    format: 'esm',
    outdir: '/',
    write: false,
    metafile: true,
  })
  const loaded = Object.keys(metafile.inputs)
  t.ok(loaded.includes('src/client/transport.ts'))
  t.same(
    loaded.filter((path) => !path.startsWith('src/')),
    [],
  )
})

/** Parts of Node that take a millisecond or more to load. */
const SLOW = [
  '_http_client',
  'child_process',
  'crypto',
  'dgram',
  'http',
  'internal/fs/promises',
  'tls',
  'zlib',
]

t.test('loads of Node what every start needs, and the rest when it is needed', async (t) => {
  const daemon = await startScriptedDaemon(t, SCRIPT)
  const folder = t.testdir({
    'list.cjs': `process.on('exit', () => require('node:fs').appendFileSync(process.env.LIST, process.moduleLoadList.join('\\n')))`,
    'nothing.cjs': '',
  })
  const loads = async (args: readonly string[], more: RunOptions['env'] = {}, program?: string) => {
    const list = join(folder, `list-${args.join('-').replace(/\W/g, '')}`)
    const env = { ...daemon.env, ...more, LIST: list, NODE_OPTIONS: `--require ${join(folder, 'list.cjs')}` }
    if (program === undefined) t.match(await cli.run(args, { env }), { code: 0 }, args.join(' '))
    else await runToEnd(process.execPath, [program], { env })
    const loaded = readFileSync(list, 'utf8').split('\n')
    return SLOW.filter((name) => loaded.includes(`NativeModule ${name}`))
  }
  const always = await loads([], {}, join(folder, 'nothing.cjs'))
  const besides = async (...of: Parameters<typeof loads>) =>
    (await loads(...of)).filter((name) => !always.includes(name))
  t.same(await besides(['env']), [])
  t.same(await besides(['get', 'key']), [])
  t.match(await besides(['env', '--follow'], { PREFECT_API_KEY: 'x', PREFECT_AUTH_SET: '' }), ['crypto'])
  // The command is this process, where Node has execve: then nothing is written.
  if (Reflect.get(process, 'execve') === undefined)
    t.match(await besides(['exec', '--', 'true']), ['child_process'])
})

t.test('prints the same whether it reads an answer itself or Node does', async (t) => {
  const raw = await startRawDaemon(t)
  const credentials = JSON.stringify(sampleCredentials())
  const refusal = problemText('login_required', 'login', 401, "profile 'cloud' has no key")
  const commands = [
    { args: ['env'], status: '200 OK', text: "export PREFECT_API_KEY='x';\n", code: 0 },
    { args: ['env'], status: '200 OK', text: "touch '/tmp/x';\n", code: 1 },
    { args: ['env', '--format', 'fish'], status: '401 x', text: refusal, code: 3 },
    {
      args: ['exec', '--', 'sh', '-c', 'echo $PREFECT_API_URL; exit 7'],
      status: '200 OK',
      text: credentials,
      code: 7,
    },
    { args: ['exec', '--', 'true'], status: '401 Unauthorized', text: refusal, code: 125 },
    { args: ['exec', '--', 'true'], status: '200 OK', text: 'null', code: 125 },
    { args: ['get', 'json'], status: '200 OK', text: credentials, code: 0 },
    { args: ['get', 'key'], status: '500 Internal Server Error', text: 'no document', code: 1 },
    { args: ['exec', '--proxy', '--', 'true'], status: '401 Unauthorized', text: refusal, code: 125 },
  ]
  const env = { PATH: process.env.PATH ?? '', HOME: t.testdirName, PREFECT_AUTH_SOCKET: raw.socket }
  for (const { args, status, text, code } of commands) {
    const length = Buffer.byteLength(text)
    const forms = [
      `HTTP/1.1 ${status}\r\ncontent-length: ${length}\r\n\r\n${text}`,
      `HTTP/1.1 ${status}\r\ntransfer-encoding: chunked\r\n\r\n${length.toString(16)}\r\n${text}\r\n0\r\n\r\n`,
      `HTTP/1.1 ${status}\r\n\r\n${text}`,
    ]
    const outcomes = []
    for (const form of forms) {
      raw.answer = { pieces: [form], end: 'close' }
      outcomes.push(await cli.run(args, { env }))
    }
    t.match(outcomes[0], { code }, args.join(' '))
    for (const other of outcomes.slice(1)) t.same(other, outcomes[0], args.join(' '))
    t.equal(raw.received.splice(0).length, forms.length, 'one request each')
  }
})

t.test("takes the profile before the command as well, which is Prefect's own order", async (t) => {
  const table = [
    ['-p x env --format fish', 'env -p x --format fish'],
    ['--profile x exec -- cmd -p y', 'exec --profile x -- cmd -p y'],
    ['--profile=x workspace ls', 'workspace ls --profile=x'],
    ['-px --json status', 'status -px --json'],
    ['-p x', '-p x'],
    ['-p', '-p'],
    ['status -p x', 'status -p x'],
    ['--help', '--help'],
    ['-p x --watch', '-p x --watch'],
    ['', ''],
  ] as const
  for (const [typed, meant] of table) t.same(commandFirst(typed.split(' ')), meant.split(' '), typed)
})
