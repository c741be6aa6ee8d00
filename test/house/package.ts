/** The published package: small, only what belongs in it, and no scripts at installation. */
import { execFileSync } from 'node:child_process'
import { readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'

const root = fileURLToPath(new URL('../../', import.meta.url))
const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))

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
  'the tarball has at most 1.5 MB and contains the programs, the templates and three texts',
  async (t) => {
    const { size, files } = pack()
    t.ok(size <= 1_500_000, `${size} bytes`)
    const paths = files.map(({ path }) => path).filter((path) => !path.startsWith('dist/chunks/'))
    t.same(paths.sort(), [
      'CHANGELOG.md',
      'LICENSE',
      'README.md',
      'dist/auth.js',
      'dist/authd.cjs',
      'dist/authd.js',
      'dist/keychain-child.js',
      'dist/prefect-auth',
      'launchd/io.github.prefect-auth-broker.plist',
      'package.json',
      'systemd/prefect-authd-tcp.socket',
      'systemd/prefect-authd-wake.service',
      'systemd/prefect-authd.service',
      'systemd/prefect-authd.socket',
      'systemd/prefect-authd.timer',
    ])
  },
)

t.test('has one run-time dependency, an optional one, and no install scripts', async (t) => {
  t.equal(manifest.dependencies, undefined)
  t.equal(manifest.peerDependencies, undefined)
  t.same(Object.keys(manifest.optionalDependencies), ['keytar'])
  for (const name of ['preinstall', 'install', 'postinstall', 'prepare'])
    t.equal(manifest.scripts[name], undefined)
})

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
