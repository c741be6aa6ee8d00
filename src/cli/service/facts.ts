/** What the service has to know of this machine: Node, paths, settings and the caller's environment. */
import { readFileSync, statSync } from 'node:fs'
import { realpath } from 'node:fs/promises'
import { dirname, isAbsolute, join, resolve } from 'node:path'
import { failWith } from '../../client/failure.js'
import { OWN_VARIABLES, resolvePaths } from '../../config/paths.js'
import { resolveSettings, type Settings } from '../../config/settings.js'
import { runProgram } from '../../os/run-program.js'
import { type Clock, SECOND_MS } from '../../std/clock.js'
import { defined } from '../../std/defined.js'
import type { Terminal } from '../session.js'
import type { RunTool } from './manager.js'
import { resolveServicePlaces, type ServiceFacts, type Template } from './plan.js'
import { openable, realPathOf } from './sandbox.js'
import { GUARDED_FLAGS } from './templates.js'

export async function lookAround(terminal: Terminal, run: RunTool, clock: Clock): Promise<ServiceFacts> {
  const places = resolveServicePlaces(terminal)
  const settings = readSettings(terminal)
  const restricted = settings['listen.restricted_socket']
  const node = await findStableNode(terminal.execPath, terminal.env.PATH)
  return {
    places,
    launch: {
      node,
      program: join(terminal.packageDir, 'dist', 'authd.js'),
      flags: await findFlags(node, clock),
      path: absoluteDirectories(terminal.env.PATH),
    },
    env: carriedEnv(terminal.env, (path) => resolve(path)),
    port: settings.port,
    writable: [
      // A symbolic link is kept, so the daemon writes beside the file that it points to.
      dirname(await realpath(places.profilesFile).catch(() => places.profilesFile)),
      ...(restricted === undefined ? [] : [dirname(restricted)]),
    ],
    folders: await openable(foldersOfFiles(places.stateDir), terminal),
    hasNamespaces: terminal.platform !== 'linux' || (await mayHaveNamespaces(run)),
  }
}

/** The daemon keeps files there (`file add`): its list, as far as it can be read. */
function foldersOfFiles(stateDir: string): readonly string[] {
  try {
    const { files } = JSON.parse(readIfThere(join(stateDir, 'files.json')) ?? '{}')
    const paths: unknown[] = Array.isArray(files) ? files.map((one: { path?: unknown }) => one.path) : []
    const folders = paths.filter((path) => typeof path === 'string').map(dirname)
    return folders.filter((folder) => isAbsolute(folder))
  } catch {
    return []
  }
}

/** What `PrivateTmp=` replaces by empty directories. */
const PRIVATE = ['/tmp', '/var/tmp']

/** Paths that the daemon needs and would not see in the unit's sandbox, each with what it is. */
export async function findHidden({ hasNamespaces, places, launch, env, writable }: ServiceFacts) {
  if (!hasNamespaces) return []
  const [profiles, ...more] = writable
  const needed: readonly (readonly [what: string, path: string | undefined])[] = [
    ['the package', launch.program],
    ['Node', launch.node],
    ['the start script', places.launcher],
    ['the state directory', places.stateDir],
    ['the directory of profiles.toml', profiles],
    ['the directory of the socket', dirname(places.socket)],
    ...more.map((path) => ['the directory of the restricted socket', path] as const),
    ...SEEN.map((name) => [name, env[name]] as const),
  ]
  const hidden: { readonly what: string; readonly path: string }[] = []
  for (const [what, path] of needed) {
    const real = path === undefined ? undefined : await realPathOf(path)
    if (real !== undefined && PRIVATE.some((one) => real === one || real.startsWith(`${one}/`))) {
      hidden.push({ what, path: real })
    }
  }
  return hidden
}

export function templatesOf(packageDir: string, folder: 'systemd' | 'launchd'): Template {
  return (name) => readFileSync(join(packageDir, folder, name), 'utf8')
}

/** Read as the daemon reads them, so that the daemon starts with whatever the installation accepted. */
export function readSettings(terminal: Terminal): Settings {
  const path = resolvePaths(terminal).configFile
  const text = readIfThere(path)
  const outcome = resolveSettings({
    flags: {},
    env: terminal.env,
    ...defined({ file: text === undefined ? undefined : { path, text } }),
  })
  if (outcome.kind === 'settings') return outcome.settings
  return failWith({
    code: 'setting_invalid',
    kind: 'invalid',
    detail: outcome.problems.map(({ message }) => message).join('\n'),
    hint: 'prefect-authd --help',
  })
}

function readIfThere(path: string): string | undefined {
  try {
    // Reading a pipe would never end.
    return statSync(path).isFile() ? readFileSync(path, 'utf8') : undefined
  } catch {
    return undefined
  }
}

/** Some systems (AppArmor, containers) refuse user namespaces; a unit that requires them would not start there. */
async function mayHaveNamespaces(run: RunTool): Promise<boolean> {
  const wanted = ['PrivateUsers=yes', 'ProtectSystem=strict', 'PrivateDevices=yes', 'CapabilityBoundingSet=']
  const properties = wanted.flatMap((property) => ['-p', property])
  const probe = ['--user', '--wait', '--quiet', '--collect', ...properties, '/bin/true']
  const { isDone, complaint } = await run('systemd-run', ...probe)
  // Without systemd-run nothing is known: keep the hardening.
  return isDone || complaint.endsWith('is not installed')
}

/** A link on `path` to this Node, such as `/opt/homebrew/bin/node`, which survives upgrades; else `execPath`. */
export async function findStableNode(execPath: string, path: string | undefined): Promise<string> {
  const us = await realpath(execPath).catch(() => execPath)
  for (const directory of absoluteDirectories(path)) {
    const candidate = join(directory, 'node')
    if ((await realpath(candidate).catch(() => undefined)) === us) return candidate
  }
  return execPath
}

/** The absolute directories of a `PATH`; relative ones would mean something else to a service. */
export function absoluteDirectories(path: string | undefined): readonly string[] {
  return (path ?? '').split(':').filter(isAbsolute)
}

/** The guarded flags that this Node accepts: tried, not derived from its version. */
export async function findFlags(node: string, clock: Clock): Promise<readonly string[]> {
  const isKnown = await Promise.all(
    GUARDED_FLAGS.map(async (flag) => {
      const call = { file: node, args: [flag, '-e', '0'], env: {}, deadlineMs: 10 * SECOND_MS }
      const result = await runProgram(call, clock)
      return result.kind === 'exited' && result.code === 0
    }),
  )
  return GUARDED_FLAGS.filter((_flag, at) => isKnown[at] === true)
}

/** Files that the daemon reads where the caller says. */
const SEEN = ['PREFECT_AUTH_CONFIG', 'SSL_CERT_FILE', 'SSL_CERT_DIR', 'NODE_EXTRA_CA_CERTS']
/** Paths; relative ones are resolved against the caller's directory. */
const PATHS = [
  ...SEEN,
  'PREFECT_AUTH_STATE_DIR',
  'PREFECT_AUTH_SOCKET',
  'PREFECT_HOME',
  'PREFECT_PROFILES_PATH',
  'XDG_CONFIG_HOME',
  'XDG_STATE_HOME',
]
const NETWORK = [
  'PREFECT_CLOUD_API_URL',
  'PREFECT_CLOUD_UI_URL',
  'HTTPS_PROXY',
  'HTTP_PROXY',
  'ALL_PROXY',
  'NO_PROXY',
]

/**
 * The variables that the service takes from the caller, sorted by name. `PREFECT_PROFILE`, `PREFECT_API_URL` and
 * `PREFECT_API_KEY` belong to each caller, and a key does not belong in a unit.
 */
export function carriedEnv(
  env: Readonly<Record<string, string | undefined>>,
  toAbsolute: (path: string) => string,
): Readonly<Record<string, string>> {
  const carried: Record<string, string> = {}
  for (const [name, value] of Object.entries(env)) {
    if (value === undefined || value === '') continue
    if (PATHS.includes(name)) carried[name] = resolvePath(name, value, toAbsolute)
    else if (isCarried(name)) carried[name] = value
  }
  return Object.fromEntries(Object.entries(carried).sort(([a], [b]) => (a < b ? -1 : 1)))
}

function isCarried(name: string): boolean {
  if (OWN_VARIABLES.some((own) => own === name)) return false
  return NETWORK.includes(name.toUpperCase()) || name.startsWith('PREFECT_AUTH_')
}

function resolvePath(name: string, value: string, toAbsolute: (path: string) => string): string {
  // XDG defines relative paths as invalid, and Prefect expands `~` itself.
  if (name.startsWith('XDG_') || value.startsWith('~') || isAbsolute(value)) return value
  return toAbsolute(value)
}
