/** One door per package, and `process` at the rim only: what touches the world is easy to find. */
import t from 'tap'
import { importsOf, sourceFiles } from '../fixtures/source-files.js'

/** Files that may import a package; a folder ends with `/`. */
const PACKAGES: Readonly<Record<string, readonly string[]>> = {
  '@clack/prompts': ['src/cli/'],
  '@fastify/cors': ['src/http/login-callback-app.ts'],
  chokidar: ['src/adapters/watch-file.ts'],
  commander: ['src/cli/'],
  fastify: ['src/http/'],
  keytar: ['src/bin/keychain-child.ts'],
  open: ['src/cli/open-browser.ts'],
  picocolors: ['src/cli/session.ts'],
  pino: ['src/adapters/open-log.ts'],
  'smol-toml': [
    'src/adapters/profiles-document.ts',
    'src/adapters/profiles-toml.ts',
    'src/adapters/edit-profiles-toml.ts',
    'src/config/settings.ts',
  ],
  'toml-eslint-parser': ['src/adapters/profiles-layout.ts'],
  undici: ['src/adapters/cloud-exchange.ts', 'src/adapters/http-agent.ts', 'src/http/proxy/'],
  zod: ['src/wire/', 'src/adapters/', 'src/config/', 'src/http/', 'src/client/call.ts'],
}

/** `node:child_process` starts programs: who may. */
const STARTERS = ['src/std/run-program.ts', 'src/cli/run-child.ts', 'src/cli/commands/logs.ts']

const files = sourceFiles('src')

t.test('a package is imported where its door is', async (t) => {
  const strays = files.flatMap((file) =>
    importsOf(file)
      .filter((name) => !name.startsWith('node:') && !name.startsWith('src/'))
      .filter((name) => !PACKAGES[name]?.some((door) => isAt(file.path, door)))
      .map((name) => `${file.path} imports ${name}`),
  )
  t.strictSame(strays, [])
})

t.test('every door is used', async (t) => {
  for (const [name, doors] of Object.entries(PACKAGES)) {
    for (const door of doors) {
      const isUsed = files.some((file) => isAt(file.path, door) && importsOf(file).includes(name))
      t.ok(isUsed, `${name} in ${door}`)
    }
  }
})

t.test('process, console and eval: the programs alone know in which process they run', async (t) => {
  const strays = files.filter(
    ({ path, code }) => !path.startsWith('src/bin/') && GLOBALS.test(withoutOwnNames(path, code)),
  )
  t.strictSame(
    strays.map(({ path }) => path),
    [],
  )
})

t.test('programs are started in few places', async (t) => {
  const strays = files.filter(
    (file) => importsOf(file).includes('node:child_process') && !STARTERS.includes(file.path),
  )
  t.strictSame(
    strays.map(({ path }) => path),
    [],
  )
})

t.test('time and chance are handed in', async (t) => {
  const strays = files.filter(
    ({ path, code }) =>
      path !== 'src/std/clock.ts' &&
      !path.startsWith('src/bin/') &&
      !path.startsWith('src/cli/') &&
      /\bDate\.now\(|\bMath\.random\b|\bnew Date\(\)/.test(code),
  )
  t.strictSame(
    strays.map(({ path }) => path),
    [],
  )
})

const GLOBALS = /\bprocess\.\w|\bconsole\.\w|\beval\(|\bnew Function\b|\bglobalThis\b/

/** The daemon is handed facts about its process, under that name. */
function withoutOwnNames(path: string, code: string): string {
  const own =
    path === 'src/daemon.ts' ? /(?:options\.)?\bprocess\.(?:pid|node|execPath|hostname|platform)\b/g : /$^/
  return code.replace(own, '').replace(/'(?:[^'\\\n]|\\.)*'/g, "''")
}

function isAt(path: string, door: string): boolean {
  return door.endsWith('/') ? path.startsWith(door) : path === door
}
