/** The service as systemd user units: socket-activated and started at login. */

import { existsSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { failWith } from '../../client/failure.js'
import { defined } from '../../std/defined.js'
import { findOutdated, removeFiles, writeFiles } from './files.js'
import type { ManagerParts, RunTool, ServiceManager, ServiceState } from './manager.js'
import {
  CALLERS_SOCKET,
  PEERS_SOCKET,
  planSystemd,
  resolveServicePlaces,
  SERVICE,
  type ServiceFacts,
  type ServicePlaces,
  SOCKET,
  TCP_SOCKET,
  TIMER,
  UNIT_FILES,
  UNITS,
} from './plan.js'

export function createSystemd({ run, template, around }: ManagerParts): ServiceManager {
  const places = resolveServicePlaces(around)
  const state = () => readSystemdState(run, places.unitDir, around.uid)
  const plan = (facts: ServiceFacts) => planSystemd(facts, template)
  return {
    name: 'systemd user service',
    log: 'journalctl --user -u prefect-authd -f',
    plan,
    state,
    async install(facts, isStale) {
      const before = await state()
      if (before.state === 'unreachable') failWith(noManager(before.problem ?? ''))
      const files = plan(facts)
      const written = await findOutdated(files)
      await writeFiles(written)
      const isClosed = !files.some(({ path }) => path === places.dropIn) && (await dropDropIn(places))
      const isTcpDropped = facts.port === 'off' && (await dropTcp(run, places.unitDir))
      await must(run, 'daemon-reload')
      await systemctl(run, 'reset-failed', ...UNITS)
      const sockets = [SOCKET, CALLERS_SOCKET, PEERS_SOCKET, ...(facts.port === 'off' ? [] : [TCP_SOCKET])]
      await must(run, 'enable', '--quiet', ...sockets, SERVICE)
      const isNewUnit = (...names: readonly string[]) =>
        written.some(({ path }) => names.includes(basename(path)))
      const hasNewSockets = isNewUnit(SOCKET, TCP_SOCKET) || before.tcp === 'failed'
      if (hasNewSockets || before.state === 'stopped' || before.state === 'failed') {
        await systemctl(run, 'stop', SOCKET, TCP_SOCKET, SERVICE)
      }
      await must(run, 'start', SOCKET)
      // Without them callers are unknown, so that none may answer a question; nothing else is lost.
      for (const helper of [CALLERS_SOCKET, PEERS_SOCKET])
        await systemctl(run, isNewUnit(helper) ? 'restart' : 'start', helper)
      // A port in use costs only TCP: the daemon reports who has it.
      if (facts.port !== 'off') await systemctl(run, 'start', TCP_SOCKET)
      await systemctl(run, isNewUnit(TIMER) ? 'restart' : 'start', TIMER)
      const isNew = written.length > 0 || isClosed || isTcpDropped || isStale
      await must(run, isNew ? 'restart' : 'start', SERVICE)
      return written
    },
    async uninstall() {
      await systemctl(run, 'disable', '--quiet', SOCKET, TCP_SOCKET, CALLERS_SOCKET, PEERS_SOCKET, SERVICE)
      await systemctl(run, 'stop', ...UNITS)
      const removed = await removeUnits(places)
      await systemctl(run, 'daemon-reload')
      await systemctl(run, 'reset-failed', ...UNITS)
      return removed
    },
  }
}

function noManager(problem: string) {
  return {
    code: 'service_manager_missing',
    kind: 'unavailable',
    detail: `this session has no systemd user manager: ${problem}`,
    hint: 'log in as this user over ssh or at the desktop, or: sudo loginctl enable-linger "$USER"      (containers, WSL: docs/service.md)',
  } as const
}

function systemctl(run: RunTool, ...args: readonly string[]) {
  return run('systemctl', '--user', ...args)
}

export async function must(run: RunTool, ...args: readonly string[]): Promise<void> {
  const { isDone, complaint } = await systemctl(run, ...args)
  if (isDone) return
  failWith({
    code: 'service_failed',
    kind: 'unavailable',
    detail: `systemctl --user ${args.join(' ')} failed: ${complaint}`,
    hint: 'systemctl --user status prefect-authd.service prefect-authd.socket',
  })
}

/** Removes what kept files needed; resolves with whether it existed. */
export async function dropDropIn({ dropIn }: Pick<ServicePlaces, 'dropIn'>): Promise<boolean> {
  return (await removeFiles([dropIn], [dirname(dropIn)])).length > 0
}

/** Removes the TCP socket unit; resolves with whether it existed. */
async function dropTcp(run: RunTool, unitDir: string): Promise<boolean> {
  const unit = join(unitDir, TCP_SOCKET)
  if (!existsSync(unit)) return false
  await systemctl(run, 'disable', '--quiet', '--now', TCP_SOCKET)
  await removeFiles([unit], [])
  return true
}

/** Removes the units with their links, timer stamp and empty directories: without a manager nothing else does. */
async function removeUnits(places: ServicePlaces): Promise<readonly string[]> {
  const { unitDir, dropIn, launcher, stateDir, profilesFile } = places
  const wants = ['sockets.target.wants', 'default.target.wants'].map((name) => join(unitDir, name))
  const links = wants.flatMap((directory) => UNIT_FILES.map((unit) => join(directory, unit)))
  const timers = join(dirname(launcher), '..', 'systemd', 'timers')
  await removeFiles([...links, join(timers, `stamp-${TIMER}`)], [...wants, timers, dirname(timers)])
  const files = [...UNIT_FILES.map((unit) => join(unitDir, unit)), dropIn, launcher]
  const directories = [
    dirname(launcher),
    dirname(dropIn),
    unitDir,
    dirname(unitDir),
    stateDir,
    dirname(profilesFile),
  ]
  return removeFiles(files, directories)
}

const PROPERTIES = 'Id,LoadState,ActiveState,UnitFileState,MainPID,Result'

async function readSystemdState(
  run: RunTool,
  unitDir: string,
  uid: number | undefined,
): Promise<ServiceState> {
  const isThere = existsSync(join(unitDir, SERVICE))
  const units = [SERVICE, SOCKET, TCP_SOCKET, TIMER]
  const shown = await run('systemctl', '--user', 'show', ...units, '-p', PROPERTIES)
  if (!shown.isDone) return { state: 'unreachable', startsAtLogin: false, problem: shown.complaint }
  if (!isThere) return { state: 'not_installed', startsAtLogin: false }
  const known = parseShown(shown.stdout)
  const [service, socket, tcp, timer] = units.map((id) => known.get(id) ?? {})
  const lingers = await readLinger(run, uid)
  const pid = Number(service?.MainPID ?? 0)
  const hasTcp = tcp?.LoadState === 'loaded' && existsSync(join(unitDir, TCP_SOCKET))
  const tcpState = tcp?.ActiveState === 'active' ? ('active' as const) : ('failed' as const)
  return {
    ...judge(service ?? {}, socket ?? {}),
    isWoken: timer?.ActiveState === 'active',
    ...defined({ pid: pid > 0 ? pid : undefined }),
    startsAtLogin: service?.UnitFileState === 'enabled' && socket?.UnitFileState === 'enabled',
    ...defined({ lingers, tcp: hasTcp ? tcpState : undefined }),
  }
}

type Unit = Readonly<Record<string, string>>

function judge(service: Unit, socket: Unit): Pick<ServiceState, 'state' | 'problem'> {
  if (service.ActiveState === 'active' || service.ActiveState === 'reloading') return { state: 'running' }
  const failed = [service, socket].find((unit) => unit.ActiveState === 'failed')
  if (failed !== undefined) {
    return { state: 'failed', problem: `${failed.Id ?? ''} failed (${failed.Result ?? 'no reason given'})` }
  }
  return { state: socket.ActiveState === 'active' ? 'waiting' : 'stopped' }
}

/** Parses the output of `systemctl show`: blocks of `Name=value`, one per unit, separated by empty lines. */
export function parseShown(text: string): ReadonlyMap<string, Unit> {
  const blocks = text.split(/\n\n+/).map((block) =>
    Object.fromEntries(
      block.split('\n').map((line): [string, string] => {
        const at = line.indexOf('=')
        return [line.slice(0, at), line.slice(at + 1)]
      }),
    ),
  )
  return new Map(blocks.map((unit) => [unit.Id ?? '', unit]))
}

/** Whether this user's manager keeps running after the last logout; `undefined` if unknown. */
async function readLinger(run: RunTool, uid: number | undefined): Promise<boolean | undefined> {
  if (uid === undefined) return undefined
  const { isDone, stdout } = await run('loginctl', 'show-user', String(uid), '-p', 'Linger', '--value')
  if (isDone && (stdout === 'yes' || stdout === 'no')) return stdout === 'yes'
  return undefined
}
