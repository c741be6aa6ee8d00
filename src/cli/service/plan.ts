/** The files of the service, made from facts and templates: what they contain and where they go. */
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
export const CALLERS_SOCKET = 'prefect-authd-callers.socket'
const CALLERS = 'prefect-authd-callers@.service'
export const PEERS_SOCKET = 'prefect-authd-peers.socket'
const PEERS = 'prefect-authd-peers@.service'
export const UNITS = [SERVICE, SOCKET, TCP_SOCKET, TIMER, CALLERS_SOCKET, PEERS_SOCKET, WAKE] as const
/** A template has instances, and cannot be stopped itself. */
export const UNIT_FILES = [...UNITS, CALLERS, PEERS] as const

export interface ServicePlaces {
  /** Directory of the units or the agent. */
  readonly unitDir: string
  /** Beside the unit: what its sandbox lets through for kept files. */
  readonly dropIn: string
  /** The script that the units start: it finds Node and the package. */
  readonly launcher: string
  readonly stateDir: string
  readonly profilesFile: string
  readonly socket: string
  /** Of the unit that tells whose local connections are. */
  readonly callers: string
  /** Of the unit that tells which process one of them belongs to. */
  readonly peers: string
}

export function resolveServicePlaces(around: Surroundings): ServicePlaces {
  const { stateDir, profilesFile, socket, callers, peers } = resolvePaths(around)
  const rest = { stateDir, profilesFile, socket, callers, peers }
  if (around.platform === 'darwin') {
    const library = join(around.home, 'Library')
    return {
      unitDir: join(library, 'LaunchAgents'),
      dropIn: join(library, 'LaunchAgents', `${SERVICE}.d`, 'files.conf'),
      launcher: join(library, 'Application Support', 'prefect-auth-broker', 'start-daemon'),
      ...rest,
    }
  }
  const unitDir = join(base(around, 'XDG_CONFIG_HOME', '.config'), 'systemd', 'user')
  return {
    unitDir,
    dropIn: join(unitDir, `${SERVICE}.d`, 'files.conf'),
    launcher: join(base(around, 'XDG_DATA_HOME', '.local/share'), 'prefect-auth-broker', 'start-daemon'),
    ...rest,
  }
}

/** The XDG specification: a relative path counts as unset. */
function base({ env, home }: Surroundings, variable: string, fallback: string): string {
  const value = env[variable]
  return value !== undefined && isAbsolute(value) ? value : join(home, fallback)
}

export interface ServiceFacts {
  readonly places: ServicePlaces
  readonly launch: LauncherFacts
  /** Variables taken from the caller. */
  readonly env: Readonly<Record<string, string>>
  readonly port: number | 'off'
  /** Directories that the daemon writes to, besides the state directory. */
  readonly writable: readonly string[]
  /** Directories of kept files, sorted: a drop-in opens the sandbox for them. */
  readonly folders: readonly string[]
  /** Whether the system allows user units to have their own namespaces. */
  readonly hasNamespaces: boolean
}

/** Returns the text of a template in the package, by file name. */
export type Template = (name: string) => string

export function planSystemd(facts: ServiceFacts, template: Template): readonly ServiceFile[] {
  const { places, port } = facts
  const names = UNIT_FILES.filter((name) => name !== TCP_SOCKET || port !== 'off')
  const values = systemdValues(facts)
  return [
    launcherFile(facts),
    ...names.map((name) => {
      const text = name === SERVICE ? namespaces(template(name), facts.hasNamespaces) : template(name)
      // The environment may contain a proxy's password.
      return { path: join(places.unitDir, name), text: fillTemplate(text, values), mode: 0o600 }
    }),
    // Where the unit has no namespaces nothing is closed, and this line would ask for them.
    ...(facts.hasNamespaces ? planDropIn(places, facts.folders) : []),
  ]
}

/** Nothing, or the one file. `-`: a directory that is gone does not prevent a start. */
export function planDropIn(
  { dropIn }: Pick<ServicePlaces, 'dropIn'>,
  folders: readonly string[],
): readonly ServiceFile[] {
  if (folders.length === 0) return []
  const lines = folders.map((folder) => `ReadWritePaths=${unitItem(`-${folder}`)}\n`)
  const text = `# Lets the service write to the directories of kept files (prefect-auth file ls). Do not edit: \`service install\` replaces this file.
[Service]
${lines.join('')}`
  return [{ path: dropIn, text, mode: 0o600 }]
}

export function planLaunchd(facts: ServiceFacts, template: Template): readonly ServiceFile[] {
  const { places, env } = facts
  // Tells the daemon to count its failed starts, which launchd does not do.
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
  // If the caller named no socket, units and daemon both use the system's runtime directory.
  const hasOwn = env.PREFECT_AUTH_SOCKET !== undefined
  const socketDir = hasOwn ? unitItem(dirname(places.socket)) : '%t/prefect-auth'
  const socketLine = (path: string) => (hasOwn ? unitLine(path) : `%t/prefect-auth/${basename(path)}`)
  return {
    LAUNCHER: unitWord(places.launcher),
    SOCKET: socketLine(places.socket),
    CALLERS: socketLine(places.callers),
    PEERS: socketLine(places.peers),
    PORT: String(port),
    DIRECTORIES: directories.map(unitWord).join(' '),
    WRITABLE: [...directories.map((path) => unitItem(`-${path}`)), `-${socketDir}`].join(' '),
    ENVIRONMENT: Object.entries(env)
      .map(([name, value]) => `Environment=${unitItem(`${name}=${value}`)}`)
      .join('\n'),
  }
}

/** Keeps or drops the lines between the two marks; the marks themselves are removed. */
function namespaces(template: string, isKept: boolean): string {
  return template.replace(/^#\[namespaces\]\n([\s\S]*?)^#\[\/namespaces\]\n/m, (_whole, inside: string) =>
    isKept
      ? inside
      : '# This system refuses user namespaces to user units: settings that need them are left out.\n',
  )
}
