/** What the doctor sees from outside the daemon: on this machine, in this session, in this shell. */
import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { failureOf } from '../../client/failure.js'
import { socketCandidates } from '../../config/paths.js'
import type { Status } from '../../wire/status.js'
import type { Session } from '../context.js'
import { findCommand } from '../fast/child.js'
import { openServiceManager, type ServiceLook } from '../service/service.js'
import { checkSocket } from './check-socket.js'
import type { Check, Finding } from './finding.js'

export interface Here {
  /** `undefined` where the daemon does not answer. */
  readonly status: Status | undefined
  readonly checks: readonly Check[]
}

export async function checkHere(session: Session): Promise<Here> {
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
