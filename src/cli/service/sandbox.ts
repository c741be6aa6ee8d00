/** Which directories of kept files the service's sandbox may be opened for. */
import { realpath } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import type { Surroundings } from '../../config/paths.js'
import { resolveServicePlaces } from './plan.js'
import { hasControl } from './templates.js'

const OWN_UNITS = 'the service could write its own units'

type Around = Surroundings & {
  /** Contains `dist`. */
  readonly packageDir: string
}

/** Those of `folders` that may be opened, each once, sorted. */
export async function openable(folders: readonly string[], around: Around): Promise<readonly string[]> {
  const closed = await Promise.all(
    folders.map(async (folder) => (await whyNotOpened(folder, around)) === undefined),
  )
  return [...new Set(folders.filter((_folder, at) => closed[at] === true))].sort()
}

/**
 * Why the service must not be able to write to `folder`, a real path; `undefined` if it may. The sandbox is opened for all that
 * is below, and what others start from there would run outside of it.
 */
export async function whyNotOpened(folder: string, around: Around): Promise<string | undefined> {
  if (hasControl(folder)) return 'a unit cannot name a path with a control character'
  const { unitDir, launcher } = resolveServicePlaces(around)
  const [home, units, script, program] = await Promise.all([
    realPathOf(around.home),
    realPathOf(unitDir),
    realPathOf(launcher),
    realPathOf(join(around.packageDir, 'dist')),
  ])
  const startedFrom = await Promise.all(
    (around.env.PATH ?? '')
      .split(':')
      .filter((path) => path.startsWith('/'))
      .map(realPathOf),
  )
  const all = [
    { path: home, says: 'the service could write to your whole home directory' },
    { path: units, says: OWN_UNITS },
    { path: script, says: 'the service could write its own start script' },
    { path: program, says: 'the service could write its own program' },
  ]
  if (contains(units, folder)) return OWN_UNITS
  // Those below a directory of `PATH`, not above: a project has its virtual environment in itself.
  if (startedFrom.some((path) => contains(path, folder)))
    return 'the service could write programs that you start'
  return all.find(({ path }) => contains(folder, path))?.says
}

function contains(folder: string, path: string): boolean {
  return path === folder || path.startsWith(folder.endsWith('/') ? folder : `${folder}/`)
}

/** What is not there yet will be below what is. */
export async function realPathOf(path: string): Promise<string> {
  const real = await realpath(path).catch(() => undefined)
  const parent = dirname(path)
  if (real !== undefined || parent === path) return real ?? path
  return join(await realPathOf(parent), basename(path))
}
