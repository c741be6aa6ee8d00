/** `prefect-auth service`: has the system start the daemon at login and on the first request. */
import type { Command } from 'commander'
import { scrub } from '../../../std/text.js'
import { askYes } from '../../ask.js'
import { cancelled } from '../../failure.js'
import type { ServiceFile } from '../../service/files.js'
import {
  type CarriedEnv,
  type Installation,
  openServiceManager,
  type ServiceLook,
} from '../../service/service.js'
import { type Colors, type CommonOptions, type Session, type Start, withJson } from '../../session.js'
import { printable } from '../../text.js'

interface PrintOptions extends CommonOptions {
  readonly print?: boolean
  readonly yes?: boolean
}

export function addService(program: Command, start: Start): void {
  const service = program
    .command('service')
    .description('start at login (systemd user service or launchd agent)')
  withJson(service.command('install'))
    .description('install or update the service, start the daemon and wait until it responds')
    .option('--print', 'print what would be written, and change nothing')
    .option('-y, --yes', 'do not ask whether to take over the variables of this shell')
    .action((options: PrintOptions) =>
      start('service install', options, (session) =>
        install(session, options.print === true, options.yes === true),
      ),
    )
  withJson(service.command('uninstall'))
    .description('remove the service; keys, settings and state are kept')
    .action((options: CommonOptions) =>
      start('service uninstall', options, async (session) => {
        const removed = await openServiceManager(session).uninstall()
        session.answer({ removed }, () => describeRemoval(removed))
      }),
    )
  withJson(service.command('status'))
    .description('print one line; exit code 0 if the daemon serves requests, 4 if not')
    .action((options: CommonOptions) => start('service status', options, showState))
}

/**
 * A proxy, certificates or addresses that a cloned repository's `.envrc` set in this shell would be the service's for good:
 * each is named before it is written.
 */
export function describeCarried(
  env: CarriedEnv,
  getter: 'service' | 'daemon' = 'service',
): readonly string[] {
  const pairs = Object.entries(env)
  if (pairs.length === 0) return []
  return [
    getter === 'service'
      ? 'From your environment the service gets, until it is installed again:'
      : 'From your environment the daemon gets, until setup runs again:',
    ...pairs.map(([name, value]) => `  ${name}=${printable(scrub(value))}`),
  ]
}

async function install(session: Session, isPrintOnly: boolean, isAgreed: boolean): Promise<void> {
  const manager = openServiceManager(session)
  if (isPrintOnly) {
    const { files, env } = await manager.plan()
    for (const line of describeCarried(env)) session.say(line)
    return session.answer({ files }, () => describePlan(files))
  }
  const installation = await manager.install(async (env) => {
    const lines = describeCarried(env)
    for (const line of lines) session.say(line)
    if (lines.length === 0 || isAgreed || !session.isInteractive) return
    if (!(await askYes(session, 'Install the service with them?'))) throw cancelled()
  })
  session.answer(installation, () => describeInstallation(installation, session.colors))
}

async function showState(session: Session): Promise<number> {
  const state = await openServiceManager(session).look()
  session.answer(state, () => describeState(state))
  return state.state === 'running' || state.state === 'waiting' ? 0 : 4
}

function describePlan(files: readonly ServiceFile[]): string {
  return files.map(({ path, text }) => `# ${printable(path)}\n${text.trimEnd()}\n`).join('\n')
}

function describeInstallation(installation: Installation, colors: Colors): string {
  const { manager, written, socket, version, pid, lingers, notices, logs } = installation
  const files = written.length === 0 ? ['All files are up to date.'] : ['Written:', ...indent(written)]
  const linger =
    lingers === false
      ? ['It stops with your last logout; to keep it running: sudo loginctl enable-linger "$USER"']
      : []
  return [
    ...files,
    colors.green(`prefect-authd ${printable(version)} (pid ${pid}) is listening on ${printable(socket)}.`),
    `It runs as a ${manager} and starts at login.`,
    ...linger,
    ...notices.map((notice) => `${colors.yellow('!')} ${printable(notice)}`),
    `Log: ${logs.join('      or: ')}`,
  ].join('\n')
}

function describeRemoval(removed: readonly string[]): string {
  if (removed.length === 0) return 'No service was installed.'
  return ['Removed:', ...indent(removed), 'Keys, settings and state are unchanged.'].join('\n')
}

function describeState({
  manager,
  state,
  pid,
  startsAtLogin,
  lingers,
  isWoken,
  tcp,
  problem,
  outdated,
}: ServiceLook) {
  const parts = [
    headline(manager, state, pid, problem),
    ...(state === 'not_installed' || state === 'unreachable'
      ? []
      : [startsAtLogin ? 'starts at login' : 'does not start at login']),
    ...(state === 'waiting' && isWoken === false
      ? ['keys are not renewed while it is asleep: systemctl --user start prefect-authd.timer']
      : []),
    ...(tcp === 'failed' ? ['without TCP'] : []),
    ...(lingers === undefined ? [] : [lingers ? 'keeps running after logout' : 'stops with the last logout']),
    ...(outdated === undefined || outdated.length === 0 ? [] : ['out of date: prefect-auth service install']),
  ]
  return parts.join(', ')
}

function headline(
  manager: string,
  state: ServiceLook['state'],
  pid: number | undefined,
  problem: string | undefined,
): string {
  const why = problem === undefined || problem === '' ? '' : ` (${printable(problem)})`
  switch (state) {
    case 'not_installed':
      return 'not installed: prefect-auth service install'
    case 'running':
      return `running as a ${manager} (pid ${pid ?? 'unknown'})`
    case 'waiting':
      return `asleep as a ${manager}: the next request starts it`
    case 'stopped':
      return `stopped${why}: prefect-auth service install`
    case 'failed':
      return `failed${why}: prefect-auth logs, then prefect-auth service install`
    case 'unreachable':
      return `unknown: no user service manager in this session${why}`
  }
}

function indent(lines: readonly string[]): readonly string[] {
  return lines.map((line) => `  ${printable(line)}`)
}
