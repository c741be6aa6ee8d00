/** The order of the rooms, and what each may import. Four constants say it; no file is named. */
import t from 'tap'
import { importsOf, type SourceFile, sourceFiles } from '../fixtures/source-files.js'

/** Lowest first: a room imports rooms before it. Rooms that are still to be built have their place already. */
const ORDER = [
  ...[
    'std',
    'wire',
    'base',
    'config',
    'client',
    'os',
    'prefect',
    'policy',
    'vault',
    'profiles',
    'tokens',
    'cli',
  ],
  ...['keys', 'audit', 'serve', 'files', 'http', 'renewal', 'share', 'login', 'proxy', 'status', 'admin'],
  ...['asks', 'page', 'api', 'daemon', 'bin'],
]

/** Other programs than the daemon, and what they share with it: nothing of the daemon's own may slip into them. */
const PROGRAMS: Readonly<Record<string, readonly string[]>> = {
  config: ['std'],
  client: ['std', 'wire'],
  cli: ['std', 'wire', 'config', 'client', 'os'],
}

/** They decide and do not act: no I/O, no package but zod, and of `os` types alone. */
const PURE = ['std', 'wire', 'base', 'policy', 'tokens', 'keys', 'serve', 'renewal', 'admin']

/** Which rooms may import a package, or a part of Node that starts programs. */
const PACKAGES: Readonly<Record<string, readonly string[]>> = {
  '@clack/prompts': ['cli'],
  '@fastify/cors': ['login'],
  chokidar: ['os'],
  commander: ['cli'],
  fastify: ['http', 'api', 'login'],
  keytar: ['bin'],
  'node:child_process': ['os', 'cli'],
  open: ['cli'],
  picocolors: ['cli'],
  pino: ['daemon'],
  'smol-toml': ['config', 'profiles'],
  'toml-eslint-parser': ['profiles'],
  undici: ['prefect', 'proxy', 'share'],
  zod: [
    'wire',
    'config',
    'client',
    'os',
    'prefect',
    'vault',
    'profiles',
    'share',
    'audit',
    'http',
    'login',
    'page',
    'api',
    'daemon',
  ],
}

const files = sourceFiles('src')

t.test('a room imports only rooms before it', async (t) => {
  t.ok(files.length > 100, 'the files are found')
  t.strictSame(files.flatMap(wrongRooms), [])
})

t.test('a package is imported only by the rooms that may', async (t) => {
  t.strictSame(files.flatMap(wrongPackages), [])
  const used = new Set(files.flatMap((file) => importsOf(file)))
  t.strictSame(
    Object.keys(PACKAGES).filter((name) => !used.has(name)),
    [],
    'and each is used',
  )
})

t.test('rooms that decide do no I/O', async (t) => {
  t.strictSame(files.flatMap(impurities), [])
})

t.test('no file imports itself by way of others', async (t) => {
  t.strictSame(circles(files), [])
})

t.test(
  'every import of ours leads to a file that exists, and the simulator imports nothing of src',
  async (t) => {
    const all = [...files, ...sourceFiles('sim')]
    const paths = new Set(all.map(({ path }) => path))
    const wrong = all.flatMap((file) =>
      importsOf(file)
        .filter((to) => /^(src|sim)\//.test(to))
        .filter((to) => !paths.has(to) || to.split('/')[0] !== file.path.split('/')[0])
        .map((to) => `${file.path} → ${to}`),
    )
    t.strictSame(wrong, [])
  },
)

t.test('only the programs know in which process they run', async (t) => {
  const strays = files.filter(
    ({ path, code }) => roomOf(path) !== 'bin' && GLOBALS.test(withoutStrings(code)),
  )
  t.strictSame(
    strays.map(({ path }) => path),
    [],
  )
})

t.test('time and chance are passed in', async (t) => {
  const strays = files.filter(
    ({ path, code }) =>
      !['std', 'cli', 'bin'].includes(roomOf(path)) &&
      // A program of its own, in the browser.
      !path.startsWith('src/page/browser/') &&
      /\bDate\.now\(|\bMath\.random\b|\bnew Date\(\)/.test(code),
  )
  t.strictSame(
    strays.map(({ path }) => path),
    [],
  )
})

t.test('a secret becomes text only on a line that says why', async (t) => {
  t.strictSame(files.flatMap(unexplainedReveals), [])
  t.ok(
    files.some(({ text }) => /\.reveal\(\)/.test(text)),
    'there are such lines',
  )
})

t.test('no key is in the source', async (t) => {
  const found = [...files, ...sourceFiles('sim')].filter(({ text }) =>
    /\b(?:pn[ub]|pab)_[A-Za-z0-9]{20,}/.test(text),
  )
  t.strictSame(
    found.map(({ path }) => path),
    [],
  )
})

t.test('these rules notice what they forbid', async (t) => {
  const file = (path: string, code: string): SourceFile => ({ path, text: code, code })
  t.same(wrongRooms(file('src/keys/a.ts', "import { x } from '../login/b.js'")).length, 1, 'a reverse import')
  t.same(
    wrongRooms(file('src/cli/a.ts', "import { x } from '../prefect/b.js'")).length,
    1,
    'a program, a room of the daemon',
  )
  t.same(wrongRooms(file('src/attic/a.ts', '')).length, 1, 'a room without a place in the order')
  t.same(wrongPackages(file('src/api/a.ts', "import { fetch } from 'undici'")).length, 1, 'a package')
  t.same(
    wrongPackages(file('src/api/a.ts', "import { x } from 'left-pad'")).length,
    1,
    'a package nobody may import',
  )
  t.same(impurities(file('src/keys/a.ts', "import { open } from 'node:fs/promises'")).length, 1, 'I/O')
  t.same(impurities(file('src/keys/a.ts', "import { z } from '../os/document.js'")).length, 1, 'os')
  t.same(
    impurities(file('src/keys/a.ts', "import type { Z } from '../os/document.js'")).length,
    0,
    'a type of os',
  )
  t.same(unexplainedReveals(file('src/keys/a.ts', 'const text = secret.reveal()')).length, 1, 'a reveal')
  t.same(
    unexplainedReveals(file('src/keys/a.ts', 'const text = secret.reveal() // into the vault')).length,
    0,
  )
  const pair = [
    file('src/keys/a.ts', "import { x } from './b.js'"),
    file('src/keys/b.ts', "import { y } from './a.js'"),
  ]
  t.same(circles(pair).length, 2, 'a circle')
})

const GLOBALS = /(?<![.\w])process\.\w|\bconsole\.\w|\beval\(|\bnew Function\b|\bglobalThis\b/

/** What a pure room may import of Node: computing, no I/O. */
const COMPUTING = ['node:crypto', 'node:util']

function roomOf(path: string): string {
  return path.split('/')[1] ?? ''
}

function wrongRooms(file: SourceFile): readonly string[] {
  const from = roomOf(file.path)
  if (!ORDER.includes(from)) return [`${file.path}: the room ${from} is not in ORDER`]
  const mayImport = (to: string) =>
    to === from ||
    (PROGRAMS[from]?.includes(to) ?? (ORDER.indexOf(to) >= 0 && ORDER.indexOf(to) < ORDER.indexOf(from)))
  return importsOf(file)
    .filter((to) => to.startsWith('src/') && !mayImport(roomOf(to)))
    .map((to) => `${file.path} → ${to}`)
}

function wrongPackages(file: SourceFile): readonly string[] {
  return importsOf(file)
    .filter((name) => !name.startsWith('src/'))
    .filter((name) => !(PACKAGES[name]?.includes(roomOf(file.path)) ?? name.startsWith('node:')))
    .map((name) => `${file.path} → ${name}`)
}

function impurities(file: SourceFile): readonly string[] {
  if (!PURE.includes(roomOf(file.path))) return []
  const untyped = { ...file, code: file.code.replace(/^import type [^']*'[^']*'$/gm, '') }
  return importsOf(untyped)
    .filter((to) => to.startsWith('src/os/') || (to.startsWith('node:') && !COMPUTING.includes(to)))
    .map((to) => `${file.path} → ${to}`)
}

/** The files that reach themselves. */
function circles(all: readonly SourceFile[]): readonly string[] {
  const next = new Map(all.map((file) => [file.path, importsOf(file)]))
  const reaches = (start: string) => {
    const seen = new Set<string>()
    const open = [start]
    for (let path = open.pop(); path !== undefined; path = open.pop()) {
      for (const to of next.get(path) ?? []) {
        if (!seen.has(to)) open.push(to)
        seen.add(to)
      }
    }
    return seen
  }
  return all.map(({ path }) => path).filter((path) => reaches(path).has(path))
}

function unexplainedReveals({ path, text }: SourceFile): readonly string[] {
  return text
    .split('\n')
    .filter((line) => /\.reveal\(\)/.test(line) && !/^\s*(\/\/|\/?\*)/.test(line))
    .filter((line) => !/\/\/ \S.{5,}/.test(line))
    .map((line) => `${path}: ${line.trim()}`)
}

function withoutStrings(code: string): string {
  return code.replace(/'(?:[^'\\\n]|\\.)*'/g, "''")
}
