/** `prefect-auth service`: start at login, and on the first request, by the system's own manager. */
import type { Command } from 'commander'
import type { ServiceFile } from '../service/files.js'
import { type Installation, openServiceManager, type ServiceLook } from '../service/service.js'
import { type Colors, type CommonOptions, type Session, type Start, withJson } from '../session.js'
import { printable } from '../text.js'

interface PrintOptions extends CommonOptions {
  readonly print?: boolean
}

export function addService(program: Command, start: Start): void {
  const service = program.command('service').description('start at login: systemd user units, launchd agent')
  withJson(service.command('install'))
    .description('set it up, or bring it up to date; starts the daemon and waits until it answers')
    .option('--print', 'show what would be written, and write nothing')
    .action((options: PrintOptions) =>
      start('service install', options, (session) => install(session, options.print === true)),
    )
  withJson(service.command('uninstall'))
    .description('take it away; keys, settings and state stay')
    .action((options: CommonOptions) =>
      start('service uninstall', options, async (session) => {
        const removed = await openServiceManager(session).uninstall()
        session.answer({ removed }, () => describeRemoval(removed))
      }),
    )
  withJson(service.command('status'))
    .description('one line; exit code 0 where requests are answered, 4 where not')
    .action((options: CommonOptions) => start('service status', options, showState))
}

async function install(session: Session, isPrintOnly: boolean): Promise<void> {
  const manager = openServiceManager(session)
  if (isPrintOnly) {
    const files = await manager.plan()
    return session.answer({ files }, () => describePlan(files))
  }
  const installation = await manager.install()
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
  const files = written.length === 0 ? ['Nothing had to be written.'] : ['Written:', ...indent(written)]
  const linger =
    lingers === false
      ? ['It stops when you log out for the last time; on a server: sudo loginctl enable-linger "$USER"']
      : []
  return [
    ...files,
    colors.green(`prefect-authd ${printable(version)} (pid ${pid}) answers on ${printable(socket)}.`),
    `It is a ${manager}, and starts at login.`,
    ...linger,
    ...notices.map((notice) => `${colors.yellow('!')} ${printable(notice)}`),
    `The log: ${logs.join('      or: ')}`,
  ].join('\n')
}

function describeRemoval(removed: readonly string[]): string {
  if (removed.length === 0) return 'There was no service.'
  return ['Removed:', ...indent(removed), 'Keys, settings and state are as they were.'].join('\n')
}

/** The truth in one line. */
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
      ? ['not woken to renew keys: systemctl --user start prefect-authd.timer']
      : []),
    ...(tcp === 'failed' ? ['without TCP'] : []),
    ...(lingers === undefined ? [] : [lingers ? 'stays after logout' : 'ends with the last logout']),
    ...(outdated === undefined || outdated.length === 0
      ? []
      : ['of another version or place: prefect-auth service install']),
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
      return `asleep as a ${manager}: comes back with the next request`
    case 'stopped':
      return `stopped${why}: prefect-auth service install`
    case 'failed':
      return `failed${why}: prefect-auth logs, then prefect-auth service install`
    case 'unreachable':
      return `unknown: this session has no manager of user services${why}`
  }
}

function indent(lines: readonly string[]): readonly string[] {
  return lines.map((line) => `  ${printable(line)}`)
}
