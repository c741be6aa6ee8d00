/** Without an API Prefect starts a server of its own, whose runs nobody sees: `exec` never lets it come to that. */
import { spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { findPrefect, prefectEnv, type Which } from '../fixtures/real-prefect.js'
import { runToEnd } from '../fixtures/run-to-end.js'
import { startShipped, until } from '../fixtures/shipped.js'

t.setTimeout(900_000)

const dist = (name: string) => fileURLToPath(new URL(`../../dist/${name}`, import.meta.url))
const FLOW = 'from prefect import flow\n@flow\ndef one(): print("ran")\none()\n'

/** A home with a flow in it, and what of Prefect's has come to be there. */
function makeHome(t: Test, profiles?: string) {
  const home = mkdtempSync(join(tmpdir(), 'pab-own-'))
  t.teardown(() => rmSync(home, { recursive: true, force: true }))
  writeFileSync(join(home, 'flow.py'), FLOW)
  mkdirSync(join(home, '.prefect'))
  if (profiles !== undefined) writeFileSync(join(home, '.prefect', 'profiles.toml'), profiles)
  return {
    home,
    databases: () =>
      readdirSync(home, { recursive: true }).filter((name) => /\.db(?:-|$)/.test(String(name))),
    /** Pythons that run in this home. */
    pythons: () => readdirSync('/proc').filter((pid) => /^\d+$/.test(pid) && isPythonOf(pid, home)),
  }
}

function isPythonOf(pid: string, home: string): boolean {
  try {
    const isPython = readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('python')
    return isPython && readFileSync(`/proc/${pid}/environ`, 'utf8').includes(`HOME=${home}\0`)
  } catch {
    return false
  }
}

for (const which of ['3', '34', '2'] satisfies Which[]) {
  t.test(`Prefect ${which}: nothing is started without an API`, async (t) => {
    const prefect = findPrefect(which, t)
    if (prefect === undefined) return

    await t.test('a plain run starts one', async (t) => {
      const { home, databases, pythons } = makeHome(t)
      const env = { ...prefectEnv(home), PREFECT_HOME: join(home, '.prefect') }
      const child = spawn(prefect.python, ['flow.py'], { cwd: home, env, detached: true, stdio: 'ignore' })
      const ended = new Promise((resolve) => child.once('close', resolve))
      await until(
        () => databases().length > 0,
        () => 'no database file',
      )
      t.not(pythons().length, 0)
      if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL')
      for (const pid of pythons()) process.kill(Number(pid), 'SIGKILL')
      await ended
    })

    const states = {
      'with no daemon': { hasDaemon: false, profiles: undefined, code: 'daemon_not_running' },
      'with nobody logged in': { hasDaemon: true, profiles: undefined, code: 'login_required' },
      'with a profile that leads nowhere': {
        ...{ hasDaemon: true, profiles: 'active = "a"\n[profiles.a]\n', code: 'login_required' },
      },
      'with a broken file': { hasDaemon: true, profiles: '[profiles.a\n', code: 'profiles_file_invalid' },
    }
    for (const [state, { hasDaemon, profiles, code }] of Object.entries(states)) {
      await t.test(state, async (t) => {
        const { home, databases, pythons } = makeHome(t, profiles)
        const own = { ...prefectEnv(home), PREFECT_HOME: '' }
        const socket = hasDaemon ? (await startShipped(t, own)).socket : join(home, 'no.sock')
        const env = { ...own, PREFECT_AUTH_SOCKET: socket }
        for (const front of [
          [process.execPath, dist('auth.cjs')],
          ['/bin/sh', dist('prefect-auth')],
        ]) {
          for (const way of [[], ['--proxy']]) {
            const [file = '', ...args] = [...front, 'exec', ...way, '--', prefect.python, 'flow.py']
            const ran = await runToEnd(file, args, { cwd: home, env })
            t.match(ran, { code: 125, stdout: '' }, ran.stdout)
            t.match(ran.stderr, new RegExp(`\\(${code}\\)\\n(?: .*\\n)*try: `))
          }
        }
        t.strictSame([databases(), pythons()], [[], []])
      })
    }
  })
}
