/** Which copies of this program are on the machine, for `doctor`: the service may run another than the shell. */

import { existsSync, readFileSync, realpathSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { integrateCommand, packagesOf, versionIn } from './python/environment.js'
import { isSwitchedOn, switchText, wayOf } from './python/plugin.js'
import { absoluteDirectories } from './service/facts.js'
import { resolveServicePlaces } from './service/plan.js'
import type { Terminal } from './session.js'

interface Finding {
  readonly verdict: 'ok' | 'warning' | 'problem'
  readonly finding: string
  readonly remedy?: string
}

type Here = Pick<Terminal, 'env' | 'home' | 'platform' | 'packageDir' | 'version'>

/** Whether what the service starts is there and is this copy, and whether the path has one copy. */
export function checkInstallation(terminal: Here): Finding {
  const remedy = 'prefect-auth service install'
  const started = readLauncher(resolveServicePlaces(terminal).launcher)
  if (started !== undefined) {
    const gone = [started.node, started.program].find((path) => !existsSync(path))
    if (gone !== undefined) {
      return { verdict: 'problem', finding: `the service starts ${gone}, which is gone`, remedy }
    }
    const other = real(dirname(dirname(started.program)))
    if (other !== real(terminal.packageDir)) {
      const finding = `the service runs the copy in ${other}, this command is in ${real(terminal.packageDir)}`
      return { verdict: 'warning', finding, remedy: `${remedy}      (or remove one of them)` }
    }
  }
  const copies = copiesOn(terminal.env.PATH)
  if (copies.length < 2) return { verdict: 'ok', finding: real(terminal.packageDir) }
  return {
    verdict: 'warning',
    finding: `${copies.length} copies are on the PATH, and the first one runs: ${copies.join(', ')}`,
    remedy: `uninstall all but one, then: ${remedy}`,
  }
}

/** What the start script of the service names; `undefined` without one of ours. */
function readLauncher(path: string): { readonly node: string; readonly program: string } | undefined {
  try {
    const text = readFileSync(path, 'utf8')
    const [node, program] = ['node', 'program'].map((name) =>
      new RegExp(`^${name}='(.*)'$`, 'm').exec(text)?.[1]?.replaceAll(`'\\''`, `'`),
    )
    return node === undefined || program === undefined ? undefined : { node, program }
  } catch {
    return undefined
  }
}

function copiesOn(path: string | undefined): readonly string[] {
  const programs = absoluteDirectories(path).map((folder) => join(folder, 'prefect-auth'))
  return [...new Set(programs.filter(existsSync).map(real))]
}

function real(path: string): string {
  try {
    return realpathSync(path)
  } catch {
    return path
  }
}

/** Whether the active Python environment has the plugin, of this version and switched on; looks only, starts nothing. */
export function checkPython({ env, version }: Here): Finding {
  const root = env.VIRTUAL_ENV || env.CONDA_PREFIX
  if (!root) return { verdict: 'ok', finding: 'no Python environment is active here' }
  const remedy = integrateCommand(root)
  for (const packages of packagesOf(root)) {
    const prefect = versionIn(packages, 'prefect') ?? versionIn(packages, 'prefect_client')
    const plugin = versionIn(packages, 'prefect_auth_plugin')
    if (prefect === undefined) continue
    if (plugin === undefined) {
      const finding = `Prefect ${prefect} in ${root} has no plugin: a plain prefect there gets no credentials from the daemon`
      return { verdict: 'ok', finding, remedy }
    }
    if (plugin !== version) {
      return { verdict: 'warning', finding: `the plugin in ${root} is version ${plugin}`, remedy }
    }
    const wanted = switchText(wayOf(prefect), prefect)
    if (!isSwitchedOn(packages, wanted)) {
      const finding = `the plugin in ${root} is not switched on for Prefect ${prefect}`
      return { verdict: 'warning', finding, remedy }
    }
    return { verdict: 'ok', finding: `the plugin is on for Prefect ${prefect} in ${root}` }
  }
  return { verdict: 'ok', finding: `no Prefect in ${root}` }
}
