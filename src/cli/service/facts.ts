/** Looks at this machine: what the service has to be told. */
import { readFileSync } from 'node:fs'
import { realpath } from 'node:fs/promises'
import { dirname, isAbsolute, join, resolve } from 'node:path'
import { failWith } from '../../client/failure.js'
import { resolvePaths } from '../../config/paths.js'
import { resolveSettings, type Settings } from '../../config/settings.js'
import { runProgram } from '../../os/run-program.js'
import type { Clock } from '../../std/clock.js'
import type { Terminal } from '../session.js'
import type { RunTool } from './manager.js'
import { resolveServicePlaces, type ServiceFacts, type Template } from './plan.js'
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
      // A link stays a link: the file that it names is replaced.
      dirname(await realpath(places.profilesFile).catch(() => places.profilesFile)),
      ...(restricted === undefined ? [] : [dirname(restricted)]),
    ],
    hasNamespaces: terminal.platform !== 'linux' || (await mayHaveNamespaces(run)),
  }
}

export function templatesOf(packageDir: string, folder: 'systemd' | 'launchd'): Template {
  return (name) => readFileSync(join(packageDir, folder, name), 'utf8')
}

/** With the daemon's own reader, so that a start does not fail on what the installation took. */
function readSettings(terminal: Terminal): Settings {
  const path = resolvePaths(terminal).configFile
  const text = readIfThere(path)
  const outcome = resolveSettings({
    flags: {},
    env: terminal.env,
    ...(text === undefined ? {} : { file: { path, text } }),
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
    return readFileSync(path, 'utf8')
  } catch {
    return undefined
  }
}

/** Some systems (AppArmor, containers) refuse user namespaces; a unit that asks for them would not start there. */
async function mayHaveNamespaces(run: RunTool): Promise<boolean> {
  const wanted = ['PrivateUsers=yes', 'ProtectSystem=strict', 'PrivateDevices=yes', 'CapabilityBoundingSet=']
  const properties = wanted.flatMap((property) => ['-p', property])
  const probe = ['--user', '--wait', '--quiet', '--collect', ...properties, '/bin/true']
  const { isDone, complaint } = await run('systemd-run', ...probe)
  return isDone || complaint.endsWith('is not installed')
}

/** `/opt/homebrew/bin/node` rather than the versioned directory that it points into; else `execPath` itself. */
export async function findStableNode(execPath: string, path: string | undefined): Promise<string> {
  const us = await realpath(execPath).catch(() => execPath)
  for (const directory of absoluteDirectories(path)) {
    const candidate = join(directory, 'node')
    if ((await realpath(candidate).catch(() => undefined)) === us) return candidate
  }
  return execPath
}

/** The directories of a `PATH`; relative ones would mean something else to a service. */
export function absoluteDirectories(path: string | undefined): readonly string[] {
  return (path ?? '').split(':').filter(isAbsolute)
}

/** Which of the flags that not every version has this Node takes: asked, not computed from its version. */
export async function findFlags(node: string, clock: Clock): Promise<readonly string[]> {
  const isKnown = await Promise.all(
    GUARDED_FLAGS.map(async (flag) => {
      const call = { file: node, args: [flag, '-e', '0'], env: {}, deadlineMs: 10_000 }
      const result = await runProgram(call, clock)
      return result.kind === 'exited' && result.code === 0
    }),
  )
  return GUARDED_FLAGS.filter((_flag, at) => isKnown[at] === true)
}

/** Where things are; relative ones are made absolute by the caller's directory. */
const PATHS = [
  'PREFECT_AUTH_CONFIG',
  'PREFECT_AUTH_STATE_DIR',
  'PREFECT_AUTH_SOCKET',
  'PREFECT_HOME',
  'PREFECT_PROFILES_PATH',
  'XDG_CONFIG_HOME',
  'XDG_STATE_HOME',
  'SSL_CERT_FILE',
  'SSL_CERT_DIR',
  'NODE_EXTRA_CA_CERTS',
]
const NETWORK = ['PREFECT_CLOUD_API_URL', 'PREFECT_CLOUD_UI_URL', 'HTTPS_PROXY', 'HTTP_PROXY', 'NO_PROXY']

/**
 * Sorted by name. Not `PREFECT_PROFILE`, `PREFECT_API_URL`, `PREFECT_API_KEY`: those are each caller's own, and a key does
 * not belong into a unit.
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
  return NETWORK.includes(name.toUpperCase()) || name.startsWith('PREFECT_AUTH_')
}

function resolvePath(name: string, value: string, toAbsolute: (path: string) => string): string {
  // Relative ones in these two are invalid by their specification, `~` in Prefect's is read by everybody alike.
  if (name.startsWith('XDG_') || value.startsWith('~') || isAbsolute(value)) return value
  return toAbsolute(value)
}
