/** Pure: where the service of this user stands, on both systems. */
import { isAbsolute, join } from 'node:path'
import { resolvePaths, type Surroundings } from '../../config/paths.js'

export const LABEL = 'io.github.prefect-auth-broker'
export const SERVICE = 'prefect-authd.service'
export const SOCKET = 'prefect-authd.socket'
export const TCP_SOCKET = 'prefect-authd-tcp.socket'
export const TIMER = 'prefect-authd.timer'
export const WAKE = 'prefect-authd-wake.service'
export const UNITS = [SERVICE, SOCKET, TCP_SOCKET, TIMER, WAKE] as const

export interface ServicePlaces {
  /** Holds the units, or the agent. */
  readonly unitDir: string
  /** What the units start: a script that finds Node and the package. */
  readonly launcher: string
  readonly stateDir: string
  readonly profilesFile: string
  readonly socket: string
}

export function resolveServicePlaces(around: Surroundings): ServicePlaces {
  const { stateDir, profilesFile, socket } = resolvePaths(around)
  const rest = { stateDir, profilesFile, socket }
  if (around.platform === 'darwin') {
    const library = join(around.home, 'Library')
    return {
      unitDir: join(library, 'LaunchAgents'),
      launcher: join(library, 'Application Support', 'prefect-auth-broker', 'start-daemon'),
      ...rest,
    }
  }
  return {
    unitDir: join(base(around, 'XDG_CONFIG_HOME', '.config'), 'systemd', 'user'),
    launcher: join(base(around, 'XDG_DATA_HOME', '.local/share'), 'prefect-auth-broker', 'start-daemon'),
    ...rest,
  }
}

/** The XDG specification: a relative path counts as none. */
function base({ env, home }: Surroundings, variable: string, fallback: string): string {
  const value = env[variable]
  return value !== undefined && isAbsolute(value) ? value : join(home, fallback)
}
