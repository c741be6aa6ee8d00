/** The fast path: the arguments of env and exec, and what they load. */
import { build } from 'esbuild'
import t from 'tap'
import { commandFirst, parseEnvArguments, parseExecArguments } from '../../src/cli/fast/options.js'
import { ENV_FORMATS } from '../../src/wire/kinds.js'

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
