/** The published package: what npm and Node print while it is installed and used. */
import { spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'

const ROOT = fileURLToPath(new URL('../../', import.meta.url))
const dir = mkdtempSync(join(tmpdir(), 'pab-package-'))
t.teardown(() => rmSync(dir, { recursive: true, force: true }))

function npm(args: readonly string[]) {
  const { status, stdout, stderr } = spawnSync('npm', [...args], { cwd: ROOT, encoding: 'utf8' })
  if (status !== 0) throw new Error(stderr)
  return { stdout, stderr }
}

/** Warnings about the machine's settings, which we cannot fix. */
const NOT_OURS = /^npm warn Unknown (?:user|env|project|global) config/

const [tarball = ''] = npm(['pack', '--ignore-scripts', '--silent', '--pack-destination', dir])
  .stdout.trim()
  .split('\n')

t.test('npm and Node print no warnings', async (t) => {
  const prefix = join(dir, 'prefix')
  const installed = npm([
    'install',
    '--global',
    '--prefix',
    prefix,
    '--prefer-offline',
    '--no-audit',
    '--no-fund',
    join(dir, tarball),
  ])
  const said = installed.stderr.split('\n').filter((line) => line !== '' && !NOT_OURS.test(line))
  t.same(said, [])
  const home = join(dir, 'home')
  mkdirSync(home, { mode: 0o700 })
  const env = { PATH: process.env.PATH, HOME: home, XDG_RUNTIME_DIR: home }
  for (const program of ['prefect-auth', 'prefect-authd']) {
    for (const flag of ['--version', '--help']) {
      const ran = spawnSync(join(prefix, 'bin', program), [flag], { encoding: 'utf8', env })
      t.match({ ...ran }, { status: 0, stderr: '' }, `${program} ${flag}`)
      t.not(ran.stdout, '')
    }
  }
  const shipped = join(prefix, 'lib', 'node_modules', 'prefect-auth-broker')
  t.equal(existsSync(join(shipped, 'node_modules')), false, 'nothing else was installed')
  // Without a keyring it fails in its own words: the module itself was found and loaded.
  const child = spawn(process.execPath, [join(shipped, 'dist', 'keychain-child.js')], {
    env: { ...env, DBUS_SESSION_BUS_ADDRESS: 'unix:path=/nowhere' },
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  // Its stdin stays open: the end of it would mean that we died.
  child.stdin.write(`${JSON.stringify({ verb: 'get', service: 'x', account: 'y' })}\n`)
  let reply = ''
  for await (const chunk of child.stdout) reply += String(chunk)
  t.match(JSON.parse(reply), { kind: 'failed' })
})
