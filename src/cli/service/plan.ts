/** Pure: the files of the service, from facts and templates. */
import { basename, dirname, isAbsolute, join } from 'node:path'
import { resolvePaths, type Surroundings } from '../../config/paths.js'
import type { ServiceFile } from './files.js'
import {
  fillTemplate,
  type LauncherFacts,
  renderLauncher,
  unitItem,
  unitLine,
  unitWord,
  xmlText,
} from './templates.js'

export const LABEL = 'io.github.prefect-auth-broker'
export const SERVICE = 'prefect-authd.service'
export const SOCKET = 'prefect-authd.socket'
export const TCP_SOCKET = 'prefect-authd-tcp.socket'
export const TIMER = 'prefect-authd.timer'
const WAKE = 'prefect-authd-wake.service'
export const UNITS = [SERVICE, SOCKET, TCP_SOCKET, TIMER, WAKE] as const

interface ServicePlaces {
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

export interface ServiceFacts {
  readonly places: ServicePlaces
  readonly launch: LauncherFacts
  /** What the service has to know of the caller's environment. */
  readonly env: Readonly<Record<string, string>>
  readonly port: number | 'off'
  /** Besides the state directory: where the daemon writes. */
  readonly writable: readonly string[]
  /** Whether the system lets user units have namespaces of their own. */
  readonly hasNamespaces: boolean
}

/** The text of a template of the package, by its file name. */
export type Template = (name: string) => string

export function planSystemd(facts: ServiceFacts, template: Template): readonly ServiceFile[] {
  const { places, port } = facts
  const names = [SERVICE, SOCKET, ...(port === 'off' ? [] : [TCP_SOCKET]), TIMER, WAKE]
  const values = systemdValues(facts)
  return [
    launcherFile(facts),
    ...names.map((name) => {
      const text = name === SERVICE ? namespaces(template(name), facts.hasNamespaces) : template(name)
      // The environment may hold a proxy's password.
      return { path: join(places.unitDir, name), text: fillTemplate(text, values), mode: 0o600 }
    }),
  ]
}

export function planLaunchd(facts: ServiceFacts, template: Template): readonly ServiceFile[] {
  const { places, env } = facts
  // Told by the agent itself that launchd started it, the daemon counts failures: launchd does not.
  const pairs = Object.entries({ PREFECT_AUTHD_STARTED_BY: 'launchd', ...env }).map(
    ([name, value]) => `\n    <key>${xmlText(name)}</key>\n    <string>${xmlText(value)}</string>`,
  )
  const values = {
    LAUNCHER: xmlText(places.launcher),
    LOG: xmlText(join(places.stateDir, 'authd.log')),
    ENVIRONMENT: `${pairs.join('')}\n  `,
  }
  const name = `${LABEL}.plist`
  return [
    launcherFile(facts),
    { path: join(places.unitDir, name), text: fillTemplate(template(name), values), mode: 0o600 },
  ]
}

function launcherFile({ places, launch }: ServiceFacts): ServiceFile {
  return { path: places.launcher, text: renderLauncher(launch), mode: 0o700 }
}

function systemdValues({ places, env, port, writable }: ServiceFacts): Readonly<Record<string, string>> {
  const directories = [places.stateDir, ...writable]
  // Where the caller named no place of its own, both sides ask the system for it.
  const hasOwn = env.PREFECT_AUTH_SOCKET !== undefined
  const socketDir = hasOwn ? unitItem(dirname(places.socket)) : '%t/prefect-auth'
  return {
    LAUNCHER: unitWord(places.launcher),
    SOCKET: hasOwn ? unitLine(places.socket) : `%t/prefect-auth/${basename(places.socket)}`,
    PORT: String(port),
    DIRECTORIES: directories.map(unitWord).join(' '),
    WRITABLE: [...directories.map((path) => unitItem(`-${path}`)), `-${socketDir}`].join(' '),
    ENVIRONMENT: Object.entries(env)
      .map(([name, value]) => `Environment=${unitItem(`${name}=${value}`)}`)
      .join('\n'),
  }
}

/** Keeps or drops what stands between the two marks; the marks themselves go. */
function namespaces(template: string, isKept: boolean): string {
  return template.replace(/^#\[namespaces\]\n([\s\S]*?)^#\[\/namespaces\]\n/m, (_whole, inside: string) =>
    isKept
      ? inside
      : '# This system refuses user namespaces to units of users: what needs them is left out.\n',
  )
}
