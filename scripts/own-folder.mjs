// Folders of one process, named after it, and gone with it.
import { mkdirSync, readdirSync, rmSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'

/** Creates PATH-PID, removed when this process exits. Removes those that killed processes left. */
export function ownFolder(path) {
  const parent = dirname(path)
  mkdirSync(parent, { recursive: true })
  for (const name of readdirSync(parent)) {
    const [, prefix, pid] = /^(.+)-(\d+)$/.exec(name) ?? []
    if (prefix === basename(path) && !isRunning(Number(pid))) remove(join(parent, name))
  }
  const own = `${path}-${process.pid}`
  remove(own)
  mkdirSync(own)
  process.on('exit', () => remove(own))
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => process.exit(1))
  return own
}

function remove(path) {
  rmSync(path, { recursive: true, force: true, maxRetries: 3 })
}

function isRunning(pid) {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return error.code === 'EPERM'
  }
}
