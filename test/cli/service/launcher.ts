/** The script that the service starts, run by a real sh: it follows what moved, and runs nothing else. */
import { spawnSync } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { absoluteDirectories, findFlags, findStableNode } from '../../../src/cli/service/facts.js'
import { type LauncherFacts, renderLauncher } from '../../../src/cli/service/templates.js'
import { systemClock } from '../../../src/std/clock.js'

function makeDir(t: Test): string {
  const dir = mkdtempSync(join(tmpdir(), 'pab-launch-'))
  t.teardown(() => rmSync(dir, { recursive: true, force: true }))
  return dir
}

/** A program that says its name and its arguments. */
function program(path: string): string {
  mkdirSync(join(path, '..'), { recursive: true })
  writeFileSync(path, `#!/bin/sh\necho "$0" "$@"\n`)
  chmodSync(path, 0o755)
  return path
}

function launch(t: Test, home: string, facts: Partial<LauncherFacts>, env: Record<string, string> = {}) {
  const script = join(makeDir(t), 'start-daemon')
  writeFileSync(
    script,
    renderLauncher({ node: '/gone/node', program: '/gone/p', flags: [], path: [], ...facts }),
  )
  return spawnSync('/bin/sh', [script], { env: { HOME: home, PATH: '', ...env }, encoding: 'utf8' })
}

t.test('names with quotes, blanks and dollars are names', async (t) => {
  const dir = makeDir(t)
  const node = program(join(dir, `a b'$(touch ${dir}/evil)"`, 'node'))
  const target = program(join(dir, "p'$HOME", 'authd.js'))
  const { stdout } = launch(t, dir, { node, program: target, flags: ['--x'] })
  t.equal(stdout, `${node} --max-semi-space-size=1 --x ${target}\n`)
  t.equal(existsSync(join(dir, 'evil')), false)
})

t.test(
  'without its Node: another one that is on the path, with the flags that every Node knows',
  async (t) => {
    const dir = makeDir(t)
    const node = program(join(dir, 'other/node'))
    const target = program(join(dir, 'authd.js'))
    const { stdout, stderr } = launch(t, dir, {
      program: target,
      flags: ['--new'],
      path: [join(dir, 'other')],
    })
    t.equal(stdout, `${node} --max-semi-space-size=1 ${target}\n`)
    t.match(stderr, /\/gone\/node or .*authd\.js is gone; prefect-auth service install/)
  },
)

for (const place of ['.local/bin', '.nvm/versions/node/v24.1.0/bin', '.volta/bin']) {
  t.test(`without its package: the one in ~/${place}`, async (t) => {
    const home = makeDir(t)
    const found = program(join(home, place, 'prefect-authd'))
    t.equal(launch(t, home, {}).stdout, `${found}\n`)
  })
}

// The machine that runs the tests may have one of its own.
const isInstalled =
  spawnSync('sh', ['-c', 'command -v prefect-authd'], { env: { PATH: '/usr/local/bin:/usr/bin:/bin' } })
    .status === 0

t.test(
  'with nothing at all: what to do, and an exit code that is not tried again',
  { skip: isInstalled },
  async (t) => {
    const home = makeDir(t)
    const { status, stderr } = launch(t, home, {})
    t.equal(status, 78)
    t.match(stderr, /npm install --global prefect-auth-broker/)
    const byLaunchd = launch(t, home, {}, { PREFECT_AUTHD_STARTED_BY: 'launchd' })
    t.equal(byLaunchd.status, 0, 'launchd tries again whatever is not 0')
  },
)

t.test('a stable name for Node: the link on the path, else its own file', async (t) => {
  const dir = makeDir(t)
  const script = `require('node:fs').symlinkSync(process.execPath, ${JSON.stringify(join(dir, 'node'))})`
  spawnSync(process.execPath, ['-e', script])
  t.equal(await findStableNode(process.execPath, `relative:/nowhere:${dir}:/usr/bin`), join(dir, 'node'))
  t.equal(await findStableNode(process.execPath, '/nowhere'), process.execPath)
  t.same(absoluteDirectories('a:/b::./c:/d'), ['/b', '/d'])
})

t.test('flags are asked for, not guessed: those that this Node answers are real', async (t) => {
  const flags = await findFlags(process.execPath, systemClock())
  const { status } = spawnSync(process.execPath, [...flags, '-e', '0'])
  t.equal(status, 0)
  if (Number(process.versions.node.split('.')[0]) >= 24) t.ok(flags.includes('--disable-sigusr1'))
  t.same(await findFlags('/nowhere/node', systemClock()), [])
})
