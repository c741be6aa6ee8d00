/** The build: programs running from dist/ lose nothing during a build, and no leftovers stay. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'

const checkout = fileURLToPath(new URL('../../', import.meta.url))
const root = mkdtempSync(join(tmpdir(), 'pab-build-'))
t.after(() => rmSync(root, { recursive: true, force: true }))
cpSync(join(checkout, 'src'), join(root, 'src'), { recursive: true })
for (const name of ['package.json', 'LICENSE', 'python'])
  cpSync(join(checkout, name), join(root, name), { recursive: true })
symlinkSync(join(checkout, 'node_modules'), join(root, 'node_modules'))
const sources = readdirSync(join(root, 'src/cli'), { recursive: true, encoding: 'utf8' })
  .filter((name) => name.endsWith('.ts'))
  .map((name) => join(root, 'src/cli', name))
  .map((file) => [file, readFileSync(file, 'utf8')] as const)
const dist = (name: string) => join(root, 'dist', name)

/** Starts a build of sources in which every module of the command line is another. */
function startBuild(mark: string, ...flags: readonly string[]): ChildProcess {
  for (const [file, text] of sources) {
    writeFileSync(file, `${text}\nObject.assign(globalThis, { mark: '${mark}' })\n`)
  }
  return spawn(process.execPath, [join(checkout, 'scripts/build.mjs'), ...flags], {
    cwd: root,
    stdio: 'inherit',
  })
}

function ended(child: ChildProcess): Promise<number | null> {
  return new Promise((resolve) => child.once('close', resolve))
}

function run(program: string, ...args: readonly string[]) {
  return spawnSync(process.execPath, [program, ...args], { encoding: 'utf8', env: { HOME: root } })
}

const leftovers = () => readdirSync(root).filter((name) => name.startsWith('dist.new'))
const chunks = () => readdirSync(dist('chunks')).map((name) => dist(`chunks/${name}`))

t.test('the first build makes programs that run', async (t) => {
  t.equal(await ended(startBuild('0')), 0)
  t.match(run(dist('auth.cjs'), '--help'), { status: 0, stderr: '' })
  t.same(leftovers(), [])
})

t.test('the daemon, which is compiled as a script, imports nothing by itself', async (t) => {
  t.notMatch(readFileSync(dist('authd.cjs'), 'utf8'), /\bimport\(["'`]/)
})

t.test('while it is built again, every program is there and whole', async (t) => {
  const programs = [
    'prefect-auth',
    'prefect-authd',
    'auth.cjs',
    'authd.js',
    'authd-late.cjs',
    'authd-out.cjs',
    'authd.cjs',
    'keychain-child.js',
  ].map(dist)
  const sizes = new Map(programs.map((path) => [path, statSync(path).size]))
  const first = chunks()
  const end = ended(startBuild('1'))
  const broken = new Set<string>()
  let isOver = false
  let looks = 0
  void end.finally(() => {
    isOver = true
  })
  while (!isOver) {
    // Marks of one length make programs of one length.
    for (const path of programs) if (sizeOf(path) !== sizes.get(path)) broken.add(path)
    for (const path of first) if (!existsSync(path)) broken.add(path)
    looks += 1
    await new Promise((resolve) => setImmediate(resolve))
  }
  t.equal(await end, 0)
  t.ok(looks > 1)
  t.same([...broken], [])
})

t.test('a program that started before a build loads its chunks after it', async (t) => {
  const before = readFileSync(dist('auth.cjs'))
  t.equal(await ended(startBuild('2')), 0)
  t.notOk(readFileSync(dist('auth.cjs')).equals(before), 'they are other programs')
  writeFileSync(dist('before.cjs'), before)
  t.match(run(dist('before.cjs'), '--help'), { status: 0, stderr: '' })
  rmSync(dist('before.cjs'))
})

t.test('chunks older than the build before are removed, and with --prune all but its own', async (t) => {
  const second = chunks()
  t.equal(await ended(startBuild('3')), 0)
  t.equal(await ended(startBuild('4')), 0)
  t.ok(
    second.some((path) => !existsSync(path)),
    'two builds later',
  )
  t.equal(await ended(startBuild('4', '--prune')), 0)
  const pruned = chunks()
  rmSync(join(root, 'dist'), { recursive: true })
  t.equal(await ended(startBuild('4')), 0)
  t.same(pruned.sort(), chunks().sort())
})

t.test('two builds at once both succeed', async (t) => {
  const codes = await Promise.all([ended(startBuild('5')), ended(startBuild('5'))])
  t.same(codes, [0, 0])
  t.match(run(dist('auth.cjs'), '--help'), { status: 0, stderr: '' })
  t.same(leftovers(), [])
})

t.test('what a killed build left is removed, what a running one writes is not', async (t) => {
  const dead = spawnSync(process.execPath, ['-e', '']).pid
  mkdirSync(join(root, `dist.new-${dead}`))
  mkdirSync(join(root, `dist.new-${process.pid}`))
  t.equal(await ended(startBuild('6')), 0)
  t.same(leftovers(), [`dist.new-${process.pid}`])
})

function sizeOf(path: string): number | undefined {
  return statSync(path, { throwIfNoEntry: false })?.size
}
