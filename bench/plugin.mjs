// `node bench/plugin.mjs` after `npm run build`: what the plugin costs a Python, `import prefect` with and without it, in turn, and a Python that imports nothing.
import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, writeFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { dirname, join } from 'node:path'
import { startDaemon } from './daemon.mjs'
import { cleanUp, compile, dist, home, load, say } from './lib.mjs'

const PREFECT =
  process.env.PAB_PREFECT3 ??
  join(homedir(), '.cache', 'prefect-auth-broker-ci', 'prefect3', 'bin', 'prefect')

async function measurePlugin() {
  if (!existsSync(PREFECT)) throw new Error(`no Prefect at ${PREFECT} (.ci/setup, or PAB_PREFECT3)`)
  const { env } = await startDaemon()
  const [plain, ours, early] = ['plain', 'ours', 'early'].map(makeEnvironment)
  integrate(env, ours)
  integrate(env, early, '--early')
  const file = join(home, 'plugin.txt')
  const modules = { prefect: 'import_prefect.py', nothing: 'nothing.py' }
  writeFileSync(join(home, modules.prefect), 'import prefect\n')
  writeFileSync(join(home, modules.nothing), 'pass\n')
  for (const [what, script, rounds] of [
    ['import prefect', modules.prefect, 11],
    ['a Python that imports nothing', modules.nothing, 60],
  ]) {
    const commands = Object.entries({ plain, ours, early }).map(
      ([name, venv]) => `${name}|${join(venv, 'bin', 'python')} ${join(home, script)}`,
    )
    writeFileSync(file, `${commands.join('\n')}\n`)
    const output = execFileSync(compile('rr'), [String(rounds), 'plain', file], { env, encoding: 'utf8' })
    const times = JSON.parse(output)
    for (const [name, label] of [
      ['ours', 'with the plugin'],
      ['early', 'with --early'],
    ]) {
      if (times[name].bad > 0) throw new Error(`${what}, ${label}: failed ${times[name].bad} times`)
      const show = ({ ms, cpu }) => `${ms.toFixed(1)} (CPU ${cpu.toFixed(1)})`
      say(
        `| ${what}, ${label} | ${show(times[name])} | ${show(times.plain)} | ${times[name].ratio.toFixed(2)}x |`,
      )
    }
  }
}

/** As the tests make one: what is installed beside PREFECT is on its path. */
function makeEnvironment(name) {
  const prefix = join(home, name)
  const python = join(dirname(PREFECT), 'python')
  execFileSync(python, ['-m', 'venv', prefix])
  const packages = (root) => {
    const lib = join(root, 'lib')
    return join(
      lib,
      readdirSync(lib).find((entry) => entry.startsWith('python3')),
      'site-packages',
    )
  }
  writeFileSync(join(packages(prefix), 'base.pth'), `${packages(dirname(dirname(PREFECT)))}\n`)
  return prefix
}

function integrate(env, prefix, ...more) {
  execFileSync(process.execPath, [join(dist, 'auth.cjs'), 'integrate', '--python', prefix, ...more], { env })
}

try {
  say('| what | ms | without the plugin | ratio |\n|---|---|---|---|')
  await measurePlugin()
  say(`\nload ${load()} at the end`)
} finally {
  await cleanUp()
}
