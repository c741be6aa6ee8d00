/** The user's service on this system: chooses the manager, installs, and waits for the daemon to respond. */

import { failureOf, failWith } from '../../client/failure.js'
import { SECOND_MS, systemClock } from '../../std/clock.js'
import { defined } from '../../std/defined.js'
import { usageError } from '../failure.js'
import { pause, type Session } from '../session.js'
import { findHidden, lookAround, templatesOf } from './facts.js'
import { findOutdated, type ServiceFile } from './files.js'
import { createLaunchd } from './launchd.js'
import type { ServiceManager, ServiceState } from './manager.js'
import { createRunTool } from './manager.js'
import { createSystemd } from './systemd.js'

export interface Installation {
  readonly manager: string
  readonly written: readonly string[]
  readonly socket: string
  readonly version: string
  readonly pid: number
  readonly lingers?: boolean
  /** What is not as good as it could be, each with its remedy. */
  readonly notices: readonly string[]
  /** Commands that follow the log. */
  readonly logs: readonly string[]
}

export interface ServiceLook extends ServiceState {
  readonly manager: string
  /** Files that differ from what this version would write; absent if nothing is installed. */
  readonly outdated?: readonly string[]
}

/** Variables of the caller that the service will have from now on. */
export type CarriedEnv = Readonly<Record<string, string>>

interface Service {
  plan(): Promise<{ readonly files: readonly ServiceFile[]; readonly env: CarriedEnv }>
  /** Asks `agree` before anything is changed; it rejects to prevent the installation. */
  install(agree: (env: CarriedEnv) => Promise<void>): Promise<Installation>
  uninstall(): Promise<readonly string[]>
  /** Reads the state without starting anything. */
  look(): Promise<ServiceLook>
}

const ANSWER_WITHIN_MS = 30 * SECOND_MS
const LOOK_EVERY_MS = 100

/** Fails with `service_unsupported` if the system's service manager is not supported. */
export function openServiceManager(session: Session): Service {
  const { terminal } = session
  const clock = systemClock()
  const run = createRunTool(terminal.env, clock)
  const manager = createManager(session, run)
  const facts = () => lookAround(terminal, run, clock)

  return {
    async plan() {
      const known = await facts()
      return { files: manager.plan(known), env: known.env }
    },
    async install(agree) {
      refuseRoot(session)
      const before = await manager.state()
      const found = before.state === 'running' ? await daemonOf(session) : undefined
      if (before.state === 'stopped' || before.state === 'not_installed') await refuseStranger(session)
      const known = await facts()
      refuseHidden(await findHidden(known))
      await agree(known.env)
      const isStale = found !== undefined && found.version !== terminal.version
      const written = await manager.install(known, isStale)
      const daemon = await waitForAnswer(session)
      const { lingers, problem } = await manager.state()
      if (daemon === undefined) failWith(notAnswering(problem))
      return {
        manager: manager.name,
        written: written.map(({ path }) => path),
        socket: session.transport.socket() ?? known.places.socket,
        version: daemon.version,
        pid: daemon.pid,
        ...defined({ lingers }),
        notices: [...daemon.notices, ...noticesOf(known.hasNamespaces, terminal.packageDir)],
        logs: ['prefect-auth logs -f', ...(manager.log === undefined ? [] : [manager.log])],
      }
    },
    uninstall: () => manager.uninstall(),
    async look() {
      const state = await manager.state()
      const base = { manager: manager.name, ...state }
      if (state.state === 'not_installed' || state.state === 'unreachable') return base
      const outdated = await findOutdated(manager.plan(await facts()))
      return { ...base, outdated: outdated.map(({ path }) => path) }
    },
  }
}

function createManager({ terminal }: Session, run: ReturnType<typeof createRunTool>): ServiceManager {
  const parts = (folder: 'systemd' | 'launchd') => ({
    run,
    around: terminal,
    template: templatesOf(terminal.packageDir, folder),
  })
  if (terminal.platform === 'linux') return createSystemd(parts('systemd'))
  if (terminal.platform === 'darwin') return createLaunchd(parts('launchd'))
  return failWith({
    code: 'service_unsupported',
    kind: 'unavailable',
    detail: `services on ${terminal.platform} are not supported yet; run the daemon in the foreground`,
    hint: 'prefect-authd',
  })
}

/** Root's service would hold root's keys, and with `sudo` the user's own service would not change. */
function refuseRoot({ terminal }: Session): void {
  if (terminal.uid !== 0) return
  throw usageError(
    'the service must be installed by the user whose keys it holds, not by root',
    'run the command as that user, without sudo',
  )
}

/** Otherwise the daemon would not start, or would miss its files, and nothing would say why. */
function refuseHidden(hidden: Awaited<ReturnType<typeof findHidden>>): void {
  if (hidden.length === 0) return
  const isPackage = hidden.some(({ what }) => what === 'the package')
  failWith({
    code: 'service_path_hidden',
    kind: 'invalid',
    detail: [
      'the service has a /tmp and /var/tmp of its own, and would not see:',
      ...hidden.map(({ what, path }) => `${path}: ${what}`),
    ].join('\n'),
    hint: isPackage
      ? 'install the package elsewhere, such as in your home (README.md), then: prefect-auth service install'
      : 'move it, or unset the variable that names it, then: prefect-auth service install',
  })
}

interface DaemonFacts {
  readonly version: string
  readonly pid: number
  readonly notices: readonly string[]
}

/** `undefined` if no daemon responds, or it is still starting. */
async function daemonOf({ client }: Session): Promise<DaemonFacts | undefined> {
  try {
    const { daemon, listeners } = await client.status()
    // TCP is opened last: until it is listed the daemon is still starting.
    if (!listeners.some(({ door }) => door === 'tcp')) return undefined
    const notices = listeners.flatMap(({ problem }) => (problem === undefined ? [] : [problem]))
    return { version: daemon.version, pid: daemon.pid, notices }
  } catch (error) {
    if (failureOf(error) === undefined) throw error
    return undefined
  }
}

/** A daemon started by hand owns the state; systemd would replace its socket while it runs. */
async function refuseStranger(session: Session): Promise<void> {
  const stranger = await daemonOf(session)
  if (stranger === undefined) return
  failWith({
    code: 'already_running',
    kind: 'conflict',
    detail: `a prefect-authd started by hand is already running (pid ${stranger.pid})`,
    hint: `kill ${stranger.pid}      (then run prefect-auth service install again)`,
  })
}

/** `undefined` if the daemon of this version does not respond in time. */
async function waitForAnswer(session: Session): Promise<DaemonFacts | undefined> {
  const { terminal, signal } = session
  const deadline = terminal.now() + ANSWER_WITHIN_MS
  for (;;) {
    const daemon = await daemonOf(session)
    if (daemon?.version === terminal.version) return daemon
    if (terminal.now() > deadline || signal.aborted) return undefined
    await pause(LOOK_EVERY_MS, signal)
  }
}

function notAnswering(problem: string | undefined) {
  return {
    code: 'service_not_answering',
    kind: 'unavailable',
    detail: `the service is installed, but its daemon does not respond${problem === undefined ? '' : `: ${problem}`}`,
    hint: 'prefect-auth logs      (and: prefect-auth doctor)',
  } as const
}

/** Where npx and uvx unpack what they run once. */
const CACHES = /[/\\](_npx|uv[/\\](archive|environments)-v\d+)[/\\]/

function noticesOf(hasNamespaces: boolean, packageDir: string): readonly string[] {
  return [
    ...(hasNamespaces
      ? []
      : ['this system refuses user namespaces, so the unit is less hardened than it could be']),
    ...(CACHES.test(packageDir)
      ? [
          `the package is in the cache of npx or uvx, which may delete it (${packageDir}); install it, then run prefect-auth service install there`,
        ]
      : []),
  ]
}
