// Puts a finished build in the place of the one before, while programs of that one may be running.
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, statSync, utimesSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'

/**
 * Renames every file of `from` into `to`, where no file is ever missing or half written. Chunks go first: a program finds
 * the chunks that it names. What the build before had stays for programs that started from it; `prune` removes that too.
 */
export function installBuild(from, to, { prune = false } = {}) {
  const fresh = filesIn(from).sort((a, b) => Number(isChunk(b)) - Number(isChunk(a)))
  const before = filesIn(to).map((file) => ({ file, time: timeOf(join(to, file)) }))
  const now = new Date()
  for (const file of fresh) {
    utimesSync(join(from, file), now, now) // one time for all of a build, by which it is known
    mkdirSync(dirname(join(to, file)), { recursive: true })
    renameSync(join(from, file), join(to, file))
  }
  const last = Math.max(...before.map(({ time }) => time))
  for (const { file, time } of before) {
    if (!fresh.includes(file) && (prune || time < last)) rmSync(join(to, file), { force: true })
  }
}

function isChunk(file) {
  return file.startsWith('chunks/')
}

function filesIn(folder) {
  if (!existsSync(folder)) return []
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(folder, join(entry.parentPath, entry.name)))
}

/** When it was built; another build may have removed it a moment ago. */
function timeOf(path) {
  return statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0
}
