// Runs the tests: all, those that need no real parts (--fast), or those in the files and folders named.
// Everything is compiled once. Files that need real parts have a process each, the others share a few.
import { spawn } from 'node:child_process'
import { readdirSync, readFileSync, statfsSync, statSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { join, relative, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { compileTests } from './compile-tests.mjs'
import { ownFolder } from './own-folder.mjs'
import { createRealPartsScan } from './real-parts.mjs'
import { condense, countsOf, totalLine } from './tap-output.mjs'

const ROOT = process.cwd()
const RUNNER = fileURLToPath(new URL('./run-test-files.mjs', import.meta.url))
const SHARED_FILES = 20
// For a file. Far more than any needs, on a machine that has other work as well.
const TEST_TIMEOUT_S = 900
// A test that blocks its process cannot time out; but then its process is silent for longer than any test may take.
const SILENCE_MS = (TEST_TIMEOUT_S + 60) * 1000
const MEMORY_BYTES = 256 * 1024 * 1024

const args = process.argv.slice(2)
const isFast = args.includes('--fast')
const wanted = args.filter((arg) => !arg.startsWith('--')).map((arg) => relative(ROOT, resolve(arg)))
const files = testFiles().filter(
  (file) => wanted.length === 0 || wanted.some((path) => `${file}/`.startsWith(`${path}/`)),
)
if (files.length === 0) throw new Error(`no test in ${wanted.join(', ')}`)

const needsRealParts = createRealPartsScan(ROOT)
const shared = shareOut(files.filter((file) => !needsRealParts(file)))
const alone = isFast ? [] : files.filter((file) => needsRealParts(file) && !waits(file)).map((file) => [file])
// One of these at a time, beside the others: it takes minutes and next to no processor.
const waiting = isFast
  ? []
  : files.filter((file) => needsRealParts(file) && waits(file)).map((file) => [file])
// Daemons, keyrings and user managers are real and heavy: two at a time.
const jobs = isFast ? Math.max(2, availableParallelism()) : 2

const compiled = ownFolder(join(ROOT, '.cache', 'tests'))
const memory = memoryFolder()
await compileTests(ROOT, compiled)

const results = []
const work = async (queue) => {
  for (let unit = queue.shift(); unit !== undefined; unit = queue.shift()) results.push(await run(unit))
}
const queue = [...shared, ...alone]
await Promise.all([...Array.from({ length: jobs }, () => work(queue)), work(waiting)])
print(totalLine(results))
process.exitCode = results.every(({ fail }) => fail === 0) ? 0 : 1

/** Runs files in one process, prints what came of them and returns the counts. */
async function run(unit) {
  const isShared = !needsRealParts(unit[0])
  const child = spawn(process.execPath, ['--enable-source-maps', RUNNER, compiled, ...unit], {
    cwd: ROOT,
    env: {
      ...process.env,
      TAP_TIMEOUT: String(TEST_TIMEOUT_S),
      ...(isShared && memory !== undefined ? { TMPDIR: memory } : {}),
    },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const kill = () => child.kill('SIGKILL')
  process.once('exit', kill)
  let text = ''
  let silence = setTimeout(kill, SILENCE_MS)
  child.stdout.setEncoding('utf8').on('data', (chunk) => {
    text += chunk
    clearTimeout(silence)
    silence = setTimeout(kill, SILENCE_MS)
  })
  const [code, signal] = await new Promise((done) => child.once('close', (...end) => done(end)))
  clearTimeout(silence)
  process.off('exit', kill)
  process.stdout.write(condense(text))
  const counts = countsOf(text)
  if (code === 0 && counts?.fail === 0) return counts
  if (counts !== undefined && counts.fail > 0) return counts
  // The last file that began is the one that ended the process.
  const last =
    text
      .match(/^# Subtest: test\/.*/gm)
      ?.at(-1)
      ?.slice('# Subtest: '.length) ?? unit.join(' ')
  print(`not ok - ${last} # its process ended with ${signal ?? code}`)
  const { total = 0, pass = 0, skip = 0, todo = 0 } = counts ?? {}
  return { total: total + 1, pass, fail: 1, todo, skip }
}

/** Whether the file says so in its first comment. */
function waits(file) {
  return readFileSync(join(ROOT, file), 'utf8').slice(0, 400).includes('Waits more than it works')
}

/** Every test file, the longest first. */
function testFiles() {
  return readdirSync(join(ROOT, 'test'), { recursive: true, encoding: 'utf8' })
    .map((name) => join('test', name))
    .filter((file) => file.endsWith('.ts') && !file.includes('/fixtures/'))
    .map((file) => ({ file, size: statSync(join(ROOT, file)).size }))
    .sort((a, b) => b.size - a.size)
    .map(({ file }) => file)
}

/** Deals files out to as few processes as there may be, at least one for each job. */
function shareOut(all) {
  const count = Math.min(all.length, Math.max(2, Math.ceil(all.length / SHARED_FILES)))
  return Array.from({ length: count }, (_, first) => all.filter((_file, index) => index % count === first))
}

/** A folder in memory, where no write waits for a disk; undefined if there is none, it is small or starts no programs. */
function memoryFolder() {
  try {
    const { bavail, bsize } = statfsSync('/dev/shm')
    const mount = readFileSync('/proc/mounts', 'utf8').match(/^\S+ \/dev\/shm .*$/m)?.[0] ?? 'noexec'
    return bavail * bsize >= MEMORY_BYTES && !mount.includes('noexec')
      ? ownFolder('/dev/shm/pab-tests')
      : undefined
  } catch {
    return undefined
  }
}

function print(text) {
  process.stdout.write(`${text}\n`)
}
