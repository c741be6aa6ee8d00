/** The commands of an installation on macOS, with a scripted launchctl: nothing here has run on macOS. */
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { createLaunchd } from '../../../src/cli/service/launchd.js'
import type { RunTool } from '../../../src/cli/service/manager.js'
import type { ServiceFacts } from '../../../src/cli/service/plan.js'
import { resolveServicePlaces } from '../../../src/cli/service/plan.js'

const root = fileURLToPath(new URL('../../../', import.meta.url))

/** `launchctl` as its manual describes it, for one agent that it refuses to load twice. */
function scripted(t: Test, trouble?: string) {
  const home = mkdtempSync(join(tmpdir(), 'pab-launchd-'))
  t.teardown(() => rmSync(home, { recursive: true, force: true }))
  const calls: string[] = []
  const known = { isLoaded: false }
  const failed = (complaint: string) => ({ isDone: false, stdout: '', complaint })
  const done = (stdout = '') => ({ isDone: true, stdout, complaint: '' })
  const run: RunTool = async (name, ...args) => {
    calls.push([name, ...args].join(' ').replaceAll(home, '~'))
    switch (args[0]) {
      case 'print':
        return known.isLoaded ? done('\tstate = running\n\tpid = 12\n') : failed('Could not find service')
      case 'bootout':
        if (!known.isLoaded) return failed('3: No such process')
        known.isLoaded = false
        return done()
      case 'bootstrap':
        if (trouble !== undefined || known.isLoaded) return failed(trouble ?? '5: Input/output error')
        known.isLoaded = true
        return done()
      default:
        return done()
    }
  }
  const around = { env: {}, home, platform: 'darwin', uid: 501 }
  const facts: ServiceFacts = {
    places: resolveServicePlaces(around),
    launch: { node: '/n', program: '/p', flags: [], path: [] },
    env: {},
    port: 4280,
    writable: [],
    folders: [],
    hasNamespaces: true,
  }
  const template = (name: string) => readFileSync(join(root, 'launchd', name), 'utf8')
  return { home, calls, known, facts, manager: createLaunchd({ run, template, around }) }
}

const AGENT = 'gui/501/io.github.prefect-auth-broker'

t.test('writes the files, unloads an old agent and loads the new one', async (t) => {
  const { manager, facts, calls, home } = scripted(t)
  t.equal((await manager.install(facts, false)).length, 2)
  t.same(calls, [
    `launchctl bootout ${AGENT}`,
    `launchctl enable ${AGENT}`,
    'launchctl bootstrap gui/501 ~/Library/LaunchAgents/io.github.prefect-auth-broker.plist',
    `launchctl kickstart ${AGENT}`,
  ])
  t.equal(statSync(join(home, 'Library/Application Support/prefect-auth')).mode & 0o777, 0o700)
})

t.test('writes and stops nothing the second time, and restarts another version', async (t) => {
  const { manager, facts, calls } = scripted(t)
  await manager.install(facts, false)
  calls.length = 0
  t.same(await manager.install(facts, false), [])
  t.same(calls, [`launchctl print ${AGENT}`])
  await manager.install(facts, true)
  t.equal(calls.at(-1), `launchctl kickstart -k ${AGENT}`)
})

t.test('reloads a changed agent', async (t) => {
  const { manager, facts, calls } = scripted(t)
  await manager.install(facts, false)
  calls.length = 0
  const moved = { ...facts, env: { HTTPS_PROXY: 'http://h' } }
  t.equal((await manager.install(moved, false)).length, 1)
  t.match(calls[1], /^launchctl bootout /)
  t.match(await manager.state(), { state: 'running', pid: 12, startsAtLogin: true })
})

t.test('reports what launchd refused, with a remedy', async (t) => {
  const { manager, facts } = scripted(t, '125: Domain does not support specified action')
  await t.rejects(manager.install(facts, false), {
    cause: { code: 'service_failed', detail: /125: Domain/, hint: /not over ssh/ },
  })
})

t.test('removes the agent, the launcher and nothing else', async (t) => {
  const { manager, facts, home } = scripted(t)
  await manager.install(facts, false)
  writeFileSync(join(home, 'Library/LaunchAgents/other.plist'), '')
  t.equal((await manager.uninstall()).length, 2)
  t.same(await manager.uninstall(), [])
  t.match(await manager.state(), { state: 'not_installed' })
  t.equal(existsSync(join(home, 'Library/LaunchAgents/other.plist')), true)
  t.equal(existsSync(join(home, 'Library/Application Support/prefect-auth-broker')), false)
})

t.test('reports a daemon that gave up, and lets it start again after an installation', async (t) => {
  const { manager, facts, home, known } = scripted(t)
  await manager.install(facts, false)
  const book = join(home, 'Library/Application Support/prefect-auth/starts.json')
  writeFileSync(book, '{"starts":[1],"givenUpAt":1790000000000}')
  t.match(await manager.state(), { state: 'running' }, 'what runs has not given up')
  await manager.uninstall()
  t.equal(existsSync(book), false)
  await manager.install(facts, false)
  writeFileSync(book, '{"starts":[1],"givenUpAt":1790000000000}')
  known.isLoaded = false
  t.match(await manager.state(), {
    state: 'failed',
    problem: /every start failed; the daemon gave up at 2026-/,
    startsAtLogin: true,
  })
  await manager.install(facts, false)
  t.equal(existsSync(book), false)
  t.match(await manager.state(), { state: 'running' })
})
