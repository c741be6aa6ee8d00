/** The import table of docs/architecture.md: who may import whom. */
import t from 'tap'
import { importsOf, sourceFiles } from '../fixtures/source-files.js'

interface Band {
  /** Other bands, or single files of them. */
  readonly ours: readonly string[]
  readonly node: 'any' | 'none' | readonly string[]
  readonly packages: readonly string[]
}

const BANDS: Readonly<Record<string, Band>> = {
  'src/std/': { ours: [], node: 'any', packages: [] },
  'src/wire/': { ours: [], node: 'none', packages: ['zod'] },
  'src/domain/': { ours: ['src/std/'], node: 'none', packages: [] },
  'src/config/': {
    ours: ['src/std/'],
    node: ['node:fs', 'node:os', 'node:path'],
    packages: ['zod', 'smol-toml'],
  },
  'src/adapters/': {
    ours: ['src/domain/', 'src/std/'],
    node: 'any',
    packages: ['zod', 'pino', 'chokidar', 'smol-toml', 'toml-eslint-parser', 'undici'],
  },
  'src/http/proxy/': {
    ours: ['src/http/', 'src/domain/', 'src/wire/', 'src/std/'],
    node: 'any',
    packages: ['zod', 'fastify', 'undici'],
  },
  'src/http/': {
    ours: ['src/domain/', 'src/wire/', 'src/std/'],
    node: 'any',
    packages: ['zod', 'fastify', '@fastify/cors'],
  },
  'src/client/': {
    ours: ['src/wire/', 'src/std/'],
    node: ['node:http', 'node:fs/promises'],
    packages: ['zod'],
  },
  'src/cli/': {
    ours: ['src/client/', 'src/wire/', 'src/std/', 'src/config/paths.ts'],
    node: 'any',
    packages: ['commander', '@clack/prompts', 'open', 'picocolors'],
  },
  'src/bin/': { ours: ['src/'], node: 'any', packages: ['keytar'] },
  // daemon.ts and what it grew out of.
  'src/daemon': {
    ours: ['src/adapters/', 'src/config/', 'src/domain/', 'src/http/', 'src/std/'],
    node: 'any',
    packages: [],
  },
  'src/version.ts': { ours: [], node: 'none', packages: [] },
  'sim/': { ours: [], node: 'any', packages: ['zod', 'ws'] },
}

/** Adapters of one outside thing share the first word of their names. Beyond that: */
const NEIGHBOURS: Readonly<Record<string, string>> = {
  'safe-directory': 'what a private file looks like is one rule for all',
  'listen-on-path': 'how a socket of ours is made is one rule for all',
  'proxy-route': 'every way out goes by the same proxy rules',
  'http-agent': 'the connections that Cloud calls go over',
  'port-holder': 'open-listeners names who took the port',
  'log-facts': 'open-log: what a fact looks like in a line',
  'state-schemas': 'open-state: what its documents hold',
  'edit-profiles-toml': 'profile-store puts the parts of profiles.toml together',
  'profiles-*': 'parts of profiles.toml',
  'watch-file': 'profile-store watches the file',
  'vault-*': 'open-vault puts the vault together',
  'keychain-*': 'open-vault puts the vault together',
  'find-passphrase': 'open-vault puts the vault together',
}

/** What of std touches the world: not for those who decide. */
const NOT_FOR_DOMAIN = [
  'src/std/atomic-file.ts',
  'src/std/dial-socket.ts',
  'src/std/find-executable.ts',
  'src/std/run-program.ts',
]

/** Single imports outside the table, each for a reason. */
const EXCEPTIONS: Readonly<Record<string, string>> = {
  // A unit must open the sockets that the settings name.
  'src/cli/service/service-facts.ts': 'src/config/settings.ts',
}

function bandOf(path: string): string {
  return Object.keys(BANDS).find((prefix) => path.startsWith(prefix)) ?? 'none'
}

function firstWord(path: string): string {
  return path.split('/').at(-1)?.replace('.ts', '').split('-')[0] ?? ''
}

function isNeighbour(path: string): boolean {
  const name = path.split('/').at(-1)?.replace('.ts', '') ?? ''
  return Object.keys(NEIGHBOURS).some((rule) =>
    rule.endsWith('*') ? name.startsWith(rule.slice(0, -1)) : name === rule,
  )
}

/** Why this import must not be; `undefined` where it may. */
function complaint(from: string, to: string): string | undefined {
  const band = BANDS[bandOf(from)]
  if (band === undefined) return `${from} belongs to no band`
  if (to.startsWith('node:')) {
    return band.node === 'any' || band.node.includes(to) ? undefined : `${from} imports ${to}`
  }
  if (!to.startsWith('src/') && !to.startsWith('sim/')) {
    return band.packages.includes(to) ? undefined : `${from} imports the package ${to}`
  }
  if (bandOf(from) === 'src/domain/' && NOT_FOR_DOMAIN.includes(to)) return `${from} imports ${to}`
  if (bandOf(from) === 'src/adapters/' && bandOf(to) === 'src/adapters/') {
    return firstWord(from) === firstWord(to) || isNeighbour(to)
      ? undefined
      : `${from} imports its neighbour ${to}`
  }
  if (bandOf(from) === bandOf(to) || band.ours.some((prefix) => to.startsWith(prefix))) return undefined
  if (EXCEPTIONS[from] === to) return undefined
  // The one place where the API and its proxy are plugged together.
  if (/^src\/http\/(app|context)\.ts$/.test(from) && to.startsWith('src/http/proxy/')) return undefined
  return `${from} imports ${to}`
}

t.test('nobody imports what the table does not allow', async (t) => {
  const files = sourceFiles('src', 'sim')
  t.ok(files.length > 200, 'the files are found')
  const complaints = files.flatMap((file) => importsOf(file).flatMap((to) => complaint(file.path, to) ?? []))
  t.strictSame(complaints, [])
})

t.test('every import of ours leads to a file that is there', async (t) => {
  const files = sourceFiles('src', 'sim')
  const paths = new Set(files.map(({ path }) => path))
  const lost = files.flatMap((file) =>
    importsOf(file)
      .filter((to) => /^(src|sim)\//.test(to) && !paths.has(to))
      .map((to) => `${file.path} → ${to}`),
  )
  t.strictSame(lost, [])
})

t.test('the table itself would notice', async (t) => {
  const bad: readonly (readonly [string, string])[] = [
    ['src/domain/events.ts', 'node:fs'],
    ['src/domain/events.ts', 'zod'],
    ['src/domain/events.ts', 'src/adapters/open-log.ts'],
    ['src/domain/events.ts', 'src/std/atomic-file.ts'],
    ['src/cli/main.ts', 'src/domain/errors.ts'],
    ['src/cli/main.ts', 'src/config/settings.ts'],
    ['src/http/app.ts', 'src/adapters/open-log.ts'],
    ['src/adapters/cloud-http.ts', 'src/adapters/audit-file.ts'],
    ['src/std/clock.ts', 'src/domain/errors.ts'],
    ['src/daemon.ts', 'src/cli/main.ts'],
    ['sim/keys.ts', 'src/std/clock.ts'],
  ]
  for (const [from, to] of bad) t.ok(complaint(from, to), `${from} → ${to}`)
})
