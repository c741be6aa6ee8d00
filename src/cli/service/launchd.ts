/** The service as a launchd agent of the logged-in user. Not tested on macOS: see docs/service.md. */
import { existsSync } from 'node:fs'
import { mkdir, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { failWith } from '../../client/failure.js'
import { startBookPath } from '../../config/paths.js'
import { readPlainFile } from '../../os/private-files.js'
import { findOutdated, removeFiles, writeFiles } from './files.js'
import type { ManagerParts, ServiceManager, ServiceState } from './manager.js'
import { LABEL, planLaunchd, resolveServicePlaces } from './plan.js'

export function createLaunchd({ run, template, around }: ManagerParts): ServiceManager {
  const places = resolveServicePlaces(around)
  const domain = `gui/${around.uid ?? 0}`
  const agent = join(places.unitDir, `${LABEL}.plist`)
  const plan: ServiceManager['plan'] = (facts) => planLaunchd(facts, template)

  async function state(): Promise<ServiceState> {
    if (!existsSync(agent)) return { state: 'not_installed', startsAtLogin: false }
    const { isDone, stdout, complaint } = await run('launchctl', 'print', `${domain}/${LABEL}`)
    const found: Pick<ServiceState, 'state' | 'pid' | 'problem'> = isDone
      ? parsePrinted(stdout)
      : { state: 'stopped', problem: complaint }
    // A daemon that gave up exits with 0, so that launchd does not restart it: it looks stopped.
    const problem = found.state === 'running' ? undefined : await readGivenUp(places.stateDir)
    if (problem !== undefined) return { state: 'failed', problem, startsAtLogin: true }
    return { ...found, startsAtLogin: true }
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
      // launchd does not create the directory of the log.
      await mkdir(places.stateDir, { recursive: true, mode: 0o700 })
      if (before.state === 'running' && written.length === 0) {
        if (isStale) await run('launchctl', 'kickstart', '-k', `${domain}/${LABEL}`)
        return written
      }
      // A loaded agent keeps its old definition; loading it again fails with "5: Input/output error".
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
    detail: `launchctl bootstrap ${domain} ${agent} failed: ${complaint}`,
    hint: 'run it in a terminal of the desktop session, not over ssh',
  } as const
}

/** Parses `launchctl print`: meant for people, but it has always had `state = running` and `pid = 12`. */
export function parsePrinted(text: string): Pick<ServiceState, 'state' | 'pid' | 'problem'> {
  const pid = Number(/^\s*pid = (\d+)$/m.exec(text)?.[1] ?? 0)
  if (pid > 0) return { state: 'running', pid }
  const code = /^\s*last exit code = (.+)$/m.exec(text)?.[1]
  if (code === undefined || code === '0' || code.startsWith('(never')) return { state: 'stopped' }
  return { state: 'failed', problem: `the daemon exited with ${code}` }
}

/** Why the daemon stays down; `undefined` if it did not give up. */
async function readGivenUp(stateDir: string): Promise<string | undefined> {
  try {
    const book: unknown = JSON.parse(String(await readPlainFile(startBookPath(stateDir))))
    if (typeof book !== 'object' || book === null || !('givenUpAt' in book)) return undefined
    if (typeof book.givenUpAt !== 'number') return undefined
    return `every start failed; the daemon gave up at ${new Date(book.givenUpAt).toISOString()}`
  } catch {
    return undefined
  }
}

/** Lets the daemon start again. */
async function forgetGivenUp(stateDir: string): Promise<void> {
  await unlink(startBookPath(stateDir)).catch(() => undefined)
}
