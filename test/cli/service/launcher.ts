/** The start script of the service, run by a real sh: it finds what moved, and runs nothing else. */
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

/** Writes a program that prints its name and arguments. */
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

t.test('takes quotes, spaces and dollars in names literally', async (t) => {
  const dir = makeDir(t)
  const node = program(join(dir, `a b'$(touch ${dir}/evil)"`, 'node'))
  const target = program(join(dir, "p'$HOME", 'authd.js'))
  const { stdout } = launch(t, dir, { node, program: target, flags: ['--x'] })
  t.equal(stdout, `${node} --x ${target}\n`)
  t.equal(existsSync(join(dir, 'evil')), false)
})

t.test('lets the script beside the program find another Node if its own is gone', async (t) => {
  const dir = makeDir(t)
  const target = program(join(dir, 'authd.js'))
  const front = program(join(dir, 'prefect-authd'))
  const { stdout, stderr } = launch(t, dir, { program: target, flags: ['--new'] })
  t.equal(stdout, `${front}\n`)
  t.match(stderr, /\/gone\/node or .*authd\.js is gone; .*: prefect-auth service install/)
})

t.test('says why there is no Node, with an exit code that stops retries', async (t) => {
  const dir = makeDir(t)
  const target = program(join(dir, 'authd.js'))
  writeFileSync(program(join(dir, 'prefect-authd')), '#!/bin/sh\necho no Node at all >&2; exit 1\n')
  const { status, stderr } = launch(t, dir, { program: target })
  t.equal(status, 78)
  t.match(stderr, /^no Node at all\n/m)
})

for (const place of ['.local/bin', '.nvm/versions/node/v24.1.0/bin', '.volta/bin']) {
  t.test(`uses the package in ~/${place} if its own is gone`, async (t) => {
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
  'says what to do, with an exit code that stops retries, if nothing is found',
  { skip: isInstalled },
  async (t) => {
    const home = makeDir(t)
    const { status, stderr } = launch(t, home, {})
    t.equal(status, 78)
    t.match(stderr, /install the package again/)
    const byLaunchd = launch(t, home, {}, { PREFECT_AUTHD_STARTED_BY: 'launchd' })
    t.equal(byLaunchd.status, 0, 'launchd retries every code but 0')
  },
)

t.test('prefers a link to Node on the path to its own file', async (t) => {
  const dir = makeDir(t)
  const script = `require('node:fs').symlinkSync(process.execPath, ${JSON.stringify(join(dir, 'node'))})`
  spawnSync(process.execPath, ['-e', script])
  t.equal(await findStableNode(process.execPath, `relative:/nowhere:${dir}:/usr/bin`), join(dir, 'node'))
  t.equal(await findStableNode(process.execPath, '/nowhere'), process.execPath)
  t.same(absoluteDirectories('a:/b::./c:/d'), ['/b', '/d'])
})

t.test('finds the flags that this Node accepts by trying them', async (t) => {
  const flags = await findFlags(process.execPath, systemClock())
  const { status } = spawnSync(process.execPath, [...flags, '-e', '0'])
  t.equal(status, 0)
  if (Number(process.versions.node.split('.')[0]) >= 24) t.ok(flags.includes('--disable-sigusr1'))
  t.same(await findFlags('/nowhere/node', systemClock()), [])
})
