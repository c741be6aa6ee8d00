// Builds what is published for Python, from dist/ as it is: both wheels and both source distributions, into the folder given.
// HATCHLING names the program that does it (.ci/setup installs one); default: the one on the PATH.
import { execFileSync } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'

const [to] = process.argv.slice(2)
if (to === undefined)
  throw new Error('the folder for the wheels is missing: node scripts/build-wheels.mjs FOLDER')
const out = resolve(to)
const hatchling = process.env.HATCHLING ?? 'hatchling'
mkdirSync(out, { recursive: true })
// Outside the checkout, whose .gitignore would count.
const stage = mkdtempSync(join(tmpdir(), 'pab-wheels-'))
process.on('exit', () => rmSync(stage, { recursive: true, force: true }))

const main = join(stage, 'main')
const share = [
  'dist',
  'systemd',
  'launchd',
  'docs',
  'README.md',
  'CHANGELOG.md',
  'SECURITY.md',
  'LICENSE',
  'package.json',
]
cpSync('python/pyproject.toml', join(main, 'pyproject.toml'))
for (const text of ['README.md', 'LICENSE']) cpSync(text, join(main, text))
for (const name of share) cpSync(name, join(main, 'share', name), { recursive: true })
for (const program of ['prefect-auth', 'prefect-authd'])
  cpSync(join('dist', program), join(main, 'bin', program))
cpSync(join('dist', 'man'), join(main, 'man'), { recursive: true })
// The sdist first: the wheel is made of it, as it is for everybody who gets only the sdist.
run(main, '-t', 'sdist')
run(main, '-t', 'wheel')

const plugin = join(stage, 'plugin')
cpSync('python/plugin', plugin, { recursive: true })
for (const name of ['LICENSE', 'package.json']) cpSync(name, join(plugin, name))
run(plugin, '-t', 'sdist')
// Its wheel is inside the main package already, and there is only one.
const wheel = readdirSync('dist').find((name) => /^prefect_auth_plugin-.*\.whl$/.test(name))
cpSync(join('dist', wheel), join(out, wheel))

function run(folder, ...args) {
  // Times in archives: the same files make the same bytes.
  const env = { ...process.env, SOURCE_DATE_EPOCH: '315532800' }
  execFileSync(hatchling, ['build', '-d', out, ...args], {
    cwd: folder,
    env,
    stdio: ['ignore', 'ignore', 'inherit'],
  })
}
