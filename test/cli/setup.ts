/** `prefect-auth setup` on a machine without a service manager, with real shells and a real Python environment. */
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { basename, dirname, join } from 'node:path'
import t, { type Test } from 'tap'
import { startCloudSimulator } from '../../sim/simulator.js'
import { type BareHome, hasShell, makeBareHome } from '../fixtures/bare-home.js'
import { openPseudoTerminal } from '../fixtures/pseudo-terminal.js'
import { makeEnvironment } from '../fixtures/python-environment.js'
import { findPrefect } from '../fixtures/real-prefect.js'
import { runToEnd } from '../fixtures/run-to-end.js'

t.setTimeout(900_000)
// A Mac has a service manager, and tests must not install the service there.
const skip = process.platform === 'linux' ? false : 'needs a machine without a service manager'
const RC = { bash: '.bashrc', zsh: '.zshrc', fish: '.config/fish/config.fish' } as const

async function startCloud(t: Test) {
  const cloud = await startCloudSimulator({
    accounts: [{ handle: 'prefect', workspaces: ['terry'] }],
    users: [{ handle: 'terry' }],
  })
  t.teardown(() => cloud.close())
  return { cloud, env: { PREFECT_CLOUD_API_URL: cloud.apiUrl, PREFECT_CLOUD_UI_URL: cloud.uiUrl } }
}

function writeRc(at: BareHome, name: string, text: string, mode = 0o640): string {
  const path = join(at.home, name)
  mkdirSync(join(path, '..'), { recursive: true })
  writeFileSync(path, Buffer.from(text, 'latin1'))
  chmodSync(path, mode)
  return path
}

t.test('--print says what would be written, and writes nothing', { skip }, async (t) => {
  const at = makeBareHome(t)
  const rc = writeRc(at, '.bashrc', 'alias a=b')
  const before = at.picture()
  const { code, stdout } = await at.cli(['setup', '--print'])
  t.equal(code, 0)
  t.ok(stdout.includes(`# ${rc}\n# >>> prefect-auth setup: hook >>>`), stdout)
  t.match(stdout, /eval "\$\(prefect-auth hook bash\)"/)
  t.match(stdout, /setup\.json/)
  t.same(at.picture(), before)
  t.notOk(existsSync(at.stateDir))
  t.same(at.daemons(), [])
})

t.test('without a terminal it asks for --yes; at one it asks once', { skip }, async (t) => {
  const at = makeBareHome(t)
  const before = at.picture()
  t.match(await at.cli(['setup']), { code: 2, stderr: /no terminal[\s\S]*try: prefect-auth setup --yes/ })
  t.same(at.picture(), before)
  const screen = openPseudoTerminal(t, { env: at.env, command: 'prefect-auth setup --no-login' })
  await screen.waitFor('Do this? [y/N]')
  screen.type('n\r')
  t.equal(await screen.ended, 130)
  t.same(at.picture(), before)
  const again = openPseudoTerminal(t, { env: at.env, command: 'prefect-auth setup --no-login' })
  await again.waitFor('Do this? [y/N]')
  again.type('y\r')
  await again.waitFor('To take it away: prefect-auth setup --remove')
  t.equal(await again.ended, 0)
  t.match(readFileSync(join(at.home, '.bashrc'), 'utf8'), /prefect-auth hook bash/)
})

for (const shell of ['bash', 'zsh', 'fish'] as const) {
  t.test(
    `${shell}: twice changes nothing, and --remove gives every byte back`,
    { skip: skip || hasShell(shell) },
    async (t) => {
      const at = makeBareHome(t, { SHELL: `/usr/bin/${shell}` })
      writeRc(at, RC[shell], '# caf\xe9, no UTF-8 and no line break at the end')
      const before = at.picture()
      const first = await at.cli(['setup', '--yes'])
      t.equal(first.code, 0, first.stderr)
      const after = at.picture()
      t.notSame(after, before)
      t.match(await at.cli(['setup', '--yes']), { code: 0, stdout: /Everything is set up/ })
      t.same(at.picture(), after)
      const removed = await at.cli(['setup', '--remove', '--yes'])
      t.equal(removed.code, 0, removed.stderr)
      t.match(removed.stdout, /Kept: the keys/)
      t.same(at.picture(), before)
      t.match(await at.cli(['setup', '--remove', '--yes']), { code: 0, stdout: /has written nothing/ })
    },
  )

  t.test(
    `${shell}: a new shell has the hook and the completion`,
    { skip: skip || hasShell(shell) },
    async (t) => {
      const at = makeBareHome(t, { SHELL: `/usr/bin/${shell}` })
      if (shell === 'zsh') writeRc(at, '.zshrc', 'autoload -Uz compinit && compinit -u\n')
      t.equal((await at.cli(['setup', '--yes', '--no-service'])).code, 0)
      const ask = {
        bash: 'declare -F _prefect_auth_hook; complete -p prefect-auth; _prefect_auth_load; complete -p prefect-auth; exit\n',
        zsh: 'whence -w _prefect_auth_hook; echo "comp $_comps[prefect-auth]"; exit\n',
        fish: '',
      }[shell]
      const asked =
        shell === 'fish'
          ? [
              '-i',
              '-c',
              'functions -q __prefect_auth_hook; and echo _prefect_auth_hook; complete -C "prefect-auth lo"',
            ]
          : ['-i']
      const { stdout, stderr } = await runToEnd(shell, asked, {
        env: at.env,
        cwd: at.home,
        input: ask,
        timeout: 120_000,
      })
      t.match(stdout, /_prefect_auth_hook/, stderr)
      t.match(
        stdout,
        {
          bash: /-F _prefect_auth_load[\s\S]*-F _prefect_auth prefect-auth/,
          zsh: /comp _prefect_auth_load/,
          fish: /^login/m,
        }[shell],
        stderr,
      )
    },
  )
}

t.test('parts can be left out, and what is there already is left alone', { skip }, async (t) => {
  const at = makeBareHome(t)
  const rc = writeRc(at, '.bashrc', 'eval "$(prefect-auth hook bash)"\n')
  const { code, stdout } = await at.cli(['setup', '--yes', '--no-completion', '--no-service'])
  t.equal(code, 0)
  t.match(stdout, /hook: ~\/\.bashrc loads it already/)
  t.equal(readFileSync(rc, 'utf8'), 'eval "$(prefect-auth hook bash)"\n')
})

t.test('a block that the user edited is left and named', { skip }, async (t) => {
  const at = makeBareHome(t)
  const rc = writeRc(at, '.bashrc', 'a=b\n')
  await at.cli(['setup', '--yes'])
  const edited = readFileSync(rc, 'utf8').replace('eval "$(prefect-auth hook bash)"', ': mine')
  writeFileSync(rc, edited)
  t.match(await at.cli(['setup', '--yes']), { code: 0, stdout: /hook: its block in ~\/\.bashrc was edited/ })
  t.equal(readFileSync(rc, 'utf8'), edited)
  const removed = await at.cli(['setup', '--remove', '--yes'])
  t.match(removed, { code: 0, stdout: /the block in ~\/\.bashrc was edited, and is left/ })
  t.match(readFileSync(rc, 'utf8'), /: mine/)
  t.notMatch(readFileSync(rc, 'utf8'), /completion/, 'the other one is taken out')
})

t.test(
  'a link is written through, and what cannot be written is named; the rest goes on',
  { skip },
  async (t) => {
    const at = makeBareHome(t)
    const target = writeRc(at, 'dotfiles/bashrc', 'a=b\n')
    symlinkSync('dotfiles/bashrc', join(at.home, '.bashrc'))
    t.equal((await at.cli(['setup', '--yes'])).code, 0)
    t.match(readFileSync(target, 'utf8'), /hook bash/)
    await at.cli(['setup', '--yes', '--remove'])
    t.equal(readFileSync(target, 'utf8'), 'a=b\n')
    const other = makeBareHome(t)
    symlinkSync('nowhere', join(other.home, '.bashrc'))
    const ran = await other.cli(['setup', '--yes'])
    t.match(ran, { code: 1, stderr: /cannot write .*\.bashrc: it is a link to a file that does not exist/ })
  },
)

t.test('a record that others can write to is not trusted', { skip }, async (t) => {
  const at = makeBareHome(t)
  t.equal((await at.cli(['setup', '--yes'])).code, 0)
  chmodSync(join(at.stateDir, 'setup.json'), 0o666)
  t.match(await at.cli(['env']), { code: 1, stderr: /setup_record_unreadable/ })
  t.match(await at.cli(['setup', '--remove', '--yes']), {
    code: 1,
    stderr: /other users can reach it[\s\S]*chmod 600/,
  })
  t.same(at.daemons(), [])
})

t.test('a Python that only lies in this directory is not started', { skip }, async (t) => {
  const at = makeBareHome(t)
  mkdirSync(join(at.home, '.venv', 'lib', 'python3.12', 'site-packages', 'prefect-3.6.20.dist-info'), {
    recursive: true,
  })
  const python = writeRc(at, '.venv/bin/python', `#!/bin/sh\ntouch '${at.home}/started'\n`, 0o755)
  for (const args of [
    ['setup', '--print'],
    ['setup', '--yes'],
    ['uninstall', '--purge', '--yes'],
  ]) {
    await at.cli(args)
    t.notOk(existsSync(join(at.home, 'started')), args.join(' '))
  }
  t.match(await at.cli(['integrate', '--python', python]), { code: 1 })
  t.ok(existsSync(join(at.home, 'started')), 'it is on request')
})

t.test('a record that cannot be read is not taken for none', { skip }, async (t) => {
  const at = makeBareHome(t)
  t.equal((await at.cli(['setup', '--yes'])).code, 0)
  const record = join(at.stateDir, 'setup.json')
  rmSync(record)
  symlinkSync('setup.json', record)
  for (const args of [['--yes'], ['--remove', '--yes'], ['--print']])
    t.match(await at.cli(['setup', ...args]), { code: 1, stderr: /setup_record_unreadable/ }, args.join())
  t.equal(readlinkSync(record), 'setup.json')
})

t.test('nothing is written if the record could not be read again', { skip }, async (t) => {
  const at = makeBareHome(t)
  mkdirSync(at.stateDir, { recursive: true })
  chmodSync(at.stateDir, 0o755)
  const before = at.picture()
  t.match(await at.cli(['setup', '--yes']), { code: 1, stdout: /other users can reach it[\s\S]*chmod 700/ })
  t.same(at.picture(), before)
  t.same(readdirSync(at.stateDir), [])
  t.match(await at.cli(['env']), { code: 4 })
  chmodSync(at.stateDir, 0o700)
  t.equal((await at.cli(['setup', '--yes'])).code, 0)
})

t.test('an update of a block that was interrupted is finished, or taken away', { skip }, async (t) => {
  for (const next of ['setup', 'remove']) {
    const at = makeBareHome(t)
    const rc = writeRc(at, '.bashrc', `# ${'x'.repeat(100_000)}\n`)
    const before = readFileSync(rc, 'utf8')
    t.equal((await at.cli(['setup', '--yes'])).code, 0)
    const current = readFileSync(rc, 'utf8')
    // What an earlier version wrote.
    for (const path of [rc, join(at.stateDir, 'setup.json')]) {
      writeFileSync(
        path,
        readFileSync(path, 'utf8').replace('prefect-auth hook bash', 'prefect-auth hook old'),
      )
    }
    const old = readFileSync(rc, 'utf8')
    t.not(old, current)
    // Files may have 64 kB: the record can be written, the large file cannot.
    const limited = ['-c', 'ulimit -f 64; exec prefect-auth setup --yes']
    const failed = await runToEnd('bash', limited, { env: at.env, cwd: at.home, input: '', timeout: 120_000 })
    t.match(failed, { code: 1, stdout: /cannot write .*\.bashrc: EFBIG/ }, failed.stdout + failed.stderr)
    t.equal(readFileSync(rc, 'utf8'), old)
    const ran = await at.cli(['setup', '--yes', ...(next === 'remove' ? ['--remove'] : [])])
    t.equal(ran.code, 0, ran.stderr)
    t.equal(readFileSync(rc, 'utf8'), next === 'remove' ? before : current)
    t.match(await at.cli(['setup', '--remove', '--yes']), { code: 0 })
    t.equal(readFileSync(rc, 'utf8'), before)
  }
})

t.test('a file that setup made and the user moved is emptied, not unlinked', { skip }, async (t) => {
  const at = makeBareHome(t)
  const rc = join(at.home, '.bashrc')
  t.equal((await at.cli(['setup', '--yes'])).code, 0)
  renameSync(rc, join(at.home, 'moved'))
  symlinkSync('moved', rc)
  t.equal((await at.cli(['setup', '--remove', '--yes'])).code, 0)
  t.equal(readFileSync(join(at.home, 'moved'), 'utf8'), '')
  t.equal(readlinkSync(rc), 'moved')
})

t.test('a plain-text key is moved, and the login is not needed', { skip }, async (t) => {
  const { cloud, env } = await startCloud(t)
  const at = makeBareHome(t, env)
  const url = cloud.workspaceUrl('prefect/terry')
  const file = writeRc(
    at,
    '.prefect/profiles.toml',
    `active = "w"\n[profiles.w]\nPREFECT_API_URL = "${url}"\nPREFECT_API_KEY = "${cloud.issueKey()}"\n`,
    0o600,
  )
  const ran = await at.cli(['setup', '--yes'])
  t.match(ran, { code: 0, stdout: /adopt: / }, ran.stdout + ran.stderr)
  t.notMatch(readFileSync(file, 'utf8'), /pnu_/)
  t.match(await at.cli(['setup', '--yes']), { code: 0, stdout: /login: done/ })
  t.match(await at.cli(['env']), { code: 0, stdout: /PREFECT_API_KEY='pnu_/ })
})

t.test(
  'the plugin goes into the environments with Prefect, and only ours is taken out',
  { skip },
  async (t) => {
    const prefect = findPrefect('3', t)
    if (prefect === undefined) return
    const venv = makeEnvironment(t, prefect)
    const at = makeBareHome(t, { VIRTUAL_ENV: venv.prefix })
    writeRc(at, join('.virtualenvs', 'none'), '')
    // Named twice, as a link; and by its own folder, by which the usual places are recognized.
    symlinkSync(venv.prefix, join(at.home, '.virtualenvs', 'v'))
    const base = join(prefect.python, '..', '..', 'lib', basename(dirname(venv.packages)), 'site-packages')
    const [name = ''] = readdirSync(base).filter((one) => /^prefect-[\d.]+\.dist-info$/.test(one))
    symlinkSync(join(base, name), join(venv.packages, name))
    const ran = await at.cli(['setup', '--yes'])
    t.match(ran, { code: 0, stdout: /python: .*plain prefect/ }, ran.stdout + ran.stderr)
    t.ok(existsSync(join(venv.packages, 'prefect_auth_plugin.pth')))
    t.match(await at.cli(['setup', '--yes']), { code: 0, stdout: /Everything is set up/ })
    t.match(await at.cli(['setup', '--remove', '--yes']), { code: 0 })
    t.notOk(existsSync(join(venv.packages, 'prefect_auth_plugin.pth')))
    await at.cli(['integrate'])
    await at.cli(['setup', '--yes'])
    await at.cli(['setup', '--remove', '--yes'])
    t.ok(existsSync(join(venv.packages, 'prefect_auth_plugin.pth')), 'what integrate did stays')
  },
)
