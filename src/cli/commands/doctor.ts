/** `prefect-auth doctor`: named checks, each with its finding and what to do about it. */

import { existsSync } from 'node:fs'
import { join } from 'node:path'
import type { Command } from 'commander'
import { failureOf } from '../../client/failure.js'
import { socketCandidates } from '../../config/paths.js'
import { defined } from '../../std/defined.js'
import type { Doctor, Status } from '../../wire/status.js'
import { findCommand } from '../fast/child.js'
import { checkInstallation, checkPython } from '../installation.js'
import { openServiceManager, type ServiceLook } from '../service/service.js'
import { type CommonOptions, common, type Session, type Start } from '../session.js'
import { checkSocket } from '../socket-here.js'
import { findOtherFile, findStanding } from '../standing-here.js'
import { overridingVariables } from '../status-text.js'
import { counted, printable, wrap } from '../text.js'

type Check = Doctor['checks'][number]
type Finding = Omit<Check, 'name'>

const NOT_RUNNING = 4

export function addDoctor(program: Command, start: Start): void {
  common(program.command('doctor'))
    .description('check for problems; exit code 1 if there is one, 4 if the daemon is not running')
    .action((options: CommonOptions) =>
      start('doctor', options, async (session) => {
        const { isRunning, ...doctor } = await runDoctor(session)
        session.answer(doctor, () => describeDoctor(doctor, session))
        if (!isRunning) return NOT_RUNNING
        return doctor.checks.some(({ verdict }) => verdict === 'problem') ? 1 : 0
      }),
    )
}

/** All checks: those of this side, and the daemon's if it is running. */
export async function runDoctor(session: Session): Promise<Doctor & { readonly isRunning: boolean }> {
  const here = await checkHere(session)
  const inside = here.status === undefined ? [] : await checkInside(session, session.profile)
  return { checks: [...here.checks, ...inside], isRunning: here.status !== undefined }
}

/** The daemon's own checks, of the profile that was named; if there is none of that name, of the active one. */
async function checkInside(session: Session, named: string | undefined): Promise<readonly Check[]> {
  try {
    return (await session.client.doctor(defined({ profile: named }))).checks
  } catch (error) {
    const failure = failureOf(error)
    if (named === undefined || failure?.code !== 'profile_not_found') throw error
    const missing = {
      verdict: 'problem',
      finding: failure.detail,
      ...defined({ remedy: failure.hint }),
    } as const
    const checks = await checkInside(session, undefined)
    return checks.map((check) => (check.name === 'profile' ? { name: 'profile', ...missing } : check))
  }
}

function describeDoctor({ checks }: Doctor, { colors, width }: Pick<Session, 'colors' | 'width'>): string {
  const marks = {
    ok: colors.green,
    warning: colors.yellow,
    problem: colors.red,
    unknown: colors.yellow,
  } as const
  const column = Math.max(0, ...checks.map(({ name }) => printable(name).length))
  const lines = checks.flatMap(({ name, verdict, finding, remedy }) => {
    const found = wrap(printable(finding), { width, indent: column + 11 })
    const line = `${marks[verdict](verdict.padEnd(7))}  ${printable(name).padEnd(column)}  ${found}`
    if (remedy === undefined || verdict === 'ok') return [line]
    return [line, `${' '.repeat(column + 11)}${colors.bold(printable(remedy))}`]
  })
  return [...lines, '', summary(checks)].join('\n')
}

function summary(checks: Doctor['checks']): string {
  const count = (verdict: string) => checks.filter((check) => check.verdict === verdict).length
  const [problems, warnings, unknowns] = [count('problem'), count('warning'), count('unknown')]
  if (problems + warnings + unknowns === 0) return `All ${checks.length} checks passed.`
  return `${counted(problems, 'problem')}, ${counted(warnings, 'warning')}, ${unknowns} unknown.`
}

interface Here {
  /** `undefined` if the daemon does not respond. */
  readonly status: Status | undefined
  readonly checks: readonly Check[]
}

async function checkHere(session: Session): Promise<Here> {
  const { terminal } = session
  // Before any request: a request would start a daemon that is not running.
  const service = await lookAtService(session)
  const socket = await checkSocket(socketCandidates(terminal), terminal.uid)
  const asked = await ask(session)
  const env = terminal.env
  const checks: readonly [string, Finding][] = [
    ['daemon', asked.finding],
    ['socket', socket],
    ...(service === undefined ? [] : checkService(service, env)),
    ['session', checkSession(terminal.platform, env)],
    ['environment', checkEnvironment(asked.status, session.profile, env)],
    ['profile path', await checkProfilesPath(terminal, asked.status)],
    ['surroundings', checkSurroundings(terminal, asked.status, session.profile)],
    ['exec', checkExec(terminal.execve !== undefined, env.PATH)],
    ['installation', checkInstallation(terminal)],
    ['python', checkPython(terminal)],
  ]
  return { status: asked.status, checks: checks.map(([name, finding]) => ({ name, ...finding })) }
}

async function ask({ client, terminal }: Session): Promise<{ status: Status | undefined; finding: Finding }> {
  try {
    const status = await client.status()
    return { status, finding: checkVersion(status.daemon, terminal.version) }
  } catch (error) {
    const failure = failureOf(error)
    if (failure === undefined) throw error
    const finding = {
      verdict: 'problem' as const,
      finding: failure.detail.split('\n')[0] ?? failure.detail,
      // Without what is only said beside the command.
      remedy: failure.hint?.split('      ')[0] ?? '',
    }
    return { status: undefined, finding }
  }
}

function checkVersion({ version, pid }: Status['daemon'], ours: string): Finding {
  if (version === ours) return { verdict: 'ok', finding: `${version}, pid ${pid}` }
  return {
    verdict: 'warning',
    finding: `the daemon is version ${version}, this command is version ${ours}: the daemon that runs was started before an upgrade, or is another copy`,
    remedy: 'prefect-auth service install      (or restart prefect-authd)',
  }
}

/** `undefined` on systems whose service manager is not supported. */
async function lookAtService(session: Session): Promise<ServiceLook | undefined> {
  try {
    return await openServiceManager(session).look()
  } catch (error) {
    if (failureOf(error) === undefined) throw error
    return undefined
  }
}

type Env = Readonly<Record<string, string | undefined>>

function checkService(service: ServiceLook, env: Env): [string, Finding][] {
  const remedy = 'prefect-auth service install'
  const { state, problem, outdated = [], lingers } = service
  if (state === 'unreachable') {
    return [
      [
        'service',
        { verdict: 'unknown', finding: `no user service manager in this session: ${problem ?? ''}` },
      ],
    ]
  }
  if (state === 'not_installed') {
    return [['service', { verdict: 'warning', finding: 'not installed; nothing starts the daemon', remedy }]]
  }
  return [
    ['service', checkState(service, remedy)],
    [
      'units',
      outdated.length === 0
        ? { verdict: 'ok', finding: 'up to date' }
        : { verdict: 'warning', finding: `outdated: ${outdated.join(', ')}`, remedy },
    ],
    ...(lingers === undefined ? [] : [['linger', checkLinger(lingers, env)] satisfies [string, Finding]]),
  ]
}

function checkState({ state, problem, startsAtLogin, isWoken }: ServiceLook, remedy: string): Finding {
  if (state !== 'running' && state !== 'waiting') {
    return { verdict: 'problem', finding: `${state}${problem === undefined ? '' : `: ${problem}`}`, remedy }
  }
  const name = state === 'running' ? 'running' : 'asleep until this command started it'
  if (!startsAtLogin) return { verdict: 'warning', finding: `${name}, but does not start at login`, remedy }
  if (isWoken === false) {
    const finding = `${name}; prefect-authd.timer is stopped, so keys are not renewed while it is asleep`
    return { verdict: 'warning', finding, remedy: 'systemctl --user start prefect-authd.timer' }
  }
  return { verdict: 'ok', finding: `${name}, starts at login` }
}

function checkLinger(lingers: boolean, env: Env): Finding {
  if (lingers) return { verdict: 'ok', finding: 'on: the daemon keeps running after logout' }
  if (env.DISPLAY || env.WAYLAND_DISPLAY) {
    return { verdict: 'ok', finding: 'off: the daemon stops with the last logout' }
  }
  return {
    verdict: 'warning',
    finding: 'off: with your last logout the daemon stops, and jobs that keep running lose their credentials',
    remedy: 'sudo loginctl enable-linger "$USER"',
  }
}

function checkSession(platform: string, env: Env): Finding {
  if (platform !== 'linux') return { verdict: 'ok', finding: 'not applicable on this system' }
  const runtime = env.XDG_RUNTIME_DIR
  const hasBus = env.DBUS_SESSION_BUS_ADDRESS || (runtime && existsSync(join(runtime, 'bus')))
  if (hasBus) return { verdict: 'ok', finding: 'session bus found' }
  return {
    verdict: 'warning',
    finding: 'no session bus (ssh, su, cron, container): no keychain and no user services here',
    remedy: 'export XDG_RUNTIME_DIR=/run/user/$(id -u)      (or log in as this user: docs/ssh.md)',
  }
}

/** Variables of this shell override, for each plain `prefect`, what the daemon serves. */
function checkEnvironment(status: Status | undefined, named: string | undefined, env: Env): Finding {
  const profile = status?.profiles.find(({ name }) => name === (named ?? status.active))
  const names = overridingVariables(env, profile)
  if (names.length === 0) return { verdict: 'ok', finding: 'no variable in this shell overrides the profile' }
  return {
    verdict: 'warning',
    finding: `set in this shell and used by a plain prefect: ${names.join(', ')}`,
    remedy: `unset ${names.join(' ')}`,
  }
}

async function checkProfilesPath(
  terminal: Session['terminal'],
  status: Status | undefined,
): Promise<Finding> {
  const other = status === undefined ? undefined : await findOtherFile(terminal, status)
  if (other === undefined) return { verdict: 'ok', finding: 'this shell chooses no other profile file' }
  return { verdict: 'problem', finding: other.text, ...defined({ remedy: other.hint }) }
}

function checkSurroundings(
  terminal: Session['terminal'],
  status: Status | undefined,
  named: string | undefined,
): Finding {
  const profile = status?.profiles.find(({ name }) => name === (named ?? status.active))
  const found = findStanding(terminal, profile)
  if (found.length === 0) return { verdict: 'ok', finding: 'nothing in this directory names an API' }
  const remedy = found.find(({ hint }) => hint !== undefined)?.hint
  return { verdict: 'warning', finding: found.map(({ text }) => text).join('; '), ...defined({ remedy }) }
}

function checkExec(canReplace: boolean, path: string | undefined): Finding {
  const curl = findCommand('curl', path)
  if (curl.kind === 'found' || canReplace) return { verdict: 'ok', finding: 'exec leaves no process behind' }
  return {
    verdict: 'warning',
    finding: 'without curl and before Node 22.15, exec keeps running beside every job it starts',
    remedy: 'install curl',
  }
}
