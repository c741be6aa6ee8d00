/** The files of a service: written if they differ, and removed without a trace. */
import { chmod, mkdir, rmdir, unlink } from 'node:fs/promises'
import { dirname } from 'node:path'
import { writeFileAtomic } from '../../os/atomic-file.js'
import { readPlainFile } from '../../os/private-files.js'

export interface ServiceFile {
  readonly path: string
  readonly text: string
  readonly mode: number
}

/** The files that are missing or have another content. */
export async function findOutdated(files: readonly ServiceFile[]): Promise<readonly ServiceFile[]> {
  const differs = await Promise.all(files.map(async ({ path, text }) => (await readText(path)) !== text))
  return files.filter((_file, at) => differs[at] === true)
}

export async function writeFiles(files: readonly ServiceFile[]): Promise<void> {
  for (const { path, text, mode } of files) {
    await mkdir(dirname(path), { recursive: true, mode: 0o700 })
    await writeFileAtomic(path, text, { mode })
    await chmod(path, mode)
  }
}

/** Removes files, then those of `directories` that are empty. Resolves with the files that existed. */
export async function removeFiles(
  paths: readonly string[],
  directories: readonly string[],
): Promise<readonly string[]> {
  const removed: string[] = []
  for (const path of paths) {
    if (await succeeds(unlink(path))) removed.push(path)
  }
  for (const directory of directories) await succeeds(rmdir(directory))
  return removed
}

async function readText(path: string): Promise<string | undefined> {
  const content = await readPlainFile(path).catch(() => undefined)
  return content?.toString('utf8')
}

function succeeds(work: Promise<unknown>): Promise<boolean> {
  return work.then(
    () => true,
    () => false,
  )
}
