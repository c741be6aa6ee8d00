/** The service; where there is no service manager, the permission to start a daemon that exits when it is idle. */
import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { failureOf } from '../../client/failure.js'
import { describeCarried } from '../commands/machine/service.js'
import { absoluteDirectories, carriedEnv } from '../service/facts.js'
import { resolveServicePlaces, SERVICE } from '../service/plan.js'
import { openServiceManager, type ServiceLook } from '../service/service.js'
import type { Terminal } from '../session.js'
import { printable } from '../text.js'
import { inHome, missingDirectories, withDirectories } from './files.js'
import { formatRecord, recordPath } from './record.js'
import { stopDaemon } from './running-daemon.js'
import { noted, type PartPlan, type SetupContext } from './step.js'

export async function planServicePart(context: SetupContext): Promise<PartPlan> {
  const { session } = context
  const { terminal } = session
  const look = await lookAtService(context)
  if (look === undefined) return planOnDemand(context)
  if (look.state === 'unreachable') {
    const isThere = existsSync(join(resolveServicePlaces(terminal).unitDir, SERVICE))
    return isThere
      ? noted('service: it is installed, but this session has no systemd user manager to start it')
      : planOnDemand(context)
  }
  const isRunning = look.state === 'running' || look.state === 'waiting'
  if (isRunning && (look.outdated ?? []).length === 0) return noted(`service: ${look.manager}, up to date`)
  const { files, env } = await openServiceManager(session).plan()
  const step = {
    part: 'service' as const,
    says: [
      `install the ${look.manager}, which starts the daemon at login:`,
      ...files.map(({ path }) => `  ${printable(inHome(path, terminal))}`),
      ...describeCarried(env),
    ],
    files: files.map(({ path, text }) => ({ path, text })),
    run: () =>
      installService(
        context,
        files.map(({ path }) => path),
        look.state === 'not_installed',
      ),
  }
  return { steps: [step], notes: [] }
}

/** `undefined` if no service can be installed here. Root's would hold root's keys only. */
async function lookAtService({ session }: SetupContext): Promise<ServiceLook | undefined> {
  if (session.terminal.uid === 0) return undefined
  try {
    return await openServiceManager(session).look()
  } catch (error) {
    if (failureOf(error)?.code === 'service_unsupported') return undefined
    throw error
  }
}

async function installService(
  { session, record }: SetupContext,
  paths: readonly string[],
  isNew: boolean,
): Promise<string> {
  const missing = (await Promise.all(paths.map(missingDirectories))).flat()
  const { onDemand } = await record.read()
  // The daemon that a command started holds the state; the service could not start.
  if (onDemand !== undefined) await stopDaemon(session.terminal, session.signal)
  await record.change((now) => withDirectories({ ...now, service: now.service || isNew }, missing))
  // The variables were named before.
  const { pid, socket, lingers } = await openServiceManager(session).install(async () => undefined)
  await record.change(({ onDemand: _old, ...now }) => now)
  const linger =
    lingers === false ? '; it stops with your last logout (sudo loginctl enable-linger "$USER")' : ''
  return `prefect-authd (pid ${pid}) is listening on ${printable(socket)}${linger}`
}

async function planOnDemand({ session: { terminal }, record }: SetupContext): Promise<PartPlan> {
  const env = daemonEnv(terminal)
  const now = await record.read()
  const next = { ...now, onDemand: { env } }
  if (JSON.stringify(now.onDemand) === JSON.stringify(next.onDemand))
    return noted('service: no service manager here; commands start the daemon, up to date')
  const carried = Object.fromEntries(Object.entries(env).filter(([name]) => !USUAL.includes(name)))
  const step = {
    part: 'service' as const,
    says: [
      'let commands start the daemon, as there is no service manager here; it exits when idle',
      ...describeCarried(carried, 'daemon'),
    ],
    files: [{ path: recordPath(terminal), text: formatRecord(next) }],
    async run() {
      await record.change((now) => ({ ...now, onDemand: { env } }))
      return 'login, env, exec, get, setup and uninstall start the daemon if it is not running'
    },
  }
  return { steps: [step], notes: [] }
}

const USUAL = ['DBUS_SESSION_BUS_ADDRESS', 'HOME', 'LANG', 'PATH', 'USER', 'XDG_RUNTIME_DIR']

/**
 * What the daemon gets, whoever starts it: the variables of now. Those of the caller are not taken, since a directory may have set
 * them (`.envrc`).
 */
function daemonEnv({ env, home }: Terminal): Readonly<Record<string, string>> {
  const usual = USUAL.flatMap((name) => {
    const value = env[name]
    return value === undefined || value === '' ? [] : [[name, value] as const]
  })
  return {
    ...Object.fromEntries(usual),
    ...carriedEnv(env, (path) => resolve(path)),
    HOME: home,
    PATH: absoluteDirectories(env.PATH).join(':'),
  }
}
