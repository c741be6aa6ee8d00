/** Paths of the settings file, state, socket and Prefect's own files, for the daemon and its clients. */
import { dirname, isAbsolute, join, resolve } from 'node:path'

export interface Surroundings {
  readonly env: Readonly<Record<string, string | undefined>>
  /** The user's home directory. */
  readonly home: string
  /** `process.platform` */
  readonly platform: string
  /** Absent on systems without user ids. */
  readonly uid?: number
}

export interface Paths {
  readonly configFile: string
  readonly stateDir: string
  readonly socket: string
  /** Where the service manager tells whose local connections are (Linux). */
  readonly callers: string
  /** Where it starts a program that tells which process one of them belongs to (Linux). */
  readonly peers: string
  /** Prefect's profile file. */
  readonly profilesFile: string
}

/**
 * Variables of one process, which a service must not take over: the Node that runs this command, what the plugin for Prefect
 * should do, and what it did.
 */
export const OWN_VARIABLES = ['PREFECT_AUTH_NODE', 'PREFECT_AUTH_PLUGIN', 'PREFECT_AUTH_PLUGIN_DID'] as const

const NAME = 'prefect-auth'
const SOCKET = 'authd.sock'

/** The daemon's paths. Relative overrides are resolved against the current directory; empty variables count as unset. */
export function resolvePaths(around: Surroundings): Paths {
  const stateDir = resolveStateDir(around)
  const runtime = variable(around, 'XDG_RUNTIME_DIR')
  const socket =
    variable(around, 'PREFECT_AUTH_SOCKET') ??
    (runtime !== undefined && around.platform !== 'darwin'
      ? join(runtime, NAME, SOCKET)
      : join(stateDir, 'run', SOCKET))
  return {
    configFile: variable(around, 'PREFECT_AUTH_CONFIG') ?? join(configHome(around), NAME, 'config.toml'),
    stateDir,
    socket,
    callers: join(dirname(socket), 'callers.sock'),
    peers: join(dirname(socket), 'peers.sock'),
    profilesFile: resolveProfilesFile(around),
  }
}

/** Sockets at which a client looks for the daemon, best first. With `PREFECT_AUTH_SOCKET` it is the only candidate. */
export function socketCandidates(around: Surroundings): readonly string[] {
  const explicit = variable(around, 'PREFECT_AUTH_SOCKET')
  if (explicit !== undefined) return [explicit]
  const inState = join(resolveStateDir(around), 'run', SOCKET)
  if (around.platform === 'darwin') return [inState]
  const runtime = variable(around, 'XDG_RUNTIME_DIR')
  const byUid = around.uid === undefined ? undefined : join('/run/user', String(around.uid), NAME, SOCKET)
  const candidates = [runtime === undefined ? undefined : join(runtime, NAME, SOCKET), byUid, inState]
  return [...new Set(candidates.filter((path) => path !== undefined))]
}

/** The file that changes with every generation, beside the daemon's socket. */
export function generationFile(socket: string): string {
  return join(dirname(socket), 'generation')
}

/** Where the sockets are that say who holds the state directory. */
export function lockDirectory(around: Surroundings): string {
  return join(resolveStateDir(around), 'lock')
}

/** The file that counts failed starts: the daemon writes it, `service` reads and removes it. */
export function startBookPath(stateDir: string): string {
  return join(stateDir, 'starts.json')
}

function resolveStateDir(around: Surroundings): string {
  const explicit = variable(around, 'PREFECT_AUTH_STATE_DIR')
  if (explicit !== undefined) return explicit
  if (around.platform === 'darwin') return applicationSupport(around)
  return join(xdg(around, 'XDG_STATE_HOME') ?? join(around.home, '.local', 'state'), NAME)
}

function configHome(around: Surroundings): string {
  if (around.platform === 'darwin') return join(around.home, 'Library', 'Application Support')
  return xdg(around, 'XDG_CONFIG_HOME') ?? join(around.home, '.config')
}

function applicationSupport(around: Surroundings): string {
  return join(around.home, 'Library', 'Application Support', NAME)
}

/** As in Prefect's own clients: `PREFECT_PROFILES_PATH`, else `PREFECT_HOME/profiles.toml`, else `~/.prefect/profiles.toml`. */
function resolveProfilesFile(around: Surroundings): string {
  const explicit = variable(around, 'PREFECT_PROFILES_PATH')
  if (explicit !== undefined) return tilde(explicit, around.home)
  const prefectHome = variable(around, 'PREFECT_HOME')
  return join(
    prefectHome === undefined ? join(around.home, '.prefect') : tilde(prefectHome, around.home),
    'profiles.toml',
  )
}

function tilde(path: string, home: string): string {
  return path === '~' || path.startsWith('~/') ? join(home, path.slice(1)) : resolve(path)
}

function variable(around: Surroundings, name: string): string | undefined {
  const value = around.env[name]
  if (value === undefined || value === '') return undefined
  return name.startsWith('PREFECT_AUTH_') ? resolve(value) : value
}

/** The XDG specification: relative paths in these variables are invalid and must be ignored. */
function xdg(around: Surroundings, name: string): string | undefined {
  const value = variable(around, name)
  return value !== undefined && isAbsolute(value) ? value : undefined
}
