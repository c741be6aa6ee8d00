/** Our plugin for Prefect in a Python environment: installed from the wheel inside this package, switched on, and taken out. */

import { existsSync, readFileSync } from 'node:fs'
import { unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { failWith } from '../../client/failure.js'
import { writeFileAtomic } from '../../os/atomic-file.js'
import { runProgram } from '../../os/run-program.js'
import { type Clock, MINUTE_MS } from '../../std/clock.js'
import { firstLine } from '../../std/text.js'
import { findCommand } from '../fast/child.js'
import type { Terminal } from '../session.js'
import { cleanEnv, integrateCommand, type PythonEnvironment } from './environment.js'

const NAME = 'prefect-auth-plugin'
/** Beside the packages: Python reads it at each start. */
const SWITCH = 'prefect_auth_plugin.pth'
const DEADLINE_MS = 3 * MINUTE_MS

/**
 * How Prefect comes to call the plugin. `hook`: its own, off unless a variable says otherwise. `early`: older versions read
 * their settings before they call plugins, so ours has to act before Prefect is imported.
 */
export type Way = 'hook' | 'early'

/**
 * The text of the switch: one line, because Python runs each. It sets the variable that makes Prefect call plugins when Prefect is
 * imported, unless the user set it; says nothing if only the plugin was uninstalled.
 */
export function switchText(way: Way, prefect: string): string {
  const name = isAtLeast(prefect, 3, 9, 1) ? 'PREFECT_PLUGINS_ENABLED' : 'PREFECT_EXPERIMENTS_PLUGINS_ENABLED'
  const call = way === 'early' ? 'arm()' : `arm('${name}')`
  return `import sys; exec("try:\\n import prefect_auth_plugin.early as e\\n e.${call}\\nexcept ImportError: pass")\n`
}

/** Which way a version of Prefect needs. */
export function wayOf(prefect: string): Way {
  return isAtLeast(prefect, 3, 6, 14) ? 'hook' : 'early'
}

function isAtLeast(version: string, ...least: readonly number[]): boolean {
  const parts = version.split(/[^0-9]+/).map(Number)
  for (const [at, wanted] of least.entries()) {
    const part = parts[at] ?? 0
    if (part !== wanted) return part > wanted
  }
  return true
}

export interface PluginParts {
  readonly terminal: Pick<Terminal, 'env' | 'packageDir' | 'version'>
  readonly clock: Clock
}

export interface Integration {
  readonly prefix: string
  readonly prefect: string
  readonly plugin: string
  readonly way: Way
}

/** Installs the plugin and switches it on. Fails with `python_unusable` or `python_install_failed`. */
export async function integrate(
  environment: PythonEnvironment,
  isEarly: boolean,
  { terminal, clock }: PluginParts,
): Promise<Integration> {
  const { prefix, prefect, packages } = environment
  if (prefect === undefined) {
    return failWith({
      code: 'python_unusable',
      kind: 'invalid',
      detail: `there is no Prefect in ${prefix}`,
      hint: 'prefect-auth integrate --python /PATH/OF/A/VENV      (one that has Prefect)',
    })
  }
  const way = isEarly ? 'early' : wayOf(prefect)
  if (way === 'early' && !isEarly) {
    return failWith({
      code: 'python_unusable',
      kind: 'invalid',
      detail: `Prefect ${prefect} in ${prefix} calls no plugins in time (3.6.14 and later do); with --early a line in a .pth file does the same, at each start of this Python`,
      hint: `${integrateCommand(prefix)} --early`,
    })
  }
  const wheel = join(terminal.packageDir, 'dist', `prefect_auth_plugin-${terminal.version}-py3-none-any.whl`)
  // By its path, and never from an index: somebody else may have registered the name.
  await runInstaller(
    environment,
    {
      pip: ['install', '--no-index', '--no-deps', '--force-reinstall', wheel],
      uv: ['install', '--no-index', '--no-deps', '--reinstall', '--offline', wheel],
    },
    { terminal, clock },
  )
  await writeFileAtomic(join(packages, SWITCH), switchText(way, prefect), { mode: 0o644 })
  return { prefix, prefect, plugin: terminal.version, way }
}

/** Takes out what `integrate` put in; resolves with whether there was anything. Fails with `python_install_failed`. */
export async function takeOut(environment: PythonEnvironment, parts: PluginParts): Promise<boolean> {
  const path = join(environment.packages, SWITCH)
  const isOn = existsSync(path)
  // First: without the plugin it must not be on.
  if (isOn) await unlink(path)
  if (environment.plugin === undefined) return isOn
  await runInstaller(environment, { pip: ['uninstall', '--yes', NAME], uv: ['uninstall', NAME] }, parts)
  return true
}

/** Whether the environment's Python switches the plugin on, by `text` or early. */
export function isSwitchedOn(packages: string, text: string): boolean {
  try {
    const found = readFileSync(join(packages, SWITCH), 'utf8')
    return found === text || found === switchText('early', '')
  } catch {
    return false
  }
}

interface InstallerArgs {
  readonly pip: readonly string[]
  readonly uv: readonly string[]
}

/** Runs the environment's own pip; environments that uv made have none, and uv is asked. */
async function runInstaller(
  { python, prefix, hasPip }: PythonEnvironment,
  args: InstallerArgs,
  { terminal, clock }: PluginParts,
): Promise<void> {
  const quiet = ['--isolated', '--disable-pip-version-check', '--no-input', '-q']
  const call = hasPip
    ? { file: python, args: ['-I', '-m', 'pip', ...quiet, ...args.pip] }
    : uvCall(terminal.env.PATH, prefix, ['--no-config', '-q', 'pip', ...args.uv, '--python', python])
  const result = await runProgram({ ...call, env: cleanEnv(terminal.env), deadlineMs: DEADLINE_MS }, clock)
  if (result.kind === 'exited' && result.code === 0) return
  const why =
    result.kind === 'exited' ? firstLine(result.stderr.replace(/^(ERROR|error): /, '')) : result.kind
  failWith({
    code: 'python_install_failed',
    kind: 'unavailable',
    detail: `cannot change ${prefix}: ${why === '' ? 'its installer failed' : why}`,
    hint: `check the environment: ${python} -m pip check`,
  })
}

function uvCall(path: string | undefined, prefix: string, args: readonly string[]) {
  const uv = findCommand('uv', path)
  if (uv.kind === 'found') return { file: uv.file, args }
  return failWith({
    code: 'python_install_failed',
    kind: 'unavailable',
    detail: `cannot change ${prefix}: it has no pip, and uv is not on the PATH`,
    hint: `${join(prefix, 'bin', 'python')} -m ensurepip      (or put uv on the PATH)`,
  })
}
