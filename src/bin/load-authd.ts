/**
 * Entry point of `prefect-authd`: runs the scripts beside it, all but the first when they are wanted, with a code cache each.
 *
 * Compiling is a third of a start. What V8 compiled is kept in the state directory and given back to V8 at the next start of
 * the same Node with the same program. Without the cache, or with a wrong one, the program starts all the same.
 */
import { createHash, timingSafeEqual } from 'node:crypto'
import {
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  openSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { createRequire } from 'node:module'
import { homedir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { setFlagsFromString } from 'node:v8'
import { Script } from 'node:vm'
import { resolvePaths } from '../config/paths.js'
import { SECOND_MS } from '../std/clock.js'
import { defined } from '../std/defined.js'

/** By then everything that a start and a first answer need is compiled, and nobody waits. */
const KEEP_AFTER_MS = 10 * SECOND_MS
/** By then a start has loaded its modules of Node: V8 compiles again what is loaded after its flags have changed. */
const STARTED_AFTER_MS = SECOND_MS
const DIGEST_BYTES = 32
/**
 * Of V8's young generation, when it is full: one that does not grow saves 30 MB after a burst of requests. On the command
 * line any flag makes a start take half as long again: what Node ships of its own modules is compiled for none.
 */
const GROWTH = { usual: '--semi-space-growth-factor=2', none: '--semi-space-growth-factor=1' } as const

const program = fileURLToPath(new URL('authd.cjs', import.meta.url))
/** Of the rest: what answers everything, and what asks Prefect. */
const PARTS = ['late', 'out'] as const
run()

function run(): void {
  const path = findPath()
  const parts = PARTS.map(openPart)
  const main = compile({ file: program, bytes: readFileSync(program), path })
  if (typeof main !== 'function') throw new TypeError(`${program} is not what was built`)
  const late = (name: string, hash: string): unknown => {
    const part = parts.find((one) => one.name === name)
    if (part === undefined) throw new Error(`${program} has no part ${name}`)
    const { file } = part
    const bytes = readPart(part)
    if (digest('', bytes).toString('hex') !== hash) throw new Error(`${file} is of another build`)
    return asAtStart(() => compile({ file, bytes, path: path && `${path}-${name}` }))
  }
  const require = createRequire(import.meta.url)
  Reflect.apply(main, undefined, [require, program, dirname(program), import.meta.url, late])
  setTimeout(() => setFlagsFromString(GROWTH.none), STARTED_AFTER_MS).unref()
}

interface Part {
  readonly name: string
  readonly file: string
  /** `undefined`: it is not there. */
  readonly descriptor: number | undefined
}

/** Opened before it is needed: an update may have removed it by then. */
function openPart(name: string): Part {
  const file = join(dirname(program), `authd-${name}.cjs`)
  try {
    return { name, file, descriptor: openSync(file, constants.O_RDONLY) }
  } catch {
    return { name, file, descriptor: undefined }
  }
}

function readPart({ file, descriptor }: Part): Buffer {
  if (descriptor === undefined) throw new Error(`${file} was not there when the program started`)
  const bytes = Buffer.alloc(fstatSync(descriptor).size)
  if (readSync(descriptor, bytes, 0, bytes.length, 0) !== bytes.length) throw new Error(`${file} was cut`)
  return bytes
}

/** What the script evaluates to; its compiled form is taken from `path`, or kept there later. */
function compile({ file, bytes, path }: { file: string; bytes: Buffer; path: string | undefined }): unknown {
  // The whole program: V8 itself compares only its length.
  const key = `${process.version} ${process.arch} ${process.execArgv.join(' ')} ${digest('', bytes).toString('hex')}`
  // One byte a character: V8 keeps such a string outside its heap, as it is.
  const source = bytes.toString('latin1')
  const kept = path === undefined ? undefined : readKept(path, key)
  const script =
    path === undefined || kept === undefined
      ? new Script(source, { filename: file })
      : compileWith({ source, filename: file }, kept, path)
  const value: unknown = script.runInThisContext()
  if (path === undefined || (kept !== undefined && script.cachedDataRejected !== true)) return value
  setTimeout(() => keep(script, path, key), KEEP_AFTER_MS).unref()
  return value
}

/** `undefined` if there is no state directory; the program itself reports that. */
function findPath(): string | undefined {
  try {
    const { stateDir } = resolvePaths({
      env: process.env,
      home: homedir(),
      platform: process.platform,
      ...defined({ uid: process.getuid?.() }),
    })
    return join(stateDir, 'code-cache')
  } catch {
    return undefined
  }
}

/** Only if it is a file of ours and whole: V8 crashes on data that is not its own. */
function readKept(path: string, key: string): Buffer | undefined {
  if (!isOurs(dirname(path))) return undefined
  try {
    // A pipe in its place must not block the start.
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

/** The program refuses a directory that others can write to; until then nothing in it is touched. */
function isOurs(directory: string): boolean {
  try {
    const stats = lstatSync(directory)
    return stats.isDirectory() && stats.uid === process.getuid?.() && (stats.mode & 0o077) === 0
  } catch {
    return false
  }
}

/** Renames the cache while V8 reads it: if V8 crashes on it, the next start finds none. */
function compileWith(
  { source, filename }: { readonly source: string; readonly filename: string },
  cachedData: Buffer,
  path: string,
): Script {
  const aside = `${path}.reading`
  if (!isRenamed(path, aside)) return new Script(source, { filename })
  const script = new Script(source, { filename, cachedData })
  isRenamed(aside, path)
  return script
}

function isRenamed(from: string, to: string): boolean {
  try {
    renameSync(from, to)
    return true
  } catch {
    // Another start renamed it, or somebody removed it.
    return false
  }
}

function keep(script: Script, path: string, key: string): void {
  if (!isOurs(dirname(path))) return
  const next = `${path}.new`
  try {
    const data = asAtStart(() => script.createCachedData())
    // Whatever is there, a pipe perhaps, is not written to.
    rmSync(next, { force: true })
    const file = openSync(next, 'wx', 0o600)
    try {
      // Not joined first: the daemon would keep the memory for good.
      for (const bytes of [digest(key, data), data]) writeFileSync(file, bytes)
    } finally {
      closeSync(file)
    }
    renameSync(next, path)
  } catch {
    // A full or read-only disk: the next start takes as long as this one.
  }
}

/** V8 takes back only what was made under the same flags. */
function asAtStart<T>(work: () => T): T {
  setFlagsFromString(GROWTH.usual)
  try {
    return work()
  } finally {
    // A moment early, if a part is needed at once.
    setFlagsFromString(GROWTH.none)
  }
}

function digest(key: string, data: Uint8Array): Buffer {
  return createHash('sha256').update(key).update(data).digest()
}
