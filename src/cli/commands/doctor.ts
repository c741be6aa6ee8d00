/** `prefect-auth doctor`: named checks, each with what it found and what helps. */

import { createHash } from 'node:crypto'
import { existsSync, type Stats } from 'node:fs'
import { lstat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { Command } from 'commander'
import { failureOf } from '../../client/failure.js'
import { socketCandidates } from '../../config/paths.js'
import { isSocketAlive } from '../../os/sockets.js'
import type { Doctor, Status } from '../../wire/status.js'
import { findCommand } from '../fast/child.js'
import { openServiceManager, type ServiceLook } from '../service/service.js'
import { type Colors, type CommonOptions, common, type Session, type Start } from '../session.js'
import { printable, shellWord } from '../text.js'

type Check = Doctor['checks'][number]
type Finding = Omit<Check, 'name'>

const NOT_RUNNING = 4

export function addDoctor(program: Command, start: Start): void {
  common(program.command('doctor'))
    .description('look for what is wrong; exit code 1 if there is a problem, 4 if the daemon is not running')
    .action((options: CommonOptions) =>
      start('doctor', options, async (session) => {
        const here = await checkHere(session)
        const inside = here.status === undefined ? [] : (await session.client.doctor()).checks
        const doctor = { checks: [...here.checks, ...inside] }
        session.answer(doctor, () => describeDoctor(doctor, session.colors))
        if (here.status === undefined) return NOT_RUNNING
        return doctor.checks.some(({ verdict }) => verdict === 'problem') ? 1 : 0
      }),
    )
}

function describeDoctor({ checks }: Doctor, colors: Colors): string {
  const marks = {
    ok: colors.green,
    warning: colors.yellow,
    problem: colors.red,
    unknown: colors.yellow,
  } as const
  const width = Math.max(0, ...checks.map(({ name }) => printable(name).length))
  const lines = checks.flatMap(({ name, verdict, finding, remedy }) => {
    const line = `${marks[verdict](verdict.padEnd(7))}  ${printable(name).padEnd(width)}  ${printable(finding)}`
    if (remedy === undefined || verdict === 'ok') return [line]
    return [line, `${' '.repeat(width + 11)}${colors.bold(printable(remedy))}`]
  })
  return [...lines, '', summary(checks)].join('\n')
}

function summary(checks: Doctor['checks']): string {
  const count = (verdict: string) => checks.filter((check) => check.verdict === verdict).length
  const [problems, warnings, unknowns] = [count('problem'), count('warning'), count('unknown')]
  if (problems + warnings + unknowns === 0) return `All ${checks.length} checks are good.`
  return `${plural(problems, 'problem')}, ${plural(warnings, 'warning')}, ${unknowns} unknown.`
}

function plural(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`
}

interface Here {
  /** `undefined` where the daemon does not answer. */
  readonly status: Status | undefined
  readonly checks: readonly Check[]
}

async function checkHere(session: Session): Promise<Here> {
  const { terminal } = session
  // Before anything is asked of it: a request would start what is not running.
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
    ['exec', await checkExec(terminal.execve !== undefined, env.PATH)],
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
      remedy: failure.kind === 'not_running' ? 'prefect-auth service install' : (failure.hint ?? ''),
    }
    return { status: undefined, finding }
  }
}

function checkVersion({ version, pid }: Status['daemon'], ours: string): Finding {
  if (version === ours) return { verdict: 'ok', finding: `${version}, pid ${pid}` }
  return {
    verdict: 'warning',
    finding: `the daemon is version ${version}, this command is ${ours}`,
    remedy: 'prefect-auth service install      (or start prefect-authd anew)',
  }
}

/** `undefined` on systems without a manager that we know. */
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
      ['service', { verdict: 'unknown', finding: `no manager of user services here: ${problem ?? ''}` }],
    ]
  }
  if (state === 'not_installed') {
    return [['service', { verdict: 'warning', finding: 'not installed: nothing starts the daemon', remedy }]]
  }
  return [
    ['service', checkState(service, remedy)],
    [
      'units',
      outdated.length === 0
        ? { verdict: 'ok', finding: 'what this version would write' }
        : { verdict: 'warning', finding: `outdated: ${outdated.join(', ')}`, remedy },
    ],
    ...(lingers === undefined ? [] : [['linger', checkLinger(lingers, env)] satisfies [string, Finding]]),
  ]
}

function checkState({ state, problem, startsAtLogin, isWoken }: ServiceLook, remedy: string): Finding {
  if (state !== 'running' && state !== 'waiting') {
    return { verdict: 'problem', finding: `${state}${problem === undefined ? '' : `: ${problem}`}`, remedy }
  }
  const name = state === 'running' ? 'running' : 'it was asleep until this command asked'
  if (!startsAtLogin) return { verdict: 'warning', finding: `${name}, but not started at login`, remedy }
  if (isWoken === false) {
    const finding = `${name}; prefect-authd.timer does not run, and would not wake it to renew keys`
    return { verdict: 'warning', finding, remedy: 'systemctl --user start prefect-authd.timer' }
  }
  return { verdict: 'ok', finding: `${name}, started at login` }
}

function checkLinger(lingers: boolean, env: Env): Finding {
  if (lingers) return { verdict: 'ok', finding: 'on: the daemon stays after logout' }
  if (env.DISPLAY || env.WAYLAND_DISPLAY) {
    return { verdict: 'ok', finding: 'off: the daemon ends with the last logout' }
  }
  return {
    verdict: 'warning',
    finding: 'off: the daemon, and the service of jobs that outlive the login, end with the last logout',
    remedy: 'sudo loginctl enable-linger "$USER"',
  }
}

function checkSession(platform: string, env: Env): Finding {
  if (platform !== 'linux') return { verdict: 'ok', finding: 'nothing to look at on this system' }
  const runtime = env.XDG_RUNTIME_DIR
  const hasBus = env.DBUS_SESSION_BUS_ADDRESS || (runtime && existsSync(join(runtime, 'bus')))
  if (hasBus) return { verdict: 'ok', finding: 'there is a session bus' }
  return {
    verdict: 'warning',
    finding: 'no session bus (ssh, su, cron, a container): no keychain and no user services from here',
    remedy: 'export XDG_RUNTIME_DIR=/run/user/$(id -u)      (or log in as this user: docs/ssh.md)',
  }
}

/** What stands in this shell overrides what the daemon says, for every plain `prefect`. */
function checkEnvironment(status: Status | undefined, named: string | undefined, env: Env): Finding {
  const profile = status?.profiles.find(({ name }) => name === (named ?? status.active))
  const isKey = (key: string) =>
    `sha256:${createHash('sha256').update(key).digest('hex').slice(0, 12)}` === profile?.key?.fingerprint
  const names = [
    ...(env.PREFECT_API_URL && env.PREFECT_API_URL !== profile?.api_url ? ['PREFECT_API_URL'] : []),
    ...(env.PREFECT_API_KEY && !isKey(env.PREFECT_API_KEY) ? ['PREFECT_API_KEY'] : []),
  ]
  if (names.length === 0) return { verdict: 'ok', finding: 'this shell says nothing else' }
  return {
    verdict: 'warning',
    finding: `set in this shell, and used by a plain prefect: ${names.join(', ')}`,
    remedy: `unset ${names.join(' ')}`,
  }
}

async function checkExec(canReplace: boolean, path: string | undefined): Promise<Finding> {
  const curl = await findCommand('curl', path)
  if (curl.kind === 'found' || canReplace) return { verdict: 'ok', finding: 'exec leaves no process behind' }
  return {
    verdict: 'warning',
    finding: 'without curl, and on a Node before 22.15, exec stays beside every job it starts',
    remedy: 'install curl',
  }
}

/** The first of `candidates` that is there decides, as it does for every client. */
export async function checkSocket(candidates: readonly string[], uid: number | undefined): Promise<Finding> {
  for (const path of candidates) {
    const facts = await lstat(path).catch(() => undefined)
    if (facts !== undefined) return judge(path, facts, uid)
  }
  return {
    verdict: 'problem',
    finding: `no socket at ${candidates.join(', nor at ')}`,
    remedy: 'prefect-auth service install      (or, in the foreground: prefect-authd)',
  }
}

async function judge(path: string, facts: Stats, uid: number | undefined): Promise<Finding> {
  const name = shellWord(path)
  if (!facts.isSocket()) {
    return { verdict: 'problem', finding: `${path} is not a socket`, remedy: `mv ${name} ${name}.old` }
  }
  if (uid !== undefined && facts.uid !== uid) {
    return {
      verdict: 'problem',
      finding: `${path} belongs to user ${facts.uid}, we are user ${uid}: it is not used`,
      remedy: 'point PREFECT_AUTH_SOCKET at your own, or run the command as that user',
    }
  }
  const place = dirname(path)
  const directory = await lstat(place).catch(() => undefined)
  if (directory !== undefined && (directory.mode & 0o077) !== 0) {
    const mode = (directory.mode & 0o777).toString(8)
    return {
      verdict: 'problem',
      finding: `${place} has mode ${mode}, others can reach the socket`,
      remedy: `chmod 700 ${shellWord(place)}`,
    }
  }
  if (!(await isSocketAlive(path))) {
    return {
      verdict: 'problem',
      finding: `nobody listens on ${path} (left over)`,
      remedy: 'prefect-auth service install      (or, in the foreground: prefect-authd)',
    }
  }
  if ((facts.mode & 0o077) === 0) return { verdict: 'ok', finding: path }
  const mode = (facts.mode & 0o777).toString(8)
  return {
    verdict: 'warning',
    finding: `${path} has mode ${mode}; only its directory keeps others out`,
    remedy: `chmod 600 ${name}`,
  }
}
