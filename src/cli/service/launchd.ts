/** The service as a launchd agent of the user who is logged in. Not run on macOS by us: see docs/service.md. */
import { existsSync } from 'node:fs'
import { mkdir, readFile, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { failWith } from '../../client/failure.js'
import { startBookPath } from '../../config/paths.js'
import { findOutdated, removeFiles, writeFiles } from './files.js'
import type { ManagerDeps, ServiceManager, ServiceState } from './manager.js'
import { LABEL, planLaunchd, resolveServicePlaces } from './plan.js'

export function createLaunchd({ run, template, terminal }: ManagerDeps): ServiceManager {
  const places = resolveServicePlaces(terminal)
  const domain = `gui/${terminal.uid ?? 0}`
  const agent = join(places.unitDir, `${LABEL}.plist`)
  const plan: ServiceManager['plan'] = (facts) => planLaunchd(facts, template)

  async function state(): Promise<ServiceState> {
    if (!existsSync(agent)) return { state: 'not_installed', startsAtLogin: false }
    const { isDone, stdout, complaint } = await run('launchctl', 'print', `${domain}/${LABEL}`)
    const found: Pick<ServiceState, 'state' | 'pid' | 'problem'> = isDone
      ? parsePrinted(stdout)
      : { state: 'stopped', problem: complaint }
    // It ended with code 0, so that launchd leaves it alone: that looks like a daemon that was stopped.
    const problem = found.state === 'running' ? undefined : await readGivenUp(places.stateDir)
    return { ...found, ...(problem === undefined ? {} : { state: 'failed', problem }), startsAtLogin: true }
  }

  return {
    name: 'launchd agent',
    log: undefined,
    plan,
    state,
    async install(facts, isStale) {
      const before = await state()
      const written = await findOutdated(plan(facts))
      await writeFiles(written)
      await forgetGivenUp(places.stateDir)
      // launchd does not make the directory of the log.
      await mkdir(places.stateDir, { recursive: true, mode: 0o700 })
      if (before.state === 'running' && written.length === 0) {
        if (isStale) await run('launchctl', 'kickstart', '-k', `${domain}/${LABEL}`)
        return written
      }
      // An agent that is loaded keeps its old definition, and loading it again is "5: Input/output error".
      await run('launchctl', 'bootout', `${domain}/${LABEL}`)
      await run('launchctl', 'enable', `${domain}/${LABEL}`)
      const loaded = await run('launchctl', 'bootstrap', domain, agent)
      if (!loaded.isDone) failWith(notLoaded(domain, agent, loaded.complaint))
      await run('launchctl', 'kickstart', `${domain}/${LABEL}`)
      return written
    },
    async uninstall() {
      await run('launchctl', 'bootout', `${domain}/${LABEL}`)
      await forgetGivenUp(places.stateDir)
      return removeFiles([agent, places.launcher], [join(places.launcher, '..')])
    },
  }
}

function notLoaded(domain: string, agent: string, complaint: string) {
  return {
    code: 'service_failed',
    kind: 'unavailable',
    detail: `launchctl bootstrap ${domain} ${agent}: ${complaint}`,
    hint: 'run it in a terminal of the desktop session, not over ssh',
  } as const
}

/** `launchctl print` is for people; `state = running` and `pid = 12` have stood in it since it exists. */
export function parsePrinted(text: string): Pick<ServiceState, 'state' | 'pid' | 'problem'> {
  const pid = Number(/^\s*pid = (\d+)$/m.exec(text)?.[1] ?? 0)
  if (pid > 0) return { state: 'running', pid }
  const code = /^\s*last exit code = (.+)$/m.exec(text)?.[1]
  if (code === undefined || code === '0' || code.startsWith('(never')) return { state: 'stopped' }
  return { state: 'failed', problem: `the daemon ended with ${code}` }
}

/** Why it stays down; `undefined` where it did not give up. */
async function readGivenUp(stateDir: string): Promise<string | undefined> {
  try {
    const book: unknown = JSON.parse(await readFile(startBookPath(stateDir), 'utf8'))
    if (typeof book !== 'object' || book === null || !('givenUpAt' in book)) return undefined
    if (typeof book.givenUpAt !== 'number') return undefined
    return `every start failed, and the daemon gave up at ${new Date(book.givenUpAt).toISOString()}`
  } catch {
    return undefined
  }
}

/** It may try again. */
async function forgetGivenUp(stateDir: string): Promise<void> {
  await unlink(startBookPath(stateDir)).catch(() => undefined)
}
