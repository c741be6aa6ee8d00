/** The published package: small, only what belongs in it, and no scripts at installation. */
import { execFileSync } from 'node:child_process'
import { readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { importsOf, sourceFiles } from '../fixtures/source-files.js'

const root = fileURLToPath(new URL('../../', import.meta.url))
const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))

/** Where the keychain works: all that keytar has a module for and the daemon runs on. */
const SYSTEMS = [
  ...['darwin-arm64', 'darwin-x64'],
  ...['linux-arm', 'linux-arm64', 'linux-armv7l', 'linux-ia32', 'linux-x64'],
  ...['linuxmusl-arm', 'linuxmusl-arm64', 'linuxmusl-x64'],
]

interface Packed {
  readonly size: number
  readonly files: readonly { readonly path: string; readonly mode: number }[]
}

/** Packs the existing `dist/`: `npm test` has built it. */
function pack(): Packed {
  const output = execFileSync('npm', ['pack', '--dry-run', '--ignore-scripts', '--json'], {
    cwd: root,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  const parsed: readonly Packed[] | Record<string, Packed> = JSON.parse(output)
  const [packed] = Object.values(parsed)
  if (packed === undefined) throw new Error('npm packed nothing')
  return packed
}

t.test(
  'the tarball has at most 1.5 MB and contains the programs, the templates, the docs and four texts',
  async (t) => {
    const { size, files } = pack()
    t.ok(size <= 1_500_000, `${size} bytes`)
    const paths = files.map(({ path }) => path).filter((path) => !/^(dist\/(chunks|man)|docs)\//.test(path))
    t.same(paths.sort(), [
      'CHANGELOG.md',
      'LICENSE',
      'README.md',
      'SECURITY.md',
      'dist/THIRD_PARTY_NOTICES',
      'dist/auth.cjs',
      'dist/authd-late.cjs',
      'dist/authd-out.cjs',
      'dist/authd.cjs',
      'dist/authd.js',
      'dist/keychain-child.js',
      'dist/keytar/LICENSE.md',
      ...SYSTEMS.map((system) => `dist/keytar/${system}/keytar.node`),
      'dist/package.json',
      'dist/page.json',
      'dist/peers.js',
      'dist/prefect-auth',
      'dist/prefect-authd',
      `dist/prefect_auth_plugin-${manifest.version}-py3-none-any.whl`,
      'dist/sbom.cdx.json',
      'launchd/io.github.prefect-auth-broker.plist',
      'package.json',
      'systemd/prefect-authd-callers.socket',
      'systemd/prefect-authd-callers@.service',
      'systemd/prefect-authd-peers.socket',
      'systemd/prefect-authd-peers@.service',
      'systemd/prefect-authd-tcp.socket',
      'systemd/prefect-authd-wake.service',
      'systemd/prefect-authd.service',
      'systemd/prefect-authd.socket',
      'systemd/prefect-authd.timer',
    ])
  },
)

t.test('has no run-time dependency and no install scripts', async (t) => {
  for (const kind of ['dependencies', 'peerDependencies', 'optionalDependencies', 'bundleDependencies'])
    t.equal(manifest[kind], undefined, kind)
  for (const name of ['preinstall', 'install', 'postinstall', 'prepare'])
    t.equal(manifest.scripts[name], undefined)
})

t.test('names every package that is bundled, with its licence, in the notices and in the SBOM', async (t) => {
  const read = (name: string) => readFileSync(join(root, 'dist', name), 'utf8')
  const notices = read('THIRD_PARTY_NOTICES')
  const noted = [...notices.matchAll(/^-{80}\n(\S+) (\S+)\nLicence: (.+)\n/gm)].map(
    ([, name = '', version = '', licence = '']) => ({ name, version, licence }),
  )
  const { components, ...bom } = JSON.parse(read('sbom.cdx.json'))
  t.match(bom, {
    bomFormat: 'CycloneDX',
    specVersion: '1.6',
    metadata: { component: { version: manifest.version } },
  })
  interface Component {
    readonly name: string
    readonly version: string
    readonly purl: string
    readonly licenses: readonly { readonly license?: { readonly id: string }; readonly expression?: string }[]
  }
  t.same(
    components.map(({ name, version, licenses: [first] }: Component) => ({
      name,
      version,
      licence: first?.license?.id ?? first?.expression,
    })),
    noted,
    'one list',
  )
  for (const { purl } of components) t.match(purl, /^pkg:npm\/(%40[^/]+\/)?[^/@]+@\d/)
  // A second look at what is bundled, by another way: what the sources import, and what that needs.
  const names = new Set(noted.map(({ name }) => name))
  const imported = sourceFiles('src').flatMap((file) =>
    importsOf(file).filter((from) => !/^(src|node:)/.test(from)),
  )
  for (const name of imported) t.ok(names.has(name === 'keytar' ? '@github/keytar' : packageOf(name)), name)
  for (const { name, version, licence } of noted) {
    t.match(licence, /^(MIT|ISC|BSD-[23]-Clause|Apache-2\.0|0BSD|BlueOak-1\.0\.0)$/, `${name} ${version}`)
  }
  t.ok((notices.match(/Permission is hereby granted/g)?.length ?? 0) > 40)
})

/** `zod` of `zod/v4`. */
function packageOf(name: string): string {
  return name
    .split('/')
    .slice(0, name.startsWith('@') ? 2 : 1)
    .join('/')
}

t.test('every program is executable in a checkout and names its interpreter', async (t) => {
  for (const path of Object.values<string>(manifest.bin)) {
    t.equal(statSync(join(root, path)).mode & 0o111, 0o111, path)
    t.match(readFileSync(join(root, path), 'utf8'), /^#!\/(bin\/sh|usr\/bin\/env node)\n/)
  }
})

for (const path of ['src/bin/prefect-auth.sh', 'test/fixtures/user-manager.sh', '.ci/setup', '.ci/run']) {
  t.test(`shellcheck finds nothing in ${path}`, { skip: noShellcheck() }, async (t) => {
    const said = execFileSync('sh', ['-c', 'shellcheck "$1" || true', 'sh', join(root, path)], {
      encoding: 'utf8',
    })
    t.equal(said, '')
  })
}

function noShellcheck(): string | false {
  try {
    execFileSync('shellcheck', ['--version'], { stdio: 'ignore' })
    return false
  } catch (error) {
    if (process.env.PAB_REQUIRE_REAL === '1') throw error
    return 'shellcheck is not installed'
  }
}
