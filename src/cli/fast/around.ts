/** Prefect's settings in the caller's environment and in the files of its directory, as Prefect's clients find them. */

import { readFileSync, statSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { parseEnv } from 'node:util'
import type { CallersFile } from '../../wire/callers-file.js'
import { scanToml } from './toml.js'

export type Env = Readonly<Record<string, string | undefined>>

/** The settings of one place. */
export interface Source {
  /** `your environment`, `.env`, `prefect.toml`, `pyproject.toml` */
  readonly place: string
  /** By the name of their variable, in capitals. Custom headers of a TOML table are one JSON object, as in a variable. */
  readonly settings: ReadonlyMap<string, string>
}

/** The files that Prefect 3 reads in its directory, the first one wins. What cannot be read names nothing. */
export function filesAround(folder: string | undefined, env: Env): readonly Source[] {
  if (folder === undefined) return []
  return [
    source('.env', folder, (text) => dotenvSettings(text, env)),
    source('prefect.toml', folder, (text) => tomlSettings(text, '')),
    source('pyproject.toml', folder, (text) => tomlSettings(text, 'tool.prefect.')),
  ].filter(({ settings }) => settings.size > 0)
}

/** Settings in the environment, in whatever case. */
export function settingsOfEnv(env: Env): Source {
  const settings = new Map<string, string>()
  for (const [name, value] of Object.entries(env)) {
    const upper = name.toUpperCase()
    if (value !== undefined && upper.startsWith('PREFECT_')) settings.set(upper, value)
  }
  return { place: 'your environment', settings }
}

const MAX_BYTES = 1024 * 1024

function source(place: string, folder: string, parse: (text: string) => ReadonlyMap<string, string>): Source {
  return { place, settings: read(join(folder, place), parse) ?? new Map() }
}

function read<T>(path: string, parse: (text: string) => T): T | undefined {
  try {
    const { size } = statSync(path, { throwIfNoEntry: false }) ?? { size: undefined }
    if (size === undefined || size > MAX_BYTES || !statSync(path).isFile()) return undefined
    const text = readFileSync(path, 'utf8')
    return /prefect|profiles|\bapi\b|cloud|client/i.test(text) ? parse(text) : undefined
  } catch {
    return undefined
  }
}

function dotenvSettings(text: string, env: Env): ReadonlyMap<string, string> {
  const found = Object.entries(parseEnv(text)).flatMap(([name, value]) => {
    const upper = name.toUpperCase()
    return value !== undefined && upper.startsWith('PREFECT_') ? [[upper, expand(value, env)] as const] : []
  })
  return new Map(found)
}

/** As python-dotenv: `${NAME}` and `${NAME:-default}`. */
function expand(value: string, env: Env): string {
  return value.replace(/\$\{([^}:]*)(?::-([^}]*))?\}/g, (_all, name, other = '') => env[name] ?? other)
}

const HEADERS = 'client.custom_headers.'

function tomlSettings(text: string, root: string): ReadonlyMap<string, string> {
  const settings = new Map<string, string>()
  const headers: Record<string, string> = {}
  for (const [path, value] of scanToml(text)) {
    if (!path.startsWith(root)) continue
    const rest = path.slice(root.length)
    if (rest.startsWith(HEADERS)) headers[rest.slice(HEADERS.length)] = value
    else settings.set(`PREFECT_${rest.replaceAll('.', '_').toUpperCase()}`, value)
  }
  if (Object.keys(headers).length > 0) settings.set('PREFECT_CLIENT_CUSTOM_HEADERS', JSON.stringify(headers))
  return settings
}

const PATH_SETTING = 'PREFECT_PROFILES_PATH'

/** The profile file that a Prefect started here reads, by the rules of Prefect 3. */
export function callersFile(
  env: Env,
  home: string,
  files: readonly Source[],
  folder: string | undefined,
): CallersFile {
  const at = (path: string) => resolve(folder ?? '/', path.replace(/^~(?=\/|$)/, home))
  if (env[PATH_SETTING]) return { path: at(env[PATH_SETTING]), chosenBy: PATH_SETTING }
  for (const { place, settings } of files) {
    const path = settings.get(PATH_SETTING)
    if (path) return { path: at(path), chosenBy: `${nameIn(place)} in ${join(folder ?? '', place)}` }
  }
  if (env.PREFECT_HOME) return { path: at(join(env.PREFECT_HOME, 'profiles.toml')), chosenBy: 'PREFECT_HOME' }
  return { path: join(home, '.prefect', 'profiles.toml') }
}

function nameIn(place: string): string {
  return place === '.env' ? PATH_SETTING : 'profiles_path'
}
