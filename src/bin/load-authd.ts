/**
 * What is started as `prefect-authd`: runs the program beside it. Reading and compiling 1.4 MB is a third of a start, so
 * what V8 made of it is kept in the state directory and handed back to V8 at the next start of the same Node with the
 * same program. It can only save time: without it, or with a wrong one, the program starts all the same.
 */
import { createHash, timingSafeEqual } from 'node:crypto'
import { closeSync, constants, fstatSync, openSync, readFileSync, renameSync, statSync } from 'node:fs'
import { createRequire } from 'node:module'
import { homedir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Script } from 'node:vm'
import { resolvePaths } from '../config/paths.js'
import { writeFileAtomic } from '../std/atomic-file.js'

/** Late enough that what a start and a first answer take is compiled, and that nobody waits. */
const KEEP_AFTER_MS = 10_000
const DIGEST_BYTES = 32

const program = fileURLToPath(new URL('authd.cjs', import.meta.url))
run()

function run(): void {
  const { stateDir } = resolvePaths({
    env: process.env,
    home: homedir(),
    platform: process.platform,
    ...(process.getuid ? { uid: process.getuid() } : {}),
  })
  const path = join(stateDir, 'code-cache')
  const { size, mtimeMs } = statSync(program)
  const key = JSON.stringify([process.version, process.arch, process.execArgv, size, mtimeMs])
  // One byte a character: V8 keeps such a text outside of its heap, as it is.
  const source = readFileSync(program, 'latin1')
  const kept = readKept(path, key)
  const script =
    kept === undefined ? new Script(source, { filename: program }) : compileWith(source, kept, path)
  const main: unknown = script.runInThisContext()
  if (typeof main !== 'function') throw new TypeError(`${program} is not what was built`)
  const require = createRequire(import.meta.url)
  Reflect.apply(main, undefined, [require, program, dirname(program), import.meta.url])
  if (kept !== undefined && script.cachedDataRejected !== true) return
  setTimeout(() => void keep(script, path, key), KEEP_AFTER_MS).unref()
}

/** Ours alone, and whole: V8 dies of data that is not its own. */
function readKept(path: string, key: string): Buffer | undefined {
  try {
    const file = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW)
    try {
      const { uid, mode } = fstatSync(file)
      if (uid !== process.getuid?.() || (mode & 0o077) !== 0) return undefined
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

/** Under another name for as long as V8 reads it: should V8 die of it all the same, the next start finds nothing. */
function compileWith(source: string, cachedData: Buffer, path: string): Script {
  const aside = `${path}.reading`
  try {
    renameSync(path, aside)
  } catch {
    return new Script(source, { filename: program })
  }
  const script = new Script(source, { filename: program, cachedData })
  renameSync(aside, path)
  return script
}

async function keep(script: Script, path: string, key: string): Promise<void> {
  try {
    const data = script.createCachedData()
    await writeFileAtomic(path, Buffer.concat([digest(key, data), data]))
  } catch {
    // A full disk, a read-only one: the next start takes as long as this one.
  }
}

function digest(key: string, data: Uint8Array): Buffer {
  return createHash('sha256').update(key).update(data).digest()
}
