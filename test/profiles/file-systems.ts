import { execFileSync } from 'node:child_process'
import {
  chmodSync,
  existsSync,
  lstatSync,
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
import t, { type Test } from 'tap'
import { openProfileStore } from '../../src/profiles/open-profiles.js'
import type { Overwritten, ProfileEdit } from '../../src/profiles/profile.js'
import { systemClock } from '../../src/std/clock.js'
import { silentLog } from '../../src/std/log.js'
import { whyNoSmallDisk } from '../fixtures/small-disk.js'

t.setTimeout(0)

const BASE = 'active = "one"\n\n[profiles.one]\nPREFECT_API_URL = "http://127.0.0.1:4200/api"\n# mine\n'
const setUrl = (port: string): ProfileEdit => ({
  kind: 'set',
  name: 'one',
  settings: { PREFECT_API_URL: `http://127.0.0.1:${port}/api` },
})
/** Only root may mount. */
const skip = whyNoSmallDisk()

function stage(t: Test) {
  const directory = mkdtempSync(join(tmpdir(), 'pab-fs-'))
  const mounts: string[] = []
  t.teardown(() => {
    for (const target of mounts.reverse()) execFileSync('umount', [target])
    rmSync(directory, { recursive: true, force: true })
  })
  const home = join(directory, 'home')
  const keepIn = join(directory, 'state')
  const outside = join(directory, 'outside')
  for (const name of [home, outside, keepIn]) mkdirSync(name, { mode: 0o700 })
  for (const name of [home, outside]) writeFileSync(join(name, 'profiles.toml'), BASE, { mode: 0o600 })
  return {
    ...{ directory, home, keepIn },
    path: join(home, 'profiles.toml'),
    outside: join(outside, 'profiles.toml'),
    bind(from: string, to: string) {
      execFileSync('mount', ['--bind', from, to])
      mounts.push(to)
    },
    closeDisk: (at: string) => execFileSync('mount', ['-o', 'remount,bind,ro', at]),
  }
}

async function openStore(t: Test, { path, keepIn }: { path: string; keepIn: string }) {
  const found: Overwritten[] = []
  const store = await openProfileStore({ path, keepIn, clock: systemClock(), log: silentLog(), watch: false })
  store.onOverwritten((one) => found.push(one))
  t.teardown(() => store.close())
  return { store, found }
}

const fixtures = new URL('fixtures/', import.meta.url).pathname
const editOnce = (places: readonly object[]) => [
  '--import=tsx',
  join(fixtures, 'edit-once.ts'),
  JSON.stringify(places),
]

t.test('writes a file that is a mount of its own in place', { skip }, async (t) => {
  const place = stage(t)
  place.bind(place.outside, place.path)
  const { ino } = statSync(place.outside)
  const { store } = await openStore(t, place)
  // Longer, shorter, and longer again.
  for (const port of ['42001', '1', '42002']) {
    await store.edit([setUrl(port)])
    const text = BASE.replace('4200', port)
    t.equal(readFileSync(place.outside, 'utf8'), text)
    t.equal(
      store.reading().file.profiles.get('one')?.settings.PREFECT_API_URL,
      `http://127.0.0.1:${port}/api`,
    )
  }
  t.equal(statSync(place.outside).ino, ino)
  t.strictSame(readdirSync(place.keepIn), [], 'the copy of the old text is gone')
  t.strictSame(readdirSync(place.home), ['profiles.toml'])
})

t.test('writes a file in place whose directory is read-only', { skip }, async (t) => {
  const place = stage(t)
  place.bind(place.home, place.home)
  place.bind(place.outside, place.path)
  place.closeDisk(place.home)
  const { store } = await openStore(t, place)
  await store.edit([setUrl('1')])
  t.equal(readFileSync(place.outside, 'utf8'), BASE.replace('4200', '1'))
})

t.test('refuses a read-only disk with the reason, the remedy, and the truth', { skip }, async (t) => {
  const place = stage(t)
  place.bind(place.home, place.home)
  place.closeDisk(place.home)
  const { store } = await openStore(t, place)
  await t.rejects(store.edit([setUrl('1')]), {
    code: 'disk_failed',
    message: /profiles\.toml: read-only file system; it is unchanged$/,
    hint: /^mount it writable: findmnt -T /,
  })
  t.equal(readFileSync(place.path, 'utf8'), BASE)
})

t.test(
  'refuses a link into a read-only store, and says how to get a file of its own',
  { skip },
  async (t) => {
    const place = stage(t)
    const store = join(place.directory, 'outside')
    place.bind(store, store)
    place.closeDisk(store)
    execFileSync('rm', [place.path])
    symlinkSync(place.outside, place.path)
    const { store: opened } = await openStore(t, place)
    const failure = await opened.edit([setUrl('1')]).catch((error: unknown) => error)
    t.match(failure, {
      code: 'disk_failed',
      message: /it is a link to .*read-only|read-only.*it is a link to/,
    })
    // The remedy works as it is printed.
    const hint: unknown = Reflect.get(Object(failure), 'hint')
    execFileSync('sh', ['-c', String(hint).replace(/^.*: (?=cp )/, '')])
    await opened.edit([setUrl('1')])
    t.notOk(lstatSync(place.path).isSymbolicLink())
    t.equal(readFileSync(place.path, 'utf8'), BASE.replace('4200', '1'))
  },
)

t.test('writes through links of links, also to a target that does not exist yet', async (t) => {
  const place = stage(t)
  execFileSync('rm', [place.path, place.outside])
  symlinkSync(place.outside, join(place.home, 'second'))
  symlinkSync('second', place.path)
  const { store } = await openStore(t, place)
  await store.edit([setUrl('1')])
  t.ok(lstatSync(place.path).isSymbolicLink())
  t.ok(lstatSync(join(place.home, 'second')).isSymbolicLink())
  t.match(readFileSync(place.outside, 'utf8'), /profiles\.one/)
})

t.test('names what stands in the place of the file, and never waits for it', async (t) => {
  for (const [make, name] of [
    [(path: string) => execFileSync('mkfifo', [path]), /is a pipe, not a file/],
    [(path: string) => mkdirSync(path), /is a directory, not a file/],
    [
      (path: string) =>
        execFileSync('python3', [
          '-c',
          `import socket; socket.socket(socket.AF_UNIX).bind(${JSON.stringify(path)})`,
        ]),
      /is a socket, not a file/,
    ],
    [(path: string) => symlinkSync('/dev/zero', path), /is a device, not a file/],
  ] as const) {
    const place = stage(t)
    execFileSync('rm', ['-rf', place.path])
    make(place.path)
    const { store } = await openStore(t, place)
    t.match(store.reading(), { state: 'unreadable', problem: name })
    await t.rejects(store.edit([setUrl('1')]), { code: 'profiles_file_unreadable', message: name })
    await store.close()
    execFileSync('rm', ['-rf', place.path])
  }
})

t.test('a crash in the middle of a write in place', async (t) => {
  const after = BASE.replace('4200', '42001')
  const theirs = `${BASE}\n[profiles.x]\n`
  for (const [name, left, expected, lost] of [
    ['before the write', BASE, BASE, undefined],
    ['after truncation', '', BASE, undefined],
    ['half of the new text', after.slice(0, 70), BASE, undefined],
    ['the new text over the old one', after.slice(0, 70) + BASE.slice(70), BASE, undefined],
    ['not yet cut off', `${after}\n\n\n`, BASE, undefined],
    ['after the write', after, after, undefined],
    ['and then another program wrote', theirs, theirs, BASE],
  ] as const) {
    const place = stage(t)
    writeFileSync(place.path, left)
    const copy = join(place.keepIn, 'profiles.toml.in-place')
    writeFileSync(copy, JSON.stringify({ version: 1, path: place.path, before: BASE, after }), {
      mode: 0o600,
    })
    const { store, found } = await openStore(t, place)
    t.equal(readFileSync(place.path, 'utf8'), expected, name)
    t.notOk(existsSync(copy))
    t.equal(found.length, lost === undefined ? 0 : 1)
    const [keptAt] = found.map((one) => one.keptAt)
    if (keptAt !== undefined) t.equal(readFileSync(keptAt, 'utf8'), lost)
    await store.close()
  }
})

const compiler = ['/usr/bin/gcc', '/usr/bin/cc'].find(existsSync)
const noShim = process.platform !== 'linux' || compiler === undefined ? 'needs Linux and a C compiler' : false

t.test('a file system that refuses', { skip: noShim }, async (t) => {
  const { directory } = stage(t)
  const shim = join(directory, 'refusing-disk.so')
  execFileSync(String(compiler), ['-shared', '-fPIC', '-o', shim, join(fixtures, 'refusing-disk.c'), '-ldl'])
  const [EPERM, EIO, EACCES, EBUSY, EXDEV, EINVAL, ENOSPC] = [1, 5, 13, 16, 18, 22, 28]
  const cases: readonly [refused: string, errno: number, outcome: object, text: string][] = [
    ['fchmod', EPERM, { done: true }, 'new'],
    ['dirsync', EINVAL, { done: true }, 'new'],
    ['dirsync', EIO, { done: true }, 'new'],
    ['filesync', EINVAL, { done: true }, 'new'],
    ['link', EPERM, { done: true }, 'new'],
    ['rename', EBUSY, { done: true }, 'new'],
    ['rename', EXDEV, { done: true }, 'new'],
    ['rename', EACCES, { done: true }, 'new'],
    ['filesync', EIO, { code: 'disk_failed', message: /input\/output error; it is unchanged$/ }, 'old'],
    ['rename', ENOSPC, { code: 'disk_failed', message: /disk full; it is unchanged$/ }, 'old'],
    ['rename filesync', EBUSY, { code: 'disk_failed' }, 'old'],
  ]
  const places = cases.map(([refused, errno]) => {
    const { home, path, keepIn } = stage(t)
    return { home, path, keepIn, env: { REFUSED: refused, UNDER: home, ERRNO: String(errno) } }
  })
  const env = { ...process.env, LD_PRELOAD: shim }
  const printed = execFileSync(process.execPath, editOnce(places), { env, encoding: 'utf8' })
  const outcomes: unknown = JSON.parse(printed)
  for (const [index, [refused, errno, outcome, text]] of cases.entries()) {
    const place = places[index] ?? { path: '', home: '' }
    const name = `${refused} ${errno}`
    t.match(Array.isArray(outcomes) ? outcomes[index] : undefined, outcome, name)
    t.equal(readFileSync(place.path, 'utf8'), text === 'new' ? BASE.replace('4200', '1') : BASE, name)
    t.strictSame(readdirSync(place.home), ['profiles.toml'], name)
  }
})

t.test('an ordinary user: a closed directory, a closed file', { skip }, async (t) => {
  const [open, closed] = [stage(t), stage(t)]
  for (const place of [open, closed]) {
    execFileSync('chown', ['-R', '65534', place.keepIn])
    chmodSync(place.directory, 0o755)
    chmodSync(place.home, 0o755)
  }
  chmodSync(open.path, 0o666)
  chmodSync(closed.path, 0o644)
  const user = ['--reuid=65534', '--clear-groups', process.execPath, ...editOnce([open, closed])]
  const env = { PATH: process.env.PATH ?? '', TSX_DISABLE_CACHE: '1' }
  const outcomes: unknown = JSON.parse(execFileSync('setpriv', user, { encoding: 'utf8', env }))
  t.match(outcomes, [
    { done: true },
    { code: 'disk_failed', message: /permission denied; it is unchanged$/, hint: /ls -la/ },
  ])
  t.equal(readFileSync(open.path, 'utf8'), BASE.replace('4200', '1'))
  t.equal(readFileSync(closed.path, 'utf8'), BASE)
})
