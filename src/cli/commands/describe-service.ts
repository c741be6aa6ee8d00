/** Pure: the service in words. */
import type { Colors } from '../context.js'
import { printable } from '../printable.js'
import type { ServiceFile } from '../service/files.js'
import type { Installation, ServiceLook } from '../service/service.js'

export function describePlan(files: readonly ServiceFile[]): string {
  return files.map(({ path, text }) => `# ${printable(path)}\n${text.trimEnd()}\n`).join('\n')
}

export function describeInstallation(installation: Installation, colors: Colors): string {
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

export function describeRemoval(removed: readonly string[]): string {
  if (removed.length === 0) return 'There was no service.'
  return ['Removed:', ...indent(removed), 'Keys, settings and state are as they were.'].join('\n')
}

/** The truth in one line. */
export function describeState({
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
