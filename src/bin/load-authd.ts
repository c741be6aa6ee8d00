/**
 * What is started as `prefect-authd`: runs the program beside it. Reading and compiling 1.4 MB is a third of a start, so
 * what V8 made of it is kept in the state directory and handed back to V8 at the next start of the same Node with the
 * same program. It can only save time: without it, or with a wrong one, the program starts all the same.
 */
import { createHash, timingSafeEqual } from 'node:crypto'
import {
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  openSync,
  readFileSync,
  renameSync,
  writeFileSync,
} from 'node:fs'
import { createRequire } from 'node:module'
import { homedir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Script } from 'node:vm'
import { resolvePaths } from '../config/paths.js'

/** Late enough that what a start and a first answer take is compiled, and that nobody waits. */
const KEEP_AFTER_MS = 10_000
const DIGEST_BYTES = 32

const program = fileURLToPath(new URL('authd.cjs', import.meta.url))
run()

function run(): void {
  const path = findPath()
  const bytes = readFileSync(program)
  // All of the program: V8 itself compares no more than its length.
  const key = `${process.version} ${process.arch} ${process.execArgv.join(' ')} ${digest('', bytes).toString('hex')}`
  // One byte a character: V8 keeps such a text outside of its heap, as it is.
  const source = bytes.toString('latin1')
  const kept = path === undefined ? undefined : readKept(path, key)
  const script =
    path === undefined || kept === undefined
      ? new Script(source, { filename: program })
      : compileWith(source, kept, path)
  const main: unknown = script.runInThisContext()
  if (typeof main !== 'function') throw new TypeError(`${program} is not what was built`)
  const require = createRequire(import.meta.url)
  Reflect.apply(main, undefined, [require, program, dirname(program), import.meta.url])
  if (path === undefined || (kept !== undefined && script.cachedDataRejected !== true)) return
  setTimeout(() => keep(script, path, key), KEEP_AFTER_MS).unref()
}

/** `undefined` where nothing says where state is kept; the program will have words for that. */
function findPath(): string | undefined {
  try {
    const { stateDir } = resolvePaths({
      env: process.env,
      home: homedir(),
      platform: process.platform,
      ...(process.getuid ? { uid: process.getuid() } : {}),
    })
    return join(stateDir, 'code-cache')
  } catch {
    return undefined
  }
}

/** Ours alone, and whole: V8 dies of data that is not its own. */
function readKept(path: string, key: string): Buffer | undefined {
  if (!isOurs(dirname(path))) return undefined
  try {
    // Not to be held up by a pipe in its place.
    const file = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
    try {
      const stats = fstatSync(file)
      if (!stats.isFile() || stats.uid !== process.getuid?.() || (stats.mode & 0o077) !== 0) return undefined
      const content = readFileSync(file)
      const data = content.subarray(DIGEST_BYTES)
      return timingSafeEqual(digest(key, data), content.subarray(0, DIGEST_BYTES)) ? data : undefined
    } finally {
      closeSync(file)
    }
  } catch {
    return undefined
  }
}

/** A directory that others can write to is the program's to refuse; until then nothing in it is touched. */
function isOurs(directory: string): boolean {
  try {
    const stats = lstatSync(directory)
    return stats.isDirectory() && stats.uid === process.getuid?.() && (stats.mode & 0o077) === 0
  } catch {
    return false
  }
}

/** Under another name for as long as V8 reads it: should V8 die of it all the same, the next start finds nothing. */
function compileWith(source: string, cachedData: Buffer, path: string): Script {
  const aside = `${path}.reading`
  if (!isRenamed(path, aside)) return new Script(source, { filename: program })
  const script = new Script(source, { filename: program, cachedData })
  isRenamed(aside, path)
  return script
}

function isRenamed(from: string, to: string): boolean {
  try {
    renameSync(from, to)
    return true
  } catch {
    // Another start took it, or somebody cleaned up.
    return false
  }
}

function keep(script: Script, path: string, key: string): void {
  if (!isOurs(dirname(path))) return
  const next = `${path}.new`
  try {
    const data = script.createCachedData()
    writeFileSync(next, Buffer.concat([digest(key, data), data]), { mode: 0o600 })
    renameSync(next, path)
  } catch {
    // A full disk, a read-only one: the next start takes as long as this one.
  }
}

function digest(key: string, data: Uint8Array): Buffer {
  return createHash('sha256').update(key).update(data).digest()
}
