/** Which directories of kept files the service's sandbox may be opened for. */
import { realpath } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import type { Terminal } from '../session.js'
import { resolveServicePlaces } from './plan.js'

/** Those of `folders` that may be opened, each once, sorted. */
export async function openable(folders: readonly string[], terminal: Terminal): Promise<readonly string[]> {
  const closed = await Promise.all(
    folders.map(async (folder) => (await whyNotOpened(folder, terminal)) === undefined),
  )
  return [...new Set(folders.filter((_folder, at) => closed[at] === true))].sort()
}

/**
 * Why the service must not be able to write to `folder`, a real path; `undefined` if it may. The sandbox is opened for all that
 * is below, and what others start from there would run outside of it.
 */
export async function whyNotOpened(folder: string, terminal: Terminal): Promise<string | undefined> {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: exactly these cannot be in a unit
  if (/[\u0000-\u001f\u007f]/.test(folder)) return 'a unit cannot name a path with a control character'
  const { unitDir, launcher } = resolveServicePlaces(terminal)
  const [home, units, script, program] = await Promise.all(
    [terminal.home, unitDir, launcher, join(terminal.packageDir, 'dist')].map(realPathOf),
  )
  const startedFrom = await Promise.all(
    (terminal.env.PATH ?? '')
      .split(':')
      .filter((path) => path.startsWith('/'))
      .map(realPathOf),
  )
  const all = [
    { path: home, says: 'the service could write to your whole home directory' },
    { path: units, says: 'the service could write its own units' },
    { path: script, says: 'the service could write its own start script' },
    { path: program, says: 'the service could write its own program' },
    ...startedFrom.map((path) => ({ path, says: 'the service could write programs that you start' })),
  ]
  if (units !== undefined && contains(units, folder)) return 'the service could write its own units'
  return all.find(({ path }) => path !== undefined && contains(folder, path))?.says
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
