/** Asks systemd how our units are. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import type { RunTool } from './manager.js'
import { SERVICE, SOCKET, TCP_SOCKET, TIMER } from './places.js'
import type { ServiceState } from './service-manager.js'

const PROPERTIES = 'Id,LoadState,ActiveState,UnitFileState,MainPID,Result'

export async function readSystemdState(
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
  return {
    ...judge(service ?? {}, socket ?? {}),
    isWoken: timer?.ActiveState === 'active',
    ...(pid > 0 ? { pid } : {}),
    startsAtLogin: service?.UnitFileState === 'enabled' && socket?.UnitFileState === 'enabled',
    ...(lingers === undefined ? {} : { lingers }),
    ...(hasTcp ? { tcp: tcp?.ActiveState === 'active' ? ('active' as const) : ('failed' as const) } : {}),
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

/** Blocks of `Name=value`, one per unit, with an empty line between. */
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

/** Whether this user's manager goes on after the last logout. */
export async function readLinger(run: RunTool, uid: number | undefined): Promise<boolean | undefined> {
  if (uid === undefined) return undefined
  const { isDone, stdout } = await run('loginctl', 'show-user', String(uid), '-p', 'Linger', '--value')
  if (isDone && (stdout === 'yes' || stdout === 'no')) return stdout === 'yes'
  return undefined
}
