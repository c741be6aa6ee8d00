/** Looks at this machine: what the service has to be told. */
import { readFileSync } from 'node:fs'
import { realpath } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { failWith } from '../../client/failure.js'
import { resolvePaths } from '../../config/paths.js'
import { resolveSettings, type Settings } from '../../config/settings.js'
import type { Clock } from '../../std/clock.js'
import type { Terminal } from '../context.js'
import { carriedEnv } from './carried-env.js'
import { absoluteDirectories, findFlags, findStableNode } from './find-node.js'
import type { RunTool } from './manager.js'
import { resolveServicePlaces } from './places.js'
import type { ServiceFacts, Template } from './plan.js'

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
