// Breaks the mechanism that changes keys in one place after another, and lists the places where no fast test notices.
// Arguments: source files or folders (else: every file of the mechanism), and tests to ask (else: fast ones of these rooms).
import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join, relative, resolve } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { transform } from 'esbuild'
import { compileTests } from './compile-tests.mjs'
import { mutantsOf } from './mutants.mjs'
import { ownFolder } from './own-folder.mjs'
import { createRealPartsScan } from './real-parts.mjs'

const ROOT = process.cwd()
const RUNNER = fileURLToPath(new URL('./run-test-files.mjs', import.meta.url))
/** Mutants that behave as the original does, each with the reason. */
const EQUAL = JSON.parse(readFileSync(new URL('./equal-mutants.json', import.meta.url), 'utf8'))
const WORKERS = 2
/** What a test file may take to count as fast. */
const FAST_MS = 60_000
/** So many tests are asked about one place: those of its room first, then the quickest. */
const MOST_ASKED = 12
/** What was measured, for the next run over the same code. */
const MEASURED = join(ROOT, '.cache', 'mutants-measured.json')

/** The mechanism; of a file with functions named, those alone. */
const MECHANISM = [
  ...list('src/keys', 'change intent journal ledger undo file-edits outcome turns revocation takeover'),
  ...list('src/keys', 'disposal verdict verdicts settlement'),
  ...list('src/os', 'atomic-file document state-lock'),
  ...list('src/serve', 'holds'),
  ...list('src/renewal', 'retire'),
  { file: 'src/serve/serve.ts', functions: ['markHandedOut', 'isGivenSafely'] },
]
/** Whose tests are asked. */
const TESTS = ['admin', 'daemon', 'keys', 'login', 'os', 'prefect', 'profiles', 'renewal', 'serve', 'status']

const named = process.argv.slice(2).map((path) => relative(ROOT, resolve(path)))
const namedTests = named.filter((path) => path.startsWith('test/'))
const sources = named.filter((path) => !path.startsWith('test/'))
const chosen = MECHANISM.filter(
  ({ file }) => sources.length === 0 || sources.some((path) => `${file}/`.startsWith(`${path}/`)),
)
if (chosen.length === 0) throw new Error(`no file of the mechanism in ${sources.join(', ')}`)

const work = ownFolder(join(ROOT, '.cache', 'mutants'))
const folders = Array.from({ length: WORKERS }, (_, index) => join(work, String(index)))
for (const folder of folders) await compileTests(ROOT, folder)

const tests = await measured(namedTests.length > 0 ? namedTests : testFiles())
const queue = (await Promise.all(chosen.map(prepared))).flat()
const total = queue.length
const found = { survived: [], unseen: [], equal: [], hung: [] }
await inParallel(queue, examine)
report()

/** How long every test file takes alone, and which parts of the mechanism it executes; the quickest first. */
async function measured(files) {
  const key = createHash('sha256').update(files.join())
  for (const name of readdirSync(folders[0], { recursive: true }).sort()) {
    const path = join(folders[0], name)
    if (statSync(path).isFile()) key.update(name).update(readFileSync(path))
  }
  const digest = key.digest('hex')
  const known = remembered(digest)
  if (known !== undefined) return known
  const results = []
  await inParallel([...files], async (file, folder) => {
    const coverage = join(folder, 'coverage')
    rmSync(coverage, { recursive: true, force: true })
    const begun = Date.now()
    const end = await run(folder, [file], namedTests.length > 0 ? 2 ** 30 : FAST_MS, {
      NODE_V8_COVERAGE: coverage,
    })
    const ms = Date.now() - begun
    if (end !== 'passed' && namedTests.length > 0) throw new Error(`${file} does not pass as it is`)
    if (end !== 'passed') return print(`# ${file} is not asked: it ${end === 'hung' ? 'is slow' : 'fails'}`)
    results.push({ file, ms, executed: executedParts(coverage, folder) })
  })
  results.sort((one, other) => one.ms - other.ms)
  writeFileSync(MEASURED, JSON.stringify({ digest, results }))
  return results
}

function remembered(digest) {
  try {
    const measured = JSON.parse(readFileSync(MEASURED, 'utf8'))
    return measured.digest === digest ? measured.results : undefined
  } catch {
    return undefined
  }
}

/** By compiled file: for each process that loaded it, V8's ranges with their counts. */
function executedParts(coverage, folder) {
  const base = `${pathToFileURL(folder).href}/`
  const files = new Set(MECHANISM.map(({ file }) => compiledName(file)))
  const parts = {}
  for (const name of readdirSync(coverage)) {
    for (const { url, functions } of JSON.parse(readFileSync(join(coverage, name), 'utf8')).result) {
      const file = url.slice(base.length)
      if (!files.has(file)) continue
      const ranges = functions.flatMap((one) => one.ranges)
      parts[file] ??= []
      parts[file].push(ranges.map(({ startOffset, endOffset, count }) => [startOffset, endOffset, count]))
    }
  }
  return parts
}

/** The innermost range around a place says how often it was executed. */
function isExecuted(processes, offset) {
  return processes.some((ranges) => {
    const around = ranges.filter(([start, end]) => start <= offset && offset < end)
    const [inner] = around.sort(([start, end], [from, to]) => end - start - (to - from))
    return inner !== undefined && inner[2] > 0
  })
}

/** The file's mutants, compiled, each with the tests that execute what it changes. */
async function prepared({ file, functions }) {
  const source = readFileSync(join(ROOT, file), 'utf8')
  const compiled = compiledName(file)
  const original = await compile(file, source)
  const room = file.split('/')[1]
  const isNear = (test) => test.file.startsWith(`test/${room}/`)
  const ordered = [...tests.filter(isNear), ...tests.filter((test) => !isNear(test))]
  return Promise.all(
    mutantsOf(file, source, functions).map(async (mutant) => {
      const code = await compile(file, mutant.text)
      const offset = firstDifference(original, code)
      const asked = ordered.filter(
        ({ executed }) => offset >= 0 && isExecuted(executed[compiled] ?? [], offset),
      )
      return {
        ...mutant,
        file,
        compiled,
        code,
        original,
        asked: asked.slice(0, MOST_ASKED),
        isSame: offset < 0,
      }
    }),
  )
}

async function examine(mutant, folder) {
  if (mutant.isSame) return
  const path = join(folder, mutant.compiled)
  writeFileSync(path, mutant.code)
  const ms = mutant.asked.reduce((sum, test) => sum + test.ms, 0)
  const end = mutant.asked.length === 0 ? 'unseen' : await run(folder, filesOf(mutant), 10_000 + 4 * ms)
  writeFileSync(path, mutant.original)
  if (end === 'failed') return
  if (end === 'hung') return void found.hung.push(mutant)
  const reason = reasonOf(mutant)
  found[reason !== undefined ? 'equal' : end === 'unseen' ? 'unseen' : 'survived'].push(mutant)
  if (reason === undefined) print(`${end === 'unseen' ? 'no test' : 'survives'}: ${nameOf(mutant)}`)
}

function filesOf({ asked }) {
  return asked.map(({ file }) => file)
}

/** Returns `passed`, `failed` at the first test that fails, or `hung` after `ms`. */
function run(folder, files, ms, env = {}) {
  return new Promise((done) => {
    const child = spawn(process.execPath, [RUNNER, folder, ...files], {
      cwd: ROOT,
      // A mutant has its own time-out; tap's would end slow tests on a busy machine.
      env: { ...process.env, TAP_TIMEOUT: '900', ...env },
      stdio: ['ignore', 'pipe', 'ignore'],
    })
    let text = ''
    let verdict
    const end = (found) => {
      verdict ??= found
      child.kill('SIGKILL')
    }
    const timer = setTimeout(end, ms, 'hung')
    const kill = () => child.kill('SIGKILL')
    process.once('exit', kill)
    child.stdout.setEncoding('utf8').on('data', (chunk) => {
      text = text.slice(-200) + chunk
      if (/^\s*not ok/m.test(text)) end('failed')
    })
    child.once('close', (code) => {
      clearTimeout(timer)
      process.off('exit', kill)
      done(verdict ?? (code === 0 ? 'passed' : 'failed'))
    })
  })
}

async function inParallel(items, act) {
  await Promise.all(
    folders.map(async (folder) => {
      for (let item = items.shift(); item !== undefined; item = items.shift()) await act(item, folder)
    }),
  )
}

async function compile(file, text) {
  const url = JSON.stringify(pathToFileURL(join(ROOT, file)).href)
  const { code } = await transform(text, {
    loader: 'ts',
    format: 'esm',
    target: 'node20.19',
    define: { 'import.meta.url': url },
  })
  return code
}

function firstDifference(one, other) {
  if (one === other) return -1
  let offset = 0
  while (one[offset] === other[offset]) offset += 1
  return offset
}

function testFiles() {
  const needsRealParts = createRealPartsScan(ROOT)
  return TESTS.flatMap((room) =>
    readdirSync(join(ROOT, 'test', room))
      .map((name) => join('test', room, name))
      .filter((file) => file.endsWith('.ts') && statSync(join(ROOT, file)).isFile() && !needsRealParts(file)),
  )
}

function reasonOf({ file, line, change }) {
  return EQUAL.find((one) => one.file === file && one.line === line && one.change === change)?.reason
}

function nameOf({ file, number, line, change, asked }) {
  return `${file}:${number}: ${change}\n    ${line}\n    # ${filesOf({ asked }).join(' ') || 'executed by none'}`
}

function report() {
  for (const mutant of found.hung) print(`hung, which counts as noticed: ${nameOf(mutant)}`)
  const { survived, unseen, equal } = found
  const files = new Set(chosen.map(({ file }) => file))
  const unused = EQUAL.filter(
    (one) =>
      files.has(one.file) &&
      !equal.some((mutant) => one.line === mutant.line && one.change === mutant.change),
  )
  for (const { file, line, change } of unused)
    print(`in equal-mutants.json without need: ${file}: ${change}: ${line}`)
  print(
    `${total} mutants: ${survived.length + unseen.length} survive, ${equal.length} are equal, the others are noticed`,
  )
  process.exitCode = survived.length + unseen.length === 0 ? 0 : 1
}

function compiledName(file) {
  return file.replace(/\.ts$/, '.js')
}

function list(folder, names) {
  return names.split(' ').map((name) => ({ file: `${folder}/${name}.ts` }))
}

function print(text) {
  process.stdout.write(`${text}\n`)
}
