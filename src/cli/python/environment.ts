/** A Python environment: found, looked at through its own interpreter, and asked which Prefect it has. */

import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { isAbsolute, join, resolve } from 'node:path'
import { failWith } from '../../client/failure.js'
import { runProgram } from '../../os/run-program.js'
import { type Clock, SECOND_MS } from '../../std/clock.js'
import { firstLine } from '../../std/text.js'
import { usageError } from '../failure.js'
import type { Terminal } from '../session.js'
import { shellWord } from '../text.js'

export interface PythonEnvironment {
  readonly python: string
  /** `sys.prefix`: an absolute path. */
  readonly prefix: string
  /** Where pure packages are installed. */
  readonly packages: string
  /** Absent if there is no Prefect. */
  readonly prefect?: string
  /** The installed version of our plugin. */
  readonly plugin?: string
  readonly hasPip: boolean
}

const DEADLINE_MS = 30 * SECOND_MS

const PROBE = `
import importlib.metadata as m, importlib.util as u, json, os, sys, sysconfig
def version(name):
    try: return m.version(name)
    except m.PackageNotFoundError: return None
facts = {
    "python": sys.executable,
    "prefix": os.path.abspath(sys.prefix),
    "packages": sysconfig.get_path("purelib"),
    "prefect": version("prefect") or version("prefect-client"),
    "plugin": version("prefect-auth-plugin"),
    "hasPip": u.find_spec("pip") is not None,
}
print(json.dumps({name: value for name, value in facts.items() if value is not None}))
`

/** What a program of Python's gets of the caller's environment: nothing that leads it elsewhere. */
export function cleanEnv(env: Terminal['env']): Readonly<Record<string, string>> {
  const { PATH = '', HOME, LANG } = env
  return { PATH, ...(HOME === undefined ? {} : { HOME }), ...(LANG === undefined ? {} : { LANG }) }
}

/** Looks at the environment of an interpreter. Fails with `python_unusable`. */
export async function lookAtEnvironment(
  python: string,
  terminal: Pick<Terminal, 'env'>,
  clock: Clock,
): Promise<PythonEnvironment> {
  // Isolated: neither the directory nor PYTHON* variables may replace what it imports.
  const call = {
    file: python,
    args: ['-I', '-c', PROBE],
    env: cleanEnv(terminal.env),
    deadlineMs: DEADLINE_MS,
  }
  const result = await runProgram(call, clock)
  const facts = result.kind === 'exited' && result.code === 0 ? parse(result.stdout) : undefined
  if (facts !== undefined) return facts
  const why =
    result.kind === 'exited' ? firstLine(result.stderr.trim().split('\n').at(-1) ?? '') : result.kind
  return failWith({
    code: 'python_unusable',
    kind: 'invalid',
    detail: `cannot use ${python}: ${why === '' ? 'it is no Python >= 3.9' : why}`,
    hint: 'prefect-auth integrate --python /PATH/OF/A/VENV',
  })
}

function parse(text: string): PythonEnvironment | undefined {
  try {
    const { python, prefix, packages, prefect, plugin, hasPip } = JSON.parse(text)
    const isWhole = [python, prefix, packages].every((path) => typeof path === 'string' && isAbsolute(path))
    if (!isWhole || typeof hasPip !== 'boolean') return undefined
    return {
      ...{ python, prefix, packages, hasPip },
      ...(typeof prefect === 'string' ? { prefect } : {}),
      ...(typeof plugin === 'string' ? { plugin } : {}),
    }
  } catch {
    return undefined
  }
}

/** The interpreter of what a person named: a virtual environment, or an interpreter itself. Fails with `usage`. */
export function interpreterOf(named: string, folder: string): string {
  const path = resolve(folder, named)
  if (isFile(path)) return path
  const inside = join(path, 'bin', 'python')
  if (existsSync(inside)) return inside
  throw usageError(
    `${named} is neither a virtual environment (it has no bin/python) nor a Python`,
    'prefect-auth integrate --python /PATH/OF/A/VENV',
  )
}

/** The environment that is active here, or lies in this folder; fails with `usage` if there is none. */
export function interpreterHere(terminal: Pick<Terminal, 'env' | 'folder'>): string {
  const [first] = activeHere(terminal)
  if (first !== undefined) return first
  throw usageError(
    'no Python environment is active here (VIRTUAL_ENV, CONDA_PREFIX), and none is in this folder (.venv, venv)',
    'prefect-auth integrate --python /PATH/OF/A/VENV      (or --all)',
  )
}

function activeHere({ env, folder }: Pick<Terminal, 'env' | 'folder'>): readonly string[] {
  const near = folder === undefined ? [] : [join(folder, '.venv'), join(folder, 'venv')]
  const roots = [env.VIRTUAL_ENV, env.CONDA_PREFIX, ...near].flatMap((root) => root || [])
  return roots.map((root) => join(root, 'bin', 'python')).filter(isFile)
}

/**
 * Interpreters of all environments in the usual places that have Prefect or our plugin: without starting any of them. With
 * `folder` also what lies there: it may be a cloned repository's, to be started only if a person means it.
 */
export function interpretersAround(
  terminal: Pick<Terminal, 'env' | 'home'> & Partial<Pick<Terminal, 'folder'>>,
): readonly string[] {
  const { home, env } = terminal
  const data =
    env.XDG_DATA_HOME && isAbsolute(env.XDG_DATA_HOME) ? env.XDG_DATA_HOME : join(home, '.local/share')
  const parents = [
    env.WORKON_HOME || join(home, '.virtualenvs'),
    join(home, '.pyenv', 'versions'),
    join(data, 'uv', 'tools'),
    join(data, 'pipx', 'venvs'),
    join(home, '.local', 'pipx', 'venvs'),
    join(data, 'virtualenvs'),
  ]
  const roots = [...parents.flatMap(childrenOf), ...condaRoots(home)]
  const found = [...activeHere(terminal), ...roots.map((root) => join(root, 'bin', 'python')).filter(isFile)]
  return [...new Set(found)].filter((python) => packagesOf(join(python, '..', '..')).some(hasPrefect))
}

/** The `site-packages` of an environment, by its layout. */
export function packagesOf(root: string): readonly string[] {
  return childrenOf(join(root, 'lib'))
    .filter((path) => /[/\\]python3\.\d+$/.test(path))
    .map((path) => join(path, 'site-packages'))
}

/** The version of a package in a `site-packages`; undefined if it is not there. */
export function versionIn(packages: string, name: string): string | undefined {
  const prefix = `${name}-`
  const found = namesIn(packages).find((entry) => entry.startsWith(prefix) && entry.endsWith('.dist-info'))
  return found?.slice(prefix.length, -'.dist-info'.length)
}

function hasPrefect(packages: string): boolean {
  return ['prefect', 'prefect_client', 'prefect_auth_plugin'].some(
    (name) => versionIn(packages, name) !== undefined,
  )
}

function condaRoots(home: string): readonly string[] {
  try {
    const text = readFileSync(join(home, '.conda', 'environments.txt'), 'utf8')
    return text.split('\n').filter(isAbsolute)
  } catch {
    return []
  }
}

function childrenOf(folder: string): readonly string[] {
  return namesIn(folder).map((name) => join(folder, name))
}

function namesIn(folder: string): readonly string[] {
  try {
    return readdirSync(folder).sort()
  } catch {
    return []
  }
}

function isFile(path: string): boolean {
  try {
    return statSync(path).isFile()
  } catch {
    // Nothing, or below a file: virtualenvwrapper keeps its scripts beside the environments.
    return false
  }
}

/** The command that integrates this environment. */
export function integrateCommand(prefix: string): string {
  return `prefect-auth integrate --python ${shellWord(prefix)}`
}
